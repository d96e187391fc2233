-- Wrong credentials: from which address, at which door, how many, and whether the address was made to wait.
-- $hours = 24
SELECT details ->> '$.address' AS address, details ->> '$.door' AS door, details ->> '$.credential' AS credential,
       max(details ->> '$.reason') AS reason,
       CAST(sum(coalesce(TRY_CAST(details ->> '$.repeated.count' AS BIGINT), 1)) AS BIGINT) AS times,
       max(details ->> '$.throttled') AS throttled, min(ts) AS first, max(ts) AS last
FROM access_events
WHERE event = 'credential refused' AND ts >= CAST(now() AS TIMESTAMP) - to_hours(CAST($hours AS INTEGER))
GROUP BY ALL
ORDER BY times DESC, last DESC
