-- Calls per minute by server and outcome, from the sampled counters.
-- $hours = 24
WITH steps AS (
    -- a counter begins at zero with every process, so each writer's is followed alone
    SELECT ts, labels ->> '$.server' AS server, labels ->> '$.outcome' AS outcome,
           value - lag(value, 1, 0) OVER (PARTITION BY writer, labels ORDER BY ts) AS added
    FROM metrics
    WHERE name = 'workbench_calls_total'
)
SELECT date_trunc('minute', ts) AS minute, server, outcome, CAST(sum(added) AS BIGINT) AS calls
FROM steps
WHERE ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER)) AND added > 0
GROUP BY ALL
ORDER BY minute DESC, server, outcome
