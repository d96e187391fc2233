-- Which tools are slowest over the last hours, by median and 95th percentile.
-- $hours = 24
-- $limit = 20
SELECT qualified AS tool,
       count(*) AS calls,
       round(quantile_cont(latency_us, 0.5) / 1000, 2) AS p50_ms,
       round(quantile_cont(latency_us, 0.95) / 1000, 2) AS p95_ms,
       round(quantile_cont(upstream_us, 0.95) / 1000, 2) AS upstream_p95_ms
FROM tool_calls
WHERE ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
GROUP BY ALL
ORDER BY p95_ms DESC NULLS LAST
LIMIT CAST($limit AS INTEGER)
