-- How often each tool fails, and how.
-- $hours = 24
SELECT qualified AS tool,
       count(*) AS calls,
       round(100.0 * count(*) FILTER (outcome <> 'ok') / count(*), 2) AS failed_percent,
       count(*) FILTER (outcome = 'tool_error') AS tool_errors,
       count(*) FILTER (outcome = 'invalid') AS invalid,
       count(*) FILTER (outcome = 'denied') AS denied,
       count(*) FILTER (outcome = 'timeout') AS timeouts,
       count(*) FILTER (outcome = 'unavailable') AS unavailable
FROM tool_calls
WHERE ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
GROUP BY ALL
ORDER BY failed_percent DESC, calls DESC
