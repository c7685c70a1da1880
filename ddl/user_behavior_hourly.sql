-- One row a user and clock hour (UTC) with an accepted event, written once the watermark has passed the hour.
CREATE TABLE user_behavior_hourly (
  window_start timestamp COMMENT 'first instant of the hour; its day is the partition',
  window_end timestamp COMMENT 'first instant after the hour',
  user_id string COMMENT 'who',
  total_logins bigint COMMENT 'accepted events',
  unique_computers bigint COMMENT 'distinct computers, exact',
  anomaly_count bigint COMMENT 'events with a risk_score above 0',
  total_risk_score bigint COMMENT 'sum of the scores',
  max_risk_score int COMMENT 'highest score'
)
PARTITIONED BY (day(window_start))
LOCATION 'LAKE/warehouse/user_behavior_hourly/'
TBLPROPERTIES ('table_type' = 'ICEBERG', 'format' = 'parquet', 'write_compression' = 'zstd')
