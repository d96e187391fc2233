-- What failed lately, newest first, with the reason.
-- $hours = 24
-- $limit = 100
SELECT ts, user_id, qualified AS tool, outcome, error_message, round(latency_us / 1000, 2) AS ms, request_id, run_id
FROM tool_calls
WHERE outcome <> 'ok' AND ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
ORDER BY ts DESC
LIMIT CAST($limit AS INTEGER)
