-- The least used computers, by the count that RARE_HOST goes by: logons in the look-back, up to the 5th percentile.
--
-- Parameters
--   last_day       last day (UTC) of the look-back; RARE_HOST judges an event by the days up to the one before it
--                  (before 01:00: up to the one before that)
--   lookback_days  its length; the setting `lookback`
-- A row      a computer whose popularity is at most `p5`. With fewer `hosts` than the setting `min_hosts` (20) the rule
--            is quiet. A computer that nobody used in the look-back has popularity 0 and is rare too; no table can list
--            those
-- Cost       two months' partitions of host_popularity_daily, once
WITH params AS (
  SELECT
    DATE '2015-01-30' AS last_day,
    30 AS lookback_days
),
hosts AS (
  SELECT
    d.computer_id,
    sum(d.total_logins) AS popularity,
    count(*) AS days,
    max(d.unique_users) AS most_users_in_a_day,
    sum(d.high_risk_events) AS high_risk_events,
    max(d."date") AS last_used
  FROM host_popularity_daily AS d
  CROSS JOIN params AS p
  WHERE d."date" > p.last_day - p.lookback_days * INTERVAL '1' DAY
    AND d."date" <= p.last_day
  GROUP BY d.computer_id
),
ranked AS (
  SELECT
    *,
    row_number() OVER (ORDER BY popularity, computer_id) AS place,
    count(*) OVER () AS hosts
  FROM hosts
),
judged AS (
  SELECT
    *,
    -- nearest rank: the first place at or above 5 %
    min(CASE WHEN place * 20 >= hosts THEN popularity END) OVER () AS p5
  FROM ranked
)
SELECT computer_id, popularity, days, most_users_in_a_day, high_risk_events, last_used, p5, hosts
FROM judged
WHERE popularity <= p5
ORDER BY popularity, computer_id
