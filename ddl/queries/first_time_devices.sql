-- Who was on which computer for the first time ever, how it went on, and how many others use that computer.
--
-- Parameters
--   from_day, to_day  first and last day (UTC)
-- A row      a user and a computer on which the user was never accepted before; `logons` counts what followed on it
--            within the range, the first included; `users_that_day` is null until the day is closed in
--            host_popularity_daily
-- Cost       the days' partitions of auth_events_curated, twice; the months of host_popularity_daily
WITH params AS (
  SELECT
    DATE '2015-01-01' AS from_day,
    DATE '2015-01-07' AS to_day
),
firsts AS (
  SELECT c.user_id, c.computer_id, c.event_date, c.event_time, c.event_id, c.risk_score, c.risk_level
  FROM auth_events_curated AS c
  CROSS JOIN params AS p
  WHERE c.event_date >= p.from_day
    AND c.event_date <= p.to_day
    AND c.is_new_device = 1
),
pairs AS (
  SELECT c.user_id, c.computer_id, count(*) AS logons, max(c.event_time) AS last_time
  FROM auth_events_curated AS c
  CROSS JOIN params AS p
  WHERE c.event_date >= p.from_day
    AND c.event_date <= p.to_day
  GROUP BY c.user_id, c.computer_id
),
days AS (
  SELECT d."date" AS day, d.computer_id, d.unique_users
  FROM host_popularity_daily AS d
  CROSS JOIN params AS p
  WHERE d."date" >= p.from_day
    AND d."date" <= p.to_day
)
SELECT
  f.event_time AS first_time,
  f.user_id,
  f.computer_id,
  f.risk_score,
  f.risk_level,
  n.logons,
  n.last_time,
  d.unique_users AS users_that_day
FROM firsts AS f
INNER JOIN pairs AS n ON n.user_id = f.user_id AND n.computer_id = f.computer_id
LEFT JOIN days AS d ON d.day = f.event_date AND d.computer_id = f.computer_id
ORDER BY f.event_time, f.user_id, f.event_id, f.computer_id
