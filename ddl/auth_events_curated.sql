-- One row an accepted event. Sorted within each file by hour, user and time.
CREATE TABLE auth_events_curated (
  event_id string COMMENT 'the producer''s own id, else hex SHA-256 of the canonical line time,user,computer',
  event_time timestamp COMMENT 'UTC, microseconds',
  user_id string COMMENT 'who, trimmed',
  computer_id string COMMENT 'where, trimmed',
  ingestion_time timestamp COMMENT 'arrival in the stream; for a backfilled file the start of the run',
  login_count_1h bigint COMMENT 'events of the user in (T - 1 h, T], T being the newest accepted event_time of the user',
  login_count_24h bigint COMMENT 'the same over (T - 24 h, T]',
  unique_computers_1h bigint COMMENT 'distinct computers of the user in (T - 1 h, T], exact',
  unique_computers_24h bigint COMMENT 'the same over (T - 24 h, T]',
  is_new_device int COMMENT '1 if NEW_DEVICE fires, else 0',
  is_burst_login int COMMENT '1 if BURST_LOGIN fires, else 0',
  is_lateral_movement int COMMENT '1 if LATERAL_MOVEMENT fires, else 0',
  is_rare_host int COMMENT '1 if RARE_HOST fires, else 0',
  risk_flags array<string> COMMENT 'the rules that fire, in the order of the rule table; empty, not null, where none does',
  risk_score int COMMENT 'sum of the weights of the rules that fire, 0 to 100',
  risk_level string COMMENT 'LOW 0-25, MEDIUM 26-50, HIGH 51-75, CRITICAL 76-100',
  processing_time timestamp COMMENT 'when the row was handed to the encoder; differs between runs',
  event_date date COMMENT 'day (UTC) of event_time; the partition',
  host_popularity bigint COMMENT 'popularity that RARE_HOST judged; null with fewer than min_hosts computers in the look-back',
  rule_set string COMMENT 'digest of the thresholds and weights that scored the row'
)
PARTITIONED BY (event_date)
LOCATION 'LAKE/warehouse/auth_events_curated/'
TBLPROPERTIES ('table_type' = 'ICEBERG', 'format' = 'parquet', 'write_compression' = 'zstd')
