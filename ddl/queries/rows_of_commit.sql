-- The rows that a commit, or a row of commits, added.
--
-- Parameters
--   from_day, to_day  first and last day (UTC) to look at
--   before, after     two snapshot ids out of commits.sql, written where they are marked; before is the parent_id of
--                     after for a single commit
-- A row      an accepted event that the later version has and the earlier one has not. Files that were only rewritten
--            in between (OPTIMIZE) add none
-- Cost       the days' partitions of auth_events_curated in both versions; of the earlier one four columns
WITH params AS (
  SELECT
    DATE '2015-01-01' AS from_day,
    DATE '2015-01-31' AS to_day
),
older AS (
  SELECT c.event_id, c.user_id, c.event_time, c.computer_id
  FROM auth_events_curated FOR VERSION AS OF 1 /* before */ AS c
  CROSS JOIN params AS p
  WHERE c.event_date >= p.from_day
    AND c.event_date <= p.to_day
),
newer AS (
  SELECT c.event_id, c.event_time, c.user_id, c.computer_id, c.risk_score, c.risk_level, c.processing_time
  FROM auth_events_curated FOR VERSION AS OF 2 /* after */ AS c
  CROSS JOIN params AS p
  WHERE c.event_date >= p.from_day
    AND c.event_date <= p.to_day
)
SELECT n.event_time, n.user_id, n.computer_id, n.risk_score, n.risk_level, n.processing_time, n.event_id
FROM newer AS n
LEFT JOIN older AS o
  ON o.event_id = n.event_id
  AND o.user_id = n.user_id
  AND o.event_time = n.event_time
  AND o.computer_id = n.computer_id
WHERE o.event_id IS NULL
ORDER BY n.event_time, n.user_id, n.event_id, n.computer_id
