-- Who calls most, how many tools they use, and how often it goes wrong.
-- $hours = 168
-- $limit = 20
SELECT tenant, user_id, CAST(sum(repeated) AS BIGINT) AS calls, count(DISTINCT qualified) AS tools,
       coalesce(CAST(sum(repeated) FILTER (outcome <> 'ok') AS BIGINT), 0) AS failed, max(ts) AS last
FROM tool_calls
WHERE ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
GROUP BY ALL
ORDER BY calls DESC
LIMIT CAST($limit AS INTEGER)
