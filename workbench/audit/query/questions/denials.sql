-- Who was denied what, by which rule, and which scopes were missing.
-- $hours = 168
SELECT user_id, qualified AS tool, policy_rule, array_to_string(missing_scopes, ', ') AS missing_scopes,
       CAST(sum(repeated) AS BIGINT) AS times, max(ts) AS last
FROM decisions
WHERE policy_decision = 'deny' AND ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
GROUP BY ALL
ORDER BY times DESC, last DESC
