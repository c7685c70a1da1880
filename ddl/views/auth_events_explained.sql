-- Every accepted event, with the reasons for its score in words.
--
-- A row   an accepted event; `why` is empty where no rule fires
-- Cost    that of auth_events_curated: name days (event_date) in the query, they reach the table through the view
CREATE OR REPLACE VIEW auth_events_explained AS
SELECT
  event_date,
  event_time,
  user_id,
  computer_id,
  risk_score,
  risk_level,
  concat_ws(
    '; ',
    CASE WHEN is_new_device = 1 THEN concat('never seen on ', computer_id, ' before') END,
    CASE WHEN is_burst_login = 1 THEN concat(CAST(login_count_1h AS varchar), ' logons within an hour') END,
    CASE
      WHEN is_lateral_movement = 1
        THEN concat('on ', CAST(unique_computers_1h AS varchar), ' different computers within an hour')
    END,
    CASE
      WHEN is_rare_host = 1
        THEN concat(
          computer_id,
          ' is among the least used computers (',
          CAST(host_popularity AS varchar),
          ' logons in the look-back)'
        )
    END
  ) AS why,
  risk_flags,
  is_new_device,
  is_burst_login,
  is_lateral_movement,
  is_rare_host,
  login_count_1h,
  unique_computers_1h,
  host_popularity,
  ingestion_time,
  processing_time,
  event_id
FROM auth_events_curated
