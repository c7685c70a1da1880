-- Is the lake fresh: how old is the newest event, and how long did the recent ones take from arrival to their rows?
--
-- Parameters
--   as_of           the moment (UTC) to judge at
--   hours           how far back to look
--   target_seconds  the promise: newest event and 95 % of the events within it
-- A row      one in all. `lag_*_ms` is the time from arrival in the stream to the encoder, nearest rank; the commit of
--            the tables follows it (commits.sql shows when). Without an event in those hours only `is_fresh` (false)
--            and `events` (0) say something. A file that was backfilled arrived when its run began
-- Cost       the days of auth_events_curated that the hours touch, three columns
WITH params AS (
  SELECT
    CAST(current_timestamp AT TIME ZONE 'UTC' AS timestamp) AS as_of,
    24 AS hours,
    300 AS target_seconds
),
recent AS (
  SELECT
    c.event_time,
    c.processing_time,
    date_diff('millisecond', c.ingestion_time, c.processing_time) AS lag_ms
  FROM auth_events_curated AS c
  CROSS JOIN params AS p
  WHERE c.event_date >= CAST(p.as_of - p.hours * INTERVAL '1' HOUR AS date)
    AND c.event_date <= CAST(p.as_of AS date)
    AND c.event_time > p.as_of - p.hours * INTERVAL '1' HOUR
    AND c.event_time <= p.as_of
),
ranked AS (
  SELECT
    *,
    row_number() OVER (ORDER BY lag_ms) AS place,
    count(*) OVER () AS n
  FROM recent
),
figures AS (
  SELECT
    count(*) AS events,
    max(event_time) AS newest_event,
    max(processing_time) AS newest_processing,
    min(CASE WHEN place * 2 >= n THEN lag_ms END) AS lag_p50_ms,
    min(CASE WHEN place * 20 >= n * 19 THEN lag_ms END) AS lag_p95_ms,
    max(lag_ms) AS lag_max_ms
  FROM ranked
)
SELECT
  f.events,
  f.newest_event,
  date_diff('second', f.newest_event, p.as_of) AS newest_event_age_seconds,
  f.newest_processing,
  f.lag_p50_ms,
  f.lag_p95_ms,
  f.lag_max_ms,
  coalesce(
    date_diff('second', f.newest_event, p.as_of) <= p.target_seconds AND f.lag_p95_ms <= p.target_seconds * 1000,
    false
  ) AS is_fresh
FROM figures AS f
CROSS JOIN params AS p
ORDER BY f.events
