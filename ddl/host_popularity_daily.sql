-- One row a day and computer with an accepted event, written once every shard has published the day.
CREATE TABLE host_popularity_daily (
  `date` date COMMENT 'the day (UTC); its month is the partition',
  computer_id string COMMENT 'where',
  unique_users bigint COMMENT 'distinct users',
  total_logins bigint COMMENT 'accepted events',
  high_risk_events bigint COMMENT 'events of level HIGH or CRITICAL'
)
PARTITIONED BY (month(`date`))
LOCATION 'LAKE/warehouse/host_popularity_daily/'
TBLPROPERTIES ('table_type' = 'ICEBERG', 'format' = 'parquet', 'write_compression' = 'zstd')
