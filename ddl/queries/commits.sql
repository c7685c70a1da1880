-- What was committed to a table, and when: the snapshots that can still be read. Begin here for time travel.
--
-- Parameters none; for another table change the name before $snapshots
-- A row      a commit: its snapshot_id (for FOR VERSION AS OF), the one before it, what it did and added; `entries` is
--            how many journal entries it holds, null where another program committed (OPTIMIZE, an INSERT)
-- Cost       the table's metadata only
SELECT
  snapshot_id,
  parent_id,
  committed_at,
  operation,
  CAST(element_at(summary, 'added-records') AS bigint) AS added_records,
  CAST(element_at(summary, 'added-data-files') AS bigint) AS added_files,
  CAST(element_at(summary, 'total-records') AS bigint) AS total_records,
  CAST(element_at(summary, 'authpulse.entries') AS bigint) AS entries
FROM "auth_events_curated$snapshots"
ORDER BY committed_at, snapshot_id
