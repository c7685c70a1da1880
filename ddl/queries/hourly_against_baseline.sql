-- Each user's hours against the user's own habit: the same hour of the week in the weeks before.
--
-- Parameters
--   from_day, to_day  first and last day (UTC) to judge
--   weeks             how many weeks make the habit; the lake should be that old, for an hour without a logon counts as
--                     0
-- A row      a user and hour with a logon: logons, their mean and standard deviation (of the whole population) over the
--            same hour of the `weeks` weeks before, and by how many deviations the hour lies off. `deviations` is null
--            where the habit never varies: with `mean_logons` 0 the user was never seen at that hour
-- Cost       the days from `weeks` weeks before from_day to to_day of user_behavior_hourly, at most twice
WITH params AS (
  SELECT
    DATE '2015-01-29' AS from_day,
    DATE '2015-01-31' AS to_day,
    4 AS weeks
),
judged AS (
  SELECT h.user_id, h.window_start, h.total_logins, h.unique_computers, h.max_risk_score, p.weeks
  FROM user_behavior_hourly AS h
  CROSS JOIN params AS p
  WHERE h.window_start >= CAST(p.from_day AS timestamp)
    AND h.window_start < CAST(p.to_day AS timestamp) + INTERVAL '1' DAY
),
past AS (
  SELECT h.user_id, h.window_start, h.total_logins
  FROM user_behavior_hourly AS h
  CROSS JOIN params AS p
  WHERE h.window_start >= CAST(p.from_day AS timestamp) - p.weeks * INTERVAL '7' DAY
    AND h.window_start < CAST(p.to_day AS timestamp) + INTERVAL '1' DAY
),
habits AS (
  SELECT
    j.user_id,
    j.window_start,
    j.total_logins,
    j.unique_computers,
    j.max_risk_score,
    j.weeks,
    count(b.user_id) AS weeks_seen,
    CAST(coalesce(sum(b.total_logins), 0) AS double) / j.weeks AS mean,
    CAST(coalesce(sum(b.total_logins * b.total_logins), 0) AS double) / j.weeks AS mean_square
  FROM judged AS j
  LEFT JOIN past AS b
    ON b.user_id = j.user_id
    AND b.window_start < j.window_start
    AND b.window_start >= j.window_start - j.weeks * INTERVAL '7' DAY
    AND date_diff('hour', b.window_start, j.window_start) % 168 = 0
  GROUP BY j.user_id, j.window_start, j.total_logins, j.unique_computers, j.max_risk_score, j.weeks
),
measured AS (
  SELECT
    *,
    -- greatest: rounding may leave a hair below 0
    sqrt(greatest(mean_square - mean * mean, 0e0)) AS deviation
  FROM habits
)
SELECT
  user_id,
  window_start,
  total_logins,
  unique_computers,
  max_risk_score,
  weeks_seen,
  round(mean, 2) AS mean_logons,
  round(deviation, 2) AS standard_deviation,
  round((total_logins - mean) / nullif(deviation, 0e0), 2) AS deviations
FROM measured
ORDER BY deviations DESC NULLS LAST, total_logins DESC, window_start, user_id
