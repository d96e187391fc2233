-- How reliably each server answers its health checks, and how fast.
-- $hours = 24
SELECT server, count(*) AS checks, round(100.0 * count(*) FILTER (ok) / count(*), 2) AS available_percent,
       round(quantile_cont(latency_us, 0.95) / 1000, 2) AS p95_ms, max(ts) FILTER (NOT ok) AS last_failure
FROM health_checks
WHERE ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
GROUP BY ALL
ORDER BY available_percent, server
