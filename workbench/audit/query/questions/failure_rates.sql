-- How often each tool fails, and how.
-- $hours = 24
SELECT qualified AS tool,
       CAST(sum(repeated) AS BIGINT) AS calls,
       round(100.0 * sum(repeated) FILTER (outcome <> 'ok') / sum(repeated), 2) AS failed_percent,
       count(*) FILTER (outcome = 'tool_error') AS tool_errors,
       coalesce(CAST(sum(repeated) FILTER (outcome = 'invalid') AS BIGINT), 0) AS invalid,
       coalesce(CAST(sum(repeated) FILTER (outcome = 'denied') AS BIGINT), 0) AS denied,
       count(*) FILTER (outcome = 'timeout') AS timeouts,
       coalesce(CAST(sum(repeated) FILTER (outcome = 'unavailable') AS BIGINT), 0) AS unavailable
FROM tool_calls
WHERE ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
GROUP BY ALL
ORDER BY failed_percent DESC, calls DESC
