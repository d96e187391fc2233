-- Calls that were about to be dispatched (strict mode) and never got an outcome: the platform died in between.
SELECT i.ts, i.user_id, i.qualified AS tool, i.args, i.request_id, i.run_id
FROM intents i ANTI JOIN tool_calls c ON c.request_id = i.request_id
ORDER BY i.ts DESC
