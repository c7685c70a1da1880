-- What a commit, or a row of commits, changed: rows and highest scores of each day, before and after.
--
-- Parameters
--   from_day, to_day  first and last day (UTC) to compare
--   before, after     two snapshot ids out of commits.sql, written where they are marked: a version must be a number in
--                     the text
-- A row      a day that has rows after it; `added` is 0 where nothing changed
-- Cost       the days' partitions of auth_events_curated in both versions, two columns
WITH params AS (
  SELECT
    DATE '2015-01-01' AS from_day,
    DATE '2015-01-31' AS to_day
),
older AS (
  SELECT c.event_date, count(*) AS n, max(c.risk_score) AS score
  FROM auth_events_curated FOR VERSION AS OF 1 /* before */ AS c
  CROSS JOIN params AS p
  WHERE c.event_date >= p.from_day
    AND c.event_date <= p.to_day
  GROUP BY c.event_date
),
newer AS (
  SELECT c.event_date, count(*) AS n, max(c.risk_score) AS score
  FROM auth_events_curated FOR VERSION AS OF 2 /* after */ AS c
  CROSS JOIN params AS p
  WHERE c.event_date >= p.from_day
    AND c.event_date <= p.to_day
  GROUP BY c.event_date
)
SELECT
  n.event_date,
  coalesce(o.n, 0) AS rows_before,
  n.n AS rows_after,
  n.n - coalesce(o.n, 0) AS added,
  o.score AS max_score_before,
  n.score AS max_score_after
FROM newer AS n
LEFT JOIN older AS o ON o.event_date = n.event_date
ORDER BY n.event_date
