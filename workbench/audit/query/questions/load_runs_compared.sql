-- Load runs beside each other: requests, failures and latencies as they were measured.
SELECT r.ts, r.run_id, r.profile, r.users, count(q.event_id) AS recorded, count(*) FILTER (NOT q.ok) AS failed,
       round(quantile_cont(q.latency_us, 0.5) / 1000, 2) AS p50_ms,
       round(quantile_cont(q.latency_us, 0.95) / 1000, 2) AS p95_ms,
       round(quantile_cont(q.latency_us, 0.99) / 1000, 2) AS p99_ms
FROM load_runs r LEFT JOIN load_requests q ON q.run_id = r.run_id
GROUP BY ALL
ORDER BY r.ts DESC
