-- Every record as received: plain Parquet, no Iceberg table. Partition projection spares listing and MSCK REPAIR.
CREATE EXTERNAL TABLE auth_events_raw (
  stream string COMMENT 'name of the stream; for a backfill the names of the files',
  shard_id string COMMENT 'the shard; file for a backfill',
  sequence_number string COMMENT 'decimal; the number of the line for a backfill',
  sub_sequence_number bigint COMMENT 'place within an aggregate, 0 for a record that stands alone',
  partition_key string COMMENT 'as the producer sent it; empty for a backfill',
  ingestion_time timestamp COMMENT 'arrival in the stream; for a backfilled file the start of the run',
  payload binary COMMENT 'the bytes, unchanged'
)
PARTITIONED BY (ingest_date string COMMENT 'day (UTC) of ingestion_time, YYYY-MM-DD')
STORED AS PARQUET
LOCATION 'LAKE/raw/'
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.ingest_date.type' = 'date',
  'projection.ingest_date.format' = 'yyyy-MM-dd',
  'projection.ingest_date.range' = 'NOW-1095DAYS,NOW',
  'projection.ingest_date.interval' = '1',
  'projection.ingest_date.interval.unit' = 'DAYS',
  'storage.location.template' = 'LAKE/raw/ingest_date=${ingest_date}'
)
