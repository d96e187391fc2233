-- How approvals were decided, by whom, and how long each waited.
-- $days = 30
SELECT approval_id, max(qualified) AS tool, max(user_id) AS asked_by, min(ts) AS asked,
       max(ts) FILTER (event IN ('approved', 'denied')) AS decided,
       max(decided_by) FILTER (decided_by <> '') AS decided_by,
       arg_max(event, ts) AS state,
       epoch(max(ts) FILTER (event IN ('approved', 'denied')) - min(ts)) AS waited_s
FROM approvals
WHERE ts >= CAST(now() AS TIMESTAMP) - to_days(CAST($days AS INTEGER))
GROUP BY approval_id
ORDER BY asked DESC
