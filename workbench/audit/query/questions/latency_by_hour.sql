-- Calls, failures and the 95th percentile of latency by hour, from the hourly summaries: fast over months.
-- $days = 30
WITH buckets AS (
    SELECT hour, latency_us, sum(calls) AS calls, sum(calls) FILTER (outcome <> 'ok') AS failed
    FROM tool_calls_hourly
    WHERE hour >= CAST(now() AS TIMESTAMP) - to_days(CAST($days AS INTEGER))
    GROUP BY ALL
), ranked AS (
    SELECT *, sum(calls) OVER (PARTITION BY hour ORDER BY latency_us) AS reached,
           sum(calls) OVER (PARTITION BY hour) AS total
    FROM buckets
)
SELECT hour, CAST(sum(calls) AS BIGINT) AS calls, CAST(coalesce(sum(failed), 0) AS BIGINT) AS failed,
       round(min(latency_us) FILTER (reached >= 0.95 * total) / 1000, 2) AS p95_ms
FROM ranked
GROUP BY hour
ORDER BY hour
