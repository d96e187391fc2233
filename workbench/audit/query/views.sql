-- The tables that a person sees, over `events`. Every view says what it holds, every column what it means.

CREATE OR REPLACE VIEW tool_calls AS
SELECT ts, tenant, user_id, server, tool, qualified, outcome, latency_us, upstream_us, error_code, error_message,
       args, result, source, protocol, credential, session_id, request_id, run_id, step_id, trace_id, span_id,
       parent_span_id, policy_decision, policy_rule, policy_reason, policy_revision, policy_engine, policy_us,
       missing_scopes, approval_id, redactions, result_bytes, coalesce(data ->> '$.cached' = 'true', false) AS cached,
       data ->> '$.profile' AS profile, definition_hash, args_sha256, event_id, writer, seq,
       coalesce(TRY_CAST(data ->> '$.repeated.count' AS BIGINT), 1) AS repeated
FROM events WHERE kind = 'call';
COMMENT ON VIEW tool_calls IS 'One row for every call of a tool that was answered, whatever the answer; of many refusals that are alike one for all (repeated).';
COMMENT ON COLUMN tool_calls.cached IS 'Answered from the memory of the gateway; the server was not asked.';
COMMENT ON COLUMN tool_calls.repeated IS 'How many refusals that are alike this row stands for; 1 for every other call.';
COMMENT ON COLUMN tool_calls.profile IS 'The profile through which it was called; NULL when through none.';

CREATE OR REPLACE VIEW intents AS
SELECT ts, tenant, user_id, server, tool, qualified, args, source, protocol, credential, session_id, request_id, run_id,
       step_id, trace_id, span_id, parent_span_id, definition_hash, args_sha256, event_id, writer, seq
FROM events WHERE kind = 'intent';
COMMENT ON VIEW intents IS 'Calls that were about to be dispatched (strict mode); one without its tool_calls row never ended.';

CREATE OR REPLACE VIEW decisions AS
SELECT ts, tenant, user_id, server, tool, qualified, policy_decision, policy_rule, policy_reason, policy_revision,
       policy_engine, policy_us, missing_scopes, data -> '$.judged' AS judged, approval_id, outcome, source, request_id,
       run_id, trace_id, event_id,
       coalesce(TRY_CAST(data ->> '$.repeated.count' AS BIGINT), 1) AS repeated
FROM events WHERE kind = 'call' AND policy_decision IS NOT NULL;
COMMENT ON VIEW decisions IS 'What policy said of each call, by which rule, and why.';
COMMENT ON COLUMN decisions.repeated IS 'How many decisions that are alike this row stands for; 1 for every other call.';
COMMENT ON COLUMN decisions.judged IS 'Roles, scopes and hints that the rules were told, as JSON.';

CREATE OR REPLACE VIEW approvals AS
SELECT ts, tenant, approval_id, outcome AS event, user_id, server, tool, qualified, request_id, args_sha256,
       data ->> '$.status' AS status,
       coalesce(data ->> '$.decided_by', data ->> '$.by') AS decided_by,
       data ->> '$.note' AS note,
       data AS details, event_id
FROM events WHERE kind = 'approval';
COMMENT ON VIEW approvals IS 'Every step in the life of an approval: requested, approved, denied, consumed, expired.';
COMMENT ON COLUMN approvals.event IS 'What happened to the approval.';
COMMENT ON COLUMN approvals.status IS 'State of the approval after this step.';
COMMENT ON COLUMN approvals.decided_by IS 'Who decided.';
COMMENT ON COLUMN approvals.note IS 'What they wrote.';
COMMENT ON COLUMN approvals.details IS 'The whole approval, as JSON text.';

CREATE OR REPLACE VIEW runs AS
SELECT ts, tenant, user_id, run_id, outcome AS status,
       data ->> '$.question' AS question,
       data ->> '$.answer' AS answer,
       data ->> '$.provider' AS provider,
       data ->> '$.model' AS model,
       TRY_CAST(data ->> '$.is_llm' AS BOOLEAN) AS is_llm,
       data ->> '$.why' AS why,
       TRY_CAST(data ->> '$.turns' AS BIGINT) AS turns,
       TRY_CAST(data ->> '$.calls' AS BIGINT) AS calls,
       TRY_CAST(data ->> '$.input_tokens' AS BIGINT) AS input_tokens,
       TRY_CAST(data ->> '$.output_tokens' AS BIGINT) AS output_tokens,
       TRY_CAST(data ->> '$.cached_tokens' AS BIGINT) AS cached_tokens,
       TRY_CAST(data ->> '$.cost_usd' AS DOUBLE) AS cost_usd,
       latency_us, error_message, source, trace_id, credential, event_id
FROM events WHERE kind = 'run';
COMMENT ON VIEW runs IS 'One row for every question that the agent answered or gave up on.';
COMMENT ON COLUMN runs.status IS 'How it ended: answered, cancelled, limit, failed.';
COMMENT ON COLUMN runs.question IS 'What was asked.';
COMMENT ON COLUMN runs.answer IS 'What was answered.';
COMMENT ON COLUMN runs.provider IS 'Who answered.';
COMMENT ON COLUMN runs.model IS 'With which model.';
COMMENT ON COLUMN runs.is_llm IS 'Whether that is a language model.';
COMMENT ON COLUMN runs.why IS 'Why this provider answered.';
COMMENT ON COLUMN runs.turns IS 'Exchanges with the model.';
COMMENT ON COLUMN runs.calls IS 'Tool calls made.';
COMMENT ON COLUMN runs.input_tokens IS 'Tokens read, cached ones included.';
COMMENT ON COLUMN runs.output_tokens IS 'Tokens written.';
COMMENT ON COLUMN runs.cached_tokens IS 'Tokens read from the provider''s cache.';
COMMENT ON COLUMN runs.cost_usd IS 'What it cost, in US dollars.';

CREATE OR REPLACE VIEW turns AS
SELECT ts, tenant, user_id, run_id,
       TRY_CAST(data ->> '$.turn' AS BIGINT) AS turn,
       data ->> '$.provider' AS provider,
       data ->> '$.model' AS model,
       data ->> '$.stop' AS stop,
       TRY_CAST(data ->> '$.input_tokens' AS BIGINT) AS input_tokens,
       TRY_CAST(data ->> '$.output_tokens' AS BIGINT) AS output_tokens,
       TRY_CAST(data ->> '$.cached_tokens' AS BIGINT) AS cached_tokens,
       TRY_CAST(data ->> '$.cost_usd' AS DOUBLE) AS cost_usd,
       latency_us, event_id
FROM events WHERE kind = 'turn';
COMMENT ON VIEW turns IS 'One row for every exchange with a model inside a run.';
COMMENT ON COLUMN turns.turn IS 'Number of the exchange within its run.';
COMMENT ON COLUMN turns.provider IS 'Who answered.';
COMMENT ON COLUMN turns.model IS 'With which model.';
COMMENT ON COLUMN turns.stop IS 'The provider''s reason to stop.';
COMMENT ON COLUMN turns.input_tokens IS 'Tokens read, cached ones included.';
COMMENT ON COLUMN turns.output_tokens IS 'Tokens written.';
COMMENT ON COLUMN turns.cached_tokens IS 'Tokens read from the provider''s cache.';
COMMENT ON COLUMN turns.cost_usd IS 'What it cost, in US dollars.';

CREATE OR REPLACE VIEW registry_events AS
SELECT ts, tenant, server, outcome AS event, data AS details, event_id
FROM events WHERE kind = 'registry_event';
COMMENT ON VIEW registry_events IS 'What happened to servers: started, ready, down, restarted, added, removed, tools changed.';
COMMENT ON COLUMN registry_events.event IS 'What happened.';
COMMENT ON COLUMN registry_events.details IS 'More about it, as JSON text.';

CREATE OR REPLACE VIEW access_events AS
SELECT ts, tenant, user_id, credential, outcome AS event, data ->> '$.client' AS client, data AS details, event_id
FROM events WHERE kind = 'access_event';
COMMENT ON VIEW access_events IS 'What happened to credentials: consent given, tokens issued, refused and revoked, clients registered.';
COMMENT ON COLUMN access_events.event IS 'What happened.';
COMMENT ON COLUMN access_events.client IS 'Id of the program that the credential is for.';
COMMENT ON COLUMN access_events.details IS 'More about it, as JSON text.';

CREATE OR REPLACE VIEW health_checks AS
SELECT ts, tenant, server, outcome = 'ok' AS ok, latency_us, error_message, event_id
FROM events WHERE kind = 'health_check';
COMMENT ON VIEW health_checks IS 'One row for every health check of a server.';
COMMENT ON COLUMN health_checks.ok IS 'Whether the server answered as it should.';

CREATE OR REPLACE VIEW metrics AS
SELECT ts, tenant,
       data ->> '$.name' AS name,
       data ->> '$.type' AS type,
       TRY_CAST(data ->> '$.value' AS DOUBLE) AS value,
       data ->> '$.unit' AS unit,
       data ->> '$.labels' AS labels,
       event_id, writer
FROM events WHERE kind = 'metric';
COMMENT ON VIEW metrics IS 'Samples of counters, gauges and histograms over time.';
COMMENT ON COLUMN metrics.name IS 'Name of the metric.';
COMMENT ON COLUMN metrics.type IS 'counter, gauge or histogram.';
COMMENT ON COLUMN metrics.value IS 'The sample.';
COMMENT ON COLUMN metrics.unit IS 'Unit of the value.';
COMMENT ON COLUMN metrics.labels IS 'Labels, as JSON text.';

CREATE OR REPLACE VIEW load_runs AS
SELECT ts, tenant, run_id,
       data ->> '$.profile' AS profile,
       TRY_CAST(data ->> '$.users' AS BIGINT) AS users,
       TRY_CAST(data ->> '$.requests' AS BIGINT) AS requests,
       TRY_CAST(data ->> '$.failures' AS BIGINT) AS failures,
       data AS details, event_id
FROM events WHERE kind = 'load_run';
COMMENT ON VIEW load_runs IS 'One row for every load run.';
COMMENT ON COLUMN load_runs.profile IS 'What kind of load it was.';
COMMENT ON COLUMN load_runs.users IS 'Simultaneous users.';
COMMENT ON COLUMN load_runs.requests IS 'Requests made.';
COMMENT ON COLUMN load_runs.failures IS 'Of them, failed.';
COMMENT ON COLUMN load_runs.details IS 'Everything that was reported, as JSON text.';

CREATE OR REPLACE VIEW load_requests AS
SELECT ts, tenant, run_id,
       data ->> '$.name' AS name,
       outcome = 'ok' AS ok,
       latency_us, error_message, trace_id,
       data AS details, event_id
FROM events WHERE kind = 'load_request';
COMMENT ON VIEW load_requests IS 'Requests of load runs, or aggregate lines of them.';
COMMENT ON COLUMN load_requests.name IS 'What was requested.';
COMMENT ON COLUMN load_requests.ok IS 'Whether it succeeded.';
COMMENT ON COLUMN load_requests.trace_id IS 'The same as in tool_calls: joins what the client saw with what the gateway did.';
COMMENT ON COLUMN load_requests.details IS 'Everything that was reported, as JSON text.';

CREATE OR REPLACE VIEW administration AS
SELECT ts, tenant, user_id, credential, outcome AS action, data AS details, event_id
FROM events WHERE kind = 'administration';
COMMENT ON VIEW administration IS 'What was done with the record itself: queried over HTTP, exported, cut by retention, a subject forgotten.';
COMMENT ON COLUMN administration.action IS 'sql, export, retention or forget.';
COMMENT ON COLUMN administration.details IS 'What it was done to, as JSON text.';
