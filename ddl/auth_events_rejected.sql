-- The dead letters: one row a record that was received and not accepted.
CREATE TABLE auth_events_rejected (
  reason string COMMENT 'invalid, misrouted, future, late, duplicate or failed',
  detail string COMMENT 'why, in words, with the figures that decided',
  payload binary COMMENT 'the first 64 KiB of the record, unchanged',
  payload_bytes bigint COMMENT 'the whole length of the record',
  shard_id string COMMENT 'the shard that judged it; file for a backfill',
  sequence_number string COMMENT 'decimal; the number of the line for a backfill',
  sub_sequence_number bigint COMMENT 'place within an aggregate, 0 for a record that stands alone',
  ingestion_time timestamp COMMENT 'arrival in the stream; for a backfilled file the start of the run',
  processing_time timestamp COMMENT 'when the row was handed to the encoder; differs between runs',
  ingest_date date COMMENT 'day (UTC) of ingestion_time; the partition'
)
PARTITIONED BY (ingest_date)
LOCATION 'LAKE/warehouse/auth_events_rejected/'
TBLPROPERTIES ('table_type' = 'ICEBERG', 'format' = 'parquet', 'write_compression' = 'zstd')
