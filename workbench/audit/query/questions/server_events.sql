-- What happened to servers: starts, deaths, restarts, changed tools.
-- $hours = 24
-- $server = ''
SELECT ts, server, event, details
FROM registry_events
WHERE ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER)) AND $server IN ('', server)
ORDER BY ts DESC
