-- The events of level HIGH or CRITICAL, with the reasons in words. Stands on the view auth_events_explained: create
-- that first.
--
-- A row   an accepted event with a risk_score above 50
-- Cost    that of auth_events_curated: name days (event_date) in the query
CREATE OR REPLACE VIEW auth_events_high_risk AS
SELECT
  event_date,
  event_time,
  user_id,
  computer_id,
  risk_score,
  risk_level,
  why,
  risk_flags,
  event_id
FROM auth_events_explained
WHERE risk_score > 50
