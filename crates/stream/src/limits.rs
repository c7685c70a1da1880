//! Every bound of the embedded stream and its double, and what happens when it is reached.

use authpulse_event::{MAX_RECORD_BYTES, Span};

/// Most records of one put; a larger put is refused whole.
pub const MAX_PUT_RECORDS: usize = 100_000;
/// Most bytes (payloads and partition keys) of one put; a larger put is refused whole.
pub const MAX_PUT_BYTES: usize = 64 * 1024 * 1024;
/// Most bytes of one payload; a longer one is refused. Far above the longest valid record, because invalid lines are
/// carried unchanged, too.
pub const MAX_PAYLOAD_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes of a partition key (256 characters of UTF-8); a longer or an empty one is refused.
pub const MAX_PARTITION_KEY_BYTES: usize = 1_024;
/// Most bytes of a producer's progress, job and state together; a put with more is refused.
pub const MAX_PROGRESS_BYTES: usize = 1024 * 1024;
/// Most open shards of a stream; creating or splitting beyond is refused.
pub const MAX_OPEN_SHARDS: u32 = 10_000;
/// Most bytes of a stream's name.
pub const MAX_NAME_BYTES: usize = 128;

/// How long records are kept by default.
pub const DEFAULT_RETENTION: Span = Span::days(7);
/// Shards of a new stream by default.
pub const DEFAULT_SHARDS: u32 = 4;

/// A put trims what has outlived its retention if the stream's clock went on by this much since the last time.
pub const TRIM_INTERVAL: Span = Span::seconds(60);
/// Most batches that one put trims; what remains is left to the next put.
pub const MAX_TRIM_BATCHES: usize = 1_000;
/// Most spans of trimmed records that are remembered per shard, so that a gap can be counted. Reading from a position
/// before the oldest of them reports a gap of unknown size. A stream of one shard needs one span, whatever it trims.
pub const MAX_TRIMMED_SPANS: u32 = 100_000;

/// A batch is stored as soon as it holds this many bytes before compression. Larger batches compress little better, and a
/// read that ends within a batch decodes the whole of it again.
pub const BATCH_BYTES: usize = 256 * 1024;

const _: () = assert!(MAX_RECORD_BYTES < MAX_PAYLOAD_BYTES, "what is valid fits, and what is just too long as well");
const _: () = assert!(MAX_PAYLOAD_BYTES + MAX_PARTITION_KEY_BYTES <= MAX_PUT_BYTES, "every record fits into a put");
const _: () = assert!(MAX_PUT_BYTES + BATCH_BYTES < u32::MAX as usize, "sizes within a batch are 32 bits wide");
