-- Results and tool definitions that talk to a model like instructions: signs to look at, no proof of anything.
-- $hours = 168
SELECT ts, tenant, kind, coalesce(qualified, server) AS tool, user_id, request_id,
       data -> '$.signals' AS signals
FROM events
WHERE (data ->> '$.signals') IS NOT NULL AND kind IN ('call', 'registry_event')
  AND ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
ORDER BY ts DESC
