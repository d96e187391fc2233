-- Questions that were asked, who answered, what it took and what it cost.
-- $hours = 168
-- $limit = 50
SELECT ts, user_id, question, status, provider, model, turns, calls, input_tokens, output_tokens,
       round(cost_usd, 4) AS cost_usd, round(latency_us / 1e6, 2) AS seconds
FROM runs
WHERE ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
ORDER BY ts DESC
LIMIT CAST($limit AS INTEGER)
