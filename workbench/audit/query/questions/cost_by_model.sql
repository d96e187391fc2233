-- Tokens and money by provider and model.
-- $days = 30
SELECT provider, model, count(*) AS runs, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       round(sum(cost_usd), 4) AS cost_usd, round(avg(turns), 1) AS turns_per_run
FROM runs
WHERE ts >= CAST(now() AS TIMESTAMP) - to_days(CAST($days AS INTEGER))
GROUP BY ALL
ORDER BY cost_usd DESC, runs DESC
