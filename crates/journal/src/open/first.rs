//! How a journal begins: its name, and the made-up entry before its first.

use authpulse_event::{Day, HashRange, Position, ProcessingTime, ShardId};
use authpulse_lake::entry::{Entry, EntryCounts, PLAIN_FORMAT, Side, Source, Span};
use authpulse_lake::sections::Sections;
use authpulse_settings::options::Options;
use authpulse_stream::StreamDescription;

/// The made-up entry before a shard's first.
pub fn entry_zero(key: &ShardId, source: Source, range: HashRange, options: &Options) -> Entry {
    Entry {
        format: PLAIN_FORMAT,
        shard: key.to_string(),
        n: 0,
        epoch: 1,
        commit_id: String::new(),
        written_at: ProcessingTime::default(),
        takes_over: false,
        source,
        range: range.to_string(),
        inherits: Vec::new(),
        from: Position::START.into(),
        to: Position::START.into(),
        counts: EntryCounts::default(),
        watermark: None,
        rises: Vec::new(),
        newest_accepted: None,
        last_accepted_live: false,
        hours_through: None,
        shares_through: None,
        score_spans: spans(&[(range, None)]),
        daily_through: None,
        waiting: Vec::new(),
        side: Side::default(),
        side_file: None,
        files: Vec::new(),
        raw: Vec::new(),
        raw_done: 0,
        snapshot: Vec::new(),
        last_snapshot: 0,
        gaps: Vec::new(),
        read_to_end: false,
        settled: false,
        end: false,
        sealed: None,
        time_rules: (&options.engine.time).into(),
        rule_set: options.engine.rules.digest(),
        backfill: None,
        sections: Sections::default(),
    }
}

/// Spans as an entry stores them.
pub fn spans(spans: &[(HashRange, Option<Day>)]) -> Vec<Span> {
    spans.iter().map(|(range, through)| Span { range: range.to_string(), through: through.map(|d| d.0) }).collect()
}

/// The journal of a stream's shard. A stream that was deleted and made again under its name is another one.
pub fn journal_key(stream: &StreamDescription, shard: &ShardId) -> ShardId {
    ShardId::new(format!("{shard}@{}.{}", stream.name, stream.created.micros()))
}
