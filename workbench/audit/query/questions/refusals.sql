-- Who was turned down how often, and why: calls that reached no server.
-- $hours = 24
SELECT user_id, credential, outcome, coalesce(policy_rule, error_code) AS why, CAST(sum(repeated) AS BIGINT) AS times,
       count(DISTINCT qualified) AS tools, min(ts) AS first, max(ts) AS last
FROM tool_calls
WHERE outcome IN ('denied', 'invalid', 'not_found', 'throttled')
  AND ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
GROUP BY ALL
ORDER BY times DESC, last DESC
