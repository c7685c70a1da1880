//! The limits of Kinesis Data Streams that this crate keeps. Source, unless a line names another: "Quotas and limits",
//! <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>, and the API's own model, 2026.

use std::time::Duration;

/// The most entries of one PutRecords.
pub const PUT_ENTRIES: usize = 500;
/// The most bytes of one PutRecords, keys included. Since 2025 Kinesis allows 10 MiB; this half of it was the limit before, and emulators
/// still have it. Larger calls gain nothing: a shard takes 1 MB a second.
pub const PUT_BYTES: usize = 5 << 20;
/// The most bytes of a record, if the stream does not say (`MaxRecordSizeInKiB`).
pub const RECORD_BYTES: usize = 1 << 20;
/// The most bytes that a shard takes in a second.
pub const WRITE_BYTES: f64 = 1_000_000.0;
/// The most records that a shard takes in a second.
pub const WRITE_RECORDS: f64 = 1_000.0;
/// The most characters of a partition key.
pub const PARTITION_KEY_CHARACTERS: usize = 256;

/// The most records of one GetRecords.
pub const GET_RECORDS: usize = 10_000;
/// The time between two GetRecords of a shard: five a second, which all that poll the shard share.
pub const READ_EVERY: Duration = Duration::from_millis(200);
/// The most bytes that a shard gives in a second to all that poll it.
pub const READ_BYTES: f64 = 2_000_000.0;
/// The first pause after a throttled GetRecords, which passes after about a second.
pub const READ_BACKOFF: Duration = Duration::from_secs(1);
/// The longest pause of a reader after failed calls.
pub const READ_BACKOFF_MAX: Duration = Duration::from_secs(10);

/// When a subscription is renewed: it lasts up to five minutes (API reference of SubscribeToShard).
pub const RENEW_AFTER: Duration = Duration::from_secs(285);
/// The time between two SubscribeToShard of a consumer and shard: a second call within 5 s gets ResourceInUseException.
pub const SUBSCRIBE_EVERY: Duration = Duration::from_secs(5);
/// The pause after a subscription that was refused or broke off: drawn from 0 to this bound, which doubles with each failure in a row.
pub const SUBSCRIBE_BACKOFF: Duration = Duration::from_secs(5);
/// The bound of these pauses: a key that is disabled is tried once a minute.
pub const SUBSCRIBE_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// Without records a subscription sends an event about every 5 s. If it sends nothing for this long, it is dead.
pub const SILENT: Duration = Duration::from_secs(30);
/// How often GetRecords is asked, at most, whether the tip of a quiet shard with a subscription is reached.
pub const TIP_EVERY: Duration = Duration::from_secs(1);
/// A subscription that nobody has read from for this long is given up: over HTTP/2 it would hold back others.
pub const UNREAD: Duration = Duration::from_secs(10);
/// Records at hand that nobody has read for this long are dropped: mostly another worker has the shard by now. If not, they are fetched
/// again.
pub const UNREAD_RECORDS: Duration = Duration::from_secs(300);
/// The same, if there is no room for other shards' records: mostly such a shard waits for counts of other shards first.
pub const UNREAD_IN_THE_WAY: Duration = Duration::from_secs(5);
/// Payloads and keys of all shards that were fetched and not read yet, in bytes: with this much at hand, nothing more is fetched. An
/// answer has 10 MiB at most, so a single shard always has room.
pub const AT_HAND_BYTES: usize = 256 << 20;
/// The most GetRecords under way in a process: besides what is at hand, their answers may be in memory.
pub const READS: usize = 64;
/// The most subscriptions of a process; further shards are polled. They share one connection over HTTP/2, and other calls need some of
/// it: a server should allow at least 100 streams (RFC 9113, 6.5.2).
pub const SUBSCRIPTIONS: usize = 64;
/// The first pause of a reader that could not use the stream's key; it doubles with each failure in a row. Asking more often gains
/// nothing: a person has to repair it.
pub const KEY_BACKOFF: Duration = Duration::from_secs(1);
/// The longest of these pauses: KMS has quotas that other readers of the account share.
pub const KEY_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The unit in which PUT payload is counted (<https://aws.amazon.com/kinesis/data-streams/pricing/>).
pub const PUT_UNIT_BYTES: usize = 25_600;
/// Dollars per million PUT payload units, us-east-1.
pub const PUT_UNIT_DOLLARS: f64 = 0.014;
/// Dollars per shard and hour, us-east-1.
pub const SHARD_HOUR_DOLLARS: f64 = 0.015;

/// The most bytes of an aggregate: four PUT units, less its partition key. A call has one aggregate, so with 100 ms a call a shard still
/// gets the 1 MB a second that it takes.
pub const AGGREGATE_BYTES: usize = 4 * PUT_UNIT_BYTES - 1;
/// The most calls under way at once; one a shard.
pub const CALLS: usize = 32;
/// A put fails if a shard has taken nothing for this long.
pub const PUT_PATIENCE: Duration = Duration::from_secs(60);
/// The pause after the n-th failure in a row is drawn from 0 to this, doubled n times (full jitter).
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The bound of these pauses.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
