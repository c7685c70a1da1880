-- All users together, hour by hour: for a chart, or to find hours without data.
--
-- A row   a clock hour (UTC) in which anybody logged on, once it is written (the watermark has passed its end)
-- Cost    that of user_behavior_hourly: name a range of window_start in the query
CREATE OR REPLACE VIEW auth_hours AS
SELECT
  window_start,
  count(*) AS users,
  sum(total_logins) AS logins,
  sum(anomaly_count) AS anomalies,
  sum(total_risk_score) AS total_risk_score,
  max(max_risk_score) AS max_risk_score
FROM user_behavior_hourly
GROUP BY window_start
