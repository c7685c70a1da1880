-- The columns of what events carry beside time, user, computer and id, for those who want them at once. AuthPulse adds them by
-- itself when the first event has a value of one of them. Each is null where an event has no such value:
--
-- activity: what was done: logon, logoff, ticket, service_ticket, preauth, validate, explicit, resume, switch, token or mfa; null: the source did not say
-- outcome: how it ended: success, failure or unknown; null: the source did not say
-- failure_reason: why it failed: bad_password, unknown_user, bad_credentials, locked, disabled, expired, restricted, denied, mfa or other
-- source_ip: where it came from: an IP address in its canonical spelling
-- source_computer: where it came from: the name of the computer
-- logon_kind: the kind of logon: one of Windows' types (system, interactive, network, batch, service, unlock, ...), web or api
-- auth_method: how the user proved who it is, in lower case: kerberos, ntlm, publickey, saml, otp, ...
-- is_mfa: 1 where a second factor was used, 0 where none was
-- actor: the account that asked for it, where that is another than the user
-- app: the application
-- device: the id or kind of the device
-- session: the id of the session
-- site: the branch or region
-- role: the role that was taken on
-- source_country: the country that it came from, as the source or a look-up of the address says
-- source_lat: the latitude that it came from, in degrees to the hundredth, north positive
-- source_lon: the longitude that it came from, in degrees to the hundredth, east positive
-- user_agent: the program that asked, as it calls itself: the first 1,024 bytes
-- source_type: the kind of source, and the version of the mapping that made the event
ALTER TABLE auth_events_curated ADD COLUMNS (
  activity string,
  outcome string,
  failure_reason string,
  source_ip string,
  source_computer string,
  logon_kind string,
  auth_method string,
  is_mfa int,
  actor string,
  app string,
  device string,
  session string,
  site string,
  role string,
  source_country string,
  source_lat double,
  source_lon double,
  user_agent string,
  source_type string
)
