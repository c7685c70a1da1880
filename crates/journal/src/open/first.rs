//! How a journal begins: its name, and the made-up entry before its first.

use authpulse_event::{HashRange, ShardId};
use authpulse_lake::entry::{Entry, Source};
use authpulse_settings::options::Options;
use authpulse_stream::StreamDescription;

/// The made-up entry before a shard's first.
pub fn entry_zero(key: &ShardId, source: Source, range: HashRange, options: &Options) -> Entry {
    Entry::zero(key, source, range, (&options.engine.time).into(), options.engine.rules.digest())
}

/// The name of the journal of a stream's shard. A stream that was deleted and created again under its name is another one.
pub fn journal_key(stream: &StreamDescription, shard: &ShardId) -> ShardId {
    ShardId::new(format!("{shard}@{}.{}", stream.name, stream.created.micros()))
}
