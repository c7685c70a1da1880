-- Who looks stolen right now: the users with risky events in the last hour, the worst first, and why.
--
-- Parameters
--   as_of      end of the hour (UTC); a moment of the past shows that hour
--   min_score  lowest risk_score to look at; 51 and above are HIGH, 76 and above CRITICAL
-- A row      a user with such an event in (as_of - 1 h, as_of]: the user's worst event, the first of equals, and how
--            many there were
-- Cost       one day of auth_events_curated, two where the hour spans midnight
-- Needs      the view auth_events_explained
WITH params AS (
  SELECT
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS as_of,
    51 AS min_score
),
ranked AS (
  SELECT
    e.user_id,
    e.risk_score,
    e.risk_level,
    e.computer_id,
    e.event_time,
    e.why,
    count(*) OVER (PARTITION BY e.user_id) AS events,
    row_number() OVER (
      PARTITION BY e.user_id ORDER BY e.risk_score DESC, e.event_time, e.event_id, e.computer_id
    ) AS place
  FROM auth_events_explained AS e
  CROSS JOIN params AS p
  WHERE e.event_date >= CAST(p.as_of - INTERVAL '1' HOUR AS date)
    AND e.event_date <= CAST(p.as_of AS date)
    AND e.event_time > p.as_of - INTERVAL '1' HOUR
    AND e.event_time <= p.as_of
    AND e.risk_score >= p.min_score
)
SELECT user_id, risk_score, risk_level, events, computer_id, event_time, why
FROM ranked
WHERE place = 1
ORDER BY risk_score DESC, events DESC, user_id
