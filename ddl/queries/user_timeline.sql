-- What a user did, event by event: where from, where to, how long after the last, and why it scored.
--
-- Parameters
--   user_id           who
--   from_day, to_day  first and last day (UTC)
-- A row      an accepted event of the user; the first row of the range has no previous one
-- Cost       the days' partitions of auth_events_curated; within them the files and row groups whose range of users
--            holds this one
-- Needs      the view auth_events_explained
WITH params AS (
  SELECT
    'U1' AS user_id,
    DATE '2015-01-01' AS from_day,
    DATE '2015-01-07' AS to_day
),
events AS (
  SELECT e.*
  FROM auth_events_explained AS e
  CROSS JOIN params AS p
  WHERE e.event_date >= p.from_day
    AND e.event_date <= p.to_day
    AND e.user_id = p.user_id
)
SELECT
  event_time,
  lag(computer_id) OVER (ORDER BY event_time, event_id, computer_id) AS previous_computer,
  computer_id,
  date_diff(
    'second', lag(event_time) OVER (ORDER BY event_time, event_id, computer_id), event_time
  ) AS seconds_since_previous,
  login_count_1h,
  unique_computers_1h,
  risk_score,
  risk_level,
  why
FROM events
ORDER BY event_time, event_id, computer_id
