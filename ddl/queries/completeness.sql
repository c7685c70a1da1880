-- Is anything missing: the stretches of hours in which nobody at all logged on.
--
-- Parameters
--   from_hour, to_hour  first hour (UTC) and the end of the last, both on the hour. Hours are written once the
--                       watermark has passed them: keep to_hour two hours behind now
--   min_hours           shortest stretch to show
-- A row      a stretch of empty hours, from `gap_start` to just before `gap_end`, and the logons of the hours next to
--            it (null at the edge of the range). Quiet nights are rows as well; a source that failed has many logons
--            beside it
-- Cost       the days of user_behavior_hourly, two columns
-- Needs      the view auth_hours
WITH params AS (
  SELECT
    TIMESTAMP '2015-01-01 00:00:00' AS from_hour,
    TIMESTAMP '2015-01-08 00:00:00' AS to_hour,
    1 AS min_hours
),
present AS (
  SELECT h.window_start AS at_hour, h.logins
  FROM auth_hours AS h
  CROSS JOIN params AS p
  WHERE h.window_start >= p.from_hour
    AND h.window_start < p.to_hour
  UNION ALL
  SELECT p.from_hour - INTERVAL '1' HOUR AS at_hour, CAST(NULL AS bigint) AS logins
  FROM params AS p
  UNION ALL
  SELECT p.to_hour AS at_hour, CAST(NULL AS bigint) AS logins
  FROM params AS p
),
steps AS (
  SELECT
    at_hour,
    logins,
    lead(at_hour) OVER (ORDER BY at_hour) AS next_hour,
    lead(logins) OVER (ORDER BY at_hour) AS next_logins
  FROM present
)
SELECT
  s.at_hour + INTERVAL '1' HOUR AS gap_start,
  s.next_hour AS gap_end,
  date_diff('hour', s.at_hour, s.next_hour) - 1 AS empty_hours,
  s.logins AS logons_before,
  s.next_logins AS logons_after
FROM steps AS s
CROSS JOIN params AS p
WHERE date_diff('hour', s.at_hour, s.next_hour) - 1 >= p.min_hours
ORDER BY gap_start
