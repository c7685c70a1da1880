-- Is every record accounted for: received = curated + rejected, day of arrival by day of arrival?
--
-- Parameters
--   from_day, to_day  first and last day (UTC) of arrival
-- A row      a day on which anything arrived. `difference` = received - curated - rejected: 0 adds up; above 0, records
--            wait (ahead of their time, or not yet scored) or their commit is still to come; a day that stays above 0
--            has lost something; below 0, a file was backfilled without --raw. The program's own audit is `authpulse
--            verify`
-- Cost       the days' partitions of auth_events_raw and auth_events_rejected; of auth_events_curated the files whose
--            range of ingestion_time meets the days (its partitions are days of events, not of arrival), one column
WITH params AS (
  SELECT
    DATE '2015-01-01' AS from_day,
    DATE '2015-01-07' AS to_day
),
records AS (
  SELECT CAST(r.ingest_date AS date) AS day, 1 AS received, 0 AS curated, 'received' AS reason
  FROM auth_events_raw AS r
  CROSS JOIN params AS p
  WHERE r.ingest_date >= CAST(p.from_day AS varchar)
    AND r.ingest_date <= CAST(p.to_day AS varchar)
  UNION ALL
  SELECT CAST(c.ingestion_time AS date) AS day, 0 AS received, 1 AS curated, 'curated' AS reason
  FROM auth_events_curated AS c
  CROSS JOIN params AS p
  WHERE c.ingestion_time >= CAST(p.from_day AS timestamp)
    AND c.ingestion_time < CAST(p.to_day AS timestamp) + INTERVAL '1' DAY
  UNION ALL
  SELECT d.ingest_date AS day, 0 AS received, 0 AS curated, d.reason
  FROM auth_events_rejected AS d
  CROSS JOIN params AS p
  WHERE d.ingest_date >= p.from_day
    AND d.ingest_date <= p.to_day
),
days AS (
  SELECT
    day,
    sum(received) AS received,
    sum(curated) AS curated,
    sum(1 - received - curated) AS rejected,
    count(CASE WHEN reason = 'invalid' THEN 1 END) AS invalid,
    count(CASE WHEN reason = 'misrouted' THEN 1 END) AS misrouted,
    count(CASE WHEN reason = 'future' THEN 1 END) AS future,
    count(CASE WHEN reason = 'late' THEN 1 END) AS late,
    count(CASE WHEN reason = 'duplicate' THEN 1 END) AS duplicate,
    count(CASE WHEN reason = 'failed' THEN 1 END) AS failed
  FROM records
  GROUP BY day
)
SELECT
  day,
  received,
  curated,
  rejected,
  received - curated - rejected AS difference,
  invalid,
  misrouted,
  future,
  late,
  duplicate,
  failed
FROM days
ORDER BY day
