//! The limits of Kinesis Data Streams that are kept here. Source, unless a line names another: "Quotas and limits",
//! <https://docs.aws.amazon.com/streams/latest/dev/service-sizes-and-limits.html>, and the API's own model, 2026.

use std::time::Duration;

/// Entries of one PutRecords.
pub const PUT_ENTRIES: usize = 500;
/// Bytes of one PutRecords, keys counted: half of the 10 MiB that are allowed since 2025, which was the limit before and is that
/// of emulators still. Larger calls gain nothing: a shard takes 1 MB a second.
pub const PUT_BYTES: usize = 5 << 20;
/// A record where the stream does not say (`MaxRecordSizeInKiB`).
pub const RECORD_BYTES: usize = 1 << 20;
/// Bytes a second that a shard takes.
pub const WRITE_BYTES: f64 = 1_000_000.0;
/// Records a second that a shard takes.
pub const WRITE_RECORDS: f64 = 1_000.0;
/// Characters of a partition key.
pub const PARTITION_KEY_CHARACTERS: usize = 256;

/// Records of one GetRecords.
pub const GET_RECORDS: usize = 10_000;
/// Between two GetRecords of a shard: five a second, which all that poll it share.
pub const READ_EVERY: Duration = Duration::from_millis(200);
/// Bytes a second that a shard gives to all that poll it.
pub const READ_BYTES: f64 = 2_000_000.0;
/// A throttled GetRecords clears after about a second.
pub const READ_BACKOFF: Duration = Duration::from_secs(1);
/// How long a reader waits at most after failed calls.
pub const READ_BACKOFF_MAX: Duration = Duration::from_secs(10);

/// A subscription lasts up to five minutes (API reference of SubscribeToShard); it is renewed before.
pub const RENEW_AFTER: Duration = Duration::from_secs(285);
/// Between two SubscribeToShard of a consumer and shard: the second within 5 s gets ResourceInUseException.
pub const SUBSCRIBE_EVERY: Duration = Duration::from_secs(5);
/// After a subscription that was refused or broke off, drawn from 0 to this, doubled with each in a row.
pub const SUBSCRIBE_BACKOFF: Duration = Duration::from_secs(5);
/// And at most this: a key that is disabled is looked at once a minute.
pub const SUBSCRIBE_BACKOFF_MAX: Duration = Duration::from_secs(60);
/// A subscription tells every 5 s or so that there is nothing; one that tells nothing for so long is dead.
pub const SILENT: Duration = Duration::from_secs(30);
/// A quiet shard that is subscribed to is asked by GetRecords at most this often whether its tip is reached.
pub const TIP_EVERY: Duration = Duration::from_secs(1);
/// A subscription that nobody has read from for so long is given up: over HTTP/2 what it holds back holds back others.
pub const UNREAD: Duration = Duration::from_secs(10);
/// Records at hand that nobody has read for so long are let go: mostly another worker has the shard by now. They are asked for again if
/// not.
pub const UNREAD_RECORDS: Duration = Duration::from_secs(300);
/// And for so long only, where they are in the way of others: of a shard that waits for what others have to tell first, mostly.
pub const UNREAD_IN_THE_WAY: Duration = Duration::from_secs(5);
/// Payloads and keys of all shards together that were fetched and not read yet; with so many at hand nothing more is asked for. An
/// answer has 10 MiB at most, so a shard alone always has room.
pub const AT_HAND_BYTES: usize = 256 << 20;
/// GetRecords of a process under way at once: beside what is at hand, as many answers may lie in memory.
pub const READS: usize = 64;
/// Subscriptions of a process at once; shards beyond are polled. They share one connection over HTTP/2, where 100 is the least
/// that a server should allow (RFC 9113, 6.5.2), and other calls need some.
pub const SUBSCRIPTIONS: usize = 64;
/// How long a reader waits after it could not use the stream's key, at first: it doubles with each failure in a row. Nothing is gained
/// by asking more often; a person has to mend it.
pub const KEY_BACKOFF: Duration = Duration::from_secs(1);
/// And at most: KMS has quotas that other readers of the account share.
pub const KEY_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// The step by which PUT payload units are counted (<https://aws.amazon.com/kinesis/data-streams/pricing/>).
pub const PUT_UNIT_BYTES: usize = 25_600;
/// Dollars per million PUT payload units, us-east-1.
pub const PUT_UNIT_DOLLARS: f64 = 0.014;
/// Dollars per shard and hour, us-east-1.
pub const SHARD_HOUR_DOLLARS: f64 = 0.015;

/// Bytes of an aggregate: four PUT units, less its partition key. A call is one aggregate, so at 100 ms a call a shard still gets
/// the 1 MB a second that it takes.
pub const AGGREGATE_BYTES: usize = 4 * PUT_UNIT_BYTES - 1;
/// Calls under way at once; one a shard.
pub const CALLS: usize = 32;
/// A shard that has taken nothing for so long ends a put.
pub const PUT_PATIENCE: Duration = Duration::from_secs(60);
/// Full jitter: the pause after the n-th failure in a row is drawn from 0 to this, doubled n times.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// And at most this.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
