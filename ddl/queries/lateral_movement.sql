-- Who moved across which computers within an hour, in order: the widest hour of each user and day.
--
-- Parameters
--   from_day, to_day  first and last day (UTC)
--   min_computers     how many different computers make a path; LATERAL_MOVEMENT itself begins at its threshold (10)
-- A row      a user and day; the hour is (until_time - 1 h, until_time], which ends with the event that had the most
--            computers behind it, the first of equals; `path` has each computer once, in the order of the first logon
--            on it
-- Cost       the days' partitions of auth_events_curated and the day before them, twice
WITH params AS (
  SELECT
    DATE '2015-01-01' AS from_day,
    DATE '2015-01-07' AS to_day,
    10 AS min_computers
),
peaks AS (
  SELECT user_id, event_date, until_time, risk_score
  FROM (
    SELECT
      c.user_id,
      c.event_date,
      c.event_time AS until_time,
      c.risk_score,
      row_number() OVER (
        PARTITION BY c.user_id, c.event_date
        ORDER BY c.unique_computers_1h DESC, c.event_time, c.event_id, c.computer_id
      ) AS place
    FROM auth_events_curated AS c
    CROSS JOIN params AS p
    WHERE c.event_date >= p.from_day
      AND c.event_date <= p.to_day
      AND c.unique_computers_1h >= p.min_computers
  ) AS ranked
  WHERE place = 1
),
steps AS (
  SELECT
    k.user_id,
    k.until_time,
    k.risk_score,
    c.computer_id,
    min(c.event_time) AS first_time,
    count(*) AS logons,
    max(c.is_new_device) AS is_new
  FROM peaks AS k
  INNER JOIN auth_events_curated AS c
    ON c.user_id = k.user_id
    AND c.event_time > k.until_time - INTERVAL '1' HOUR
    AND c.event_time <= k.until_time
  CROSS JOIN params AS p
  WHERE c.event_date >= p.from_day - INTERVAL '1' DAY
    AND c.event_date <= p.to_day
  GROUP BY k.user_id, k.until_time, k.risk_score, c.computer_id
)
SELECT
  user_id,
  min(first_time) AS from_time,
  until_time,
  count(*) AS computers,
  sum(is_new) AS new_computers,
  sum(logons) AS logons,
  risk_score,
  array_join(array_agg(computer_id ORDER BY first_time, computer_id), ' > ') AS path
FROM steps
GROUP BY user_id, until_time, risk_score
ORDER BY computers DESC, until_time, user_id
