-- Everything on the record about one call, run, trace, session or approval, oldest first.
-- $id = ''
SELECT ts, kind, user_id, coalesce(qualified, server) AS what, outcome, policy_rule, error_message,
       round(latency_us / 1000, 2) AS ms, request_id, run_id, step_id, trace_id, span_id
FROM events
WHERE $id IN (request_id, run_id, trace_id, session_id, approval_id)
ORDER BY ts, seq
