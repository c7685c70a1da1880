//! What a lake holds already: all its journals read into a registry.

use crate::env::Env;
use crate::error::{ConsumerError, Result};
use crate::log::{Entries, read_base, read_entry, read_side};
use crate::registry::Registry;
use authpulse_engine::Settings;
use authpulse_event::time::{self, format_rfc3339};
use authpulse_event::{Day, EventModel, HashRange, Position, ProcessingTime, ShardId};
use authpulse_lake::LakeError;
use authpulse_lake::entry::{Entry, EntryCounts, PLAIN_FORMAT, Side, Source, Span, StoredTimeRules};
use authpulse_lake::sections::Sections;
use authpulse_settings::options::Options;
use authpulse_stream::StreamDescription;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Entries that are asked for by number before the journal is listed.
const NEXT_ENTRIES: usize = 3;

/// A lake as its journals describe it.
pub struct Opened {
    /// What shards know of each other.
    pub registry: Arc<Registry>,
    /// The last entry of each shard.
    pub tails: BTreeMap<ShardId, Entry>,
    /// What is asked for, with what the lake keeps for life and nobody asks for: its event model.
    pub options: Arc<Options>,
}

/// Reads all journals.
///
/// # Errors
/// An entry cannot be read, or the lake was made under other settings than these.
pub async fn open_lake(env: &Env, options: &Arc<Options>) -> Result<Opened> {
    let registry = Arc::new(Registry::new(options.engine.time.lookback_days));
    let mut tables = Vec::new();
    for table in env.lake.tables().iter().copied() {
        match env.lake.load(table).await {
            Ok(loaded) => tables.push(loaded.applied()?),
            Err(LakeError::NoTable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let applied = applied_anywhere(&tables);
    let mut tails = BTreeMap::new();
    for shard in env.journal.shards().await? {
        read_shard(env, &registry, &shard).await?;
        if let Some(view) = registry.view(&shard)
            && let Some(tail) = read_entry(env, &shard, view.last).await?
        {
            tails.insert(shard, tail);
        }
    }
    if let Some(tail) = tails.values().next() {
        check_settings(&tail.time_rules, &options.engine)?;
    }
    refuse_lost_entries(&applied, |shard| tails.get(shard).map_or(0, |tail| tail.n))?;
    let event_model = event_model(tails.values())?.unwrap_or(options.engine.time.event_model);
    let options = with_event_model(options.clone(), event_model);
    Ok(Opened { registry, tails, options })
}

/// The event model of a lake; none where nothing is stored yet. All shards have the same: with two, which keys have force would depend
/// on who reads a record.
///
/// # Errors
/// They have not, or this program does not know it.
pub fn event_model<'a>(tails: impl Iterator<Item = &'a Entry>) -> Result<Option<EventModel>> {
    let mut first: Option<(&Entry, EventModel)> = None;
    for tail in tails {
        let model = tail.event_model()?;
        let (other, known) = *first.get_or_insert((tail, model));
        if model != known {
            return Err(ConsumerError::Refused(format!(
                "the events of shard {} are of model {}, those of shard {} of model {}: two programs began this lake, each in its own \
                 way; begin another one",
                other.shard,
                known.number(),
                tail.shard,
                model.number()
            )));
        }
    }
    Ok(first.map(|(_, model)| model))
}

fn with_event_model(options: Arc<Options>, event_model: EventModel) -> Arc<Options> {
    if options.engine.time.event_model == event_model {
        return options;
    }
    let mut options = Options::clone(&options);
    options.engine.time.event_model = event_model;
    Arc::new(options)
}

/// The last entry that any table holds, of each shard. Read the tables before the journals, which only grow.
pub fn applied_anywhere<'a>(tables: impl IntoIterator<Item = &'a BTreeMap<ShardId, u64>>) -> BTreeMap<ShardId, u64> {
    let mut anywhere: BTreeMap<ShardId, u64> = BTreeMap::new();
    for (shard, n) in tables.into_iter().flatten() {
        let last = anywhere.entry(shard.clone()).or_default();
        *last = (*n).max(*last);
    }
    anywhere
}

/// Refuses a lake whose tables hold entries that no journal has: the journal was lost, or an older copy was put in its place.
/// Numbers given anew would look as if they were in the tables already, and their rows would never get there.
///
/// # Errors
/// Names the shard, and what to do.
pub fn refuse_lost_entries(applied: &BTreeMap<ShardId, u64>, tail: impl Fn(&ShardId) -> u64) -> Result<()> {
    match applied.iter().find(|(shard, n)| tail(shard) < **n) {
        Some((shard, n)) => Err(ConsumerError::Refused(format!(
            "the tables hold entries of shard {shard} up to {n}, but its journal ends with {}: the journal was lost or replaced by \
             an older copy; restore the newest one (nothing was changed), or begin a new lake",
            tail(shard)
        ))),
        None => Ok(()),
    }
}

/// Takes what a shard's owners have stored since the registry last heard of it, however much that is.
///
/// # Errors
/// An entry cannot be read.
pub async fn read_shard(env: &Env, registry: &Registry, shard: &ShardId) -> Result<()> {
    let mut known = registry.view(shard).map_or(0, |view| view.last);
    if known == 0
        && let Some(base) = read_base(env, shard).await?
    {
        registry.folded(&base)?;
        known = base.through;
    }
    let mut entries = Entries::after(env, shard, known);
    while let Some(some) = entries.next().await? {
        for entry in some {
            take_in(env, registry, &entry).await?;
        }
    }
    Ok(())
}

/// The same, for a shard that is looked at often: most often nothing is new, or one entry is, and on S3 a listing that says so
/// costs more than ten times what asking for the next entry does.
///
/// # Errors
/// An entry cannot be read.
pub async fn follow_shard(env: &Env, registry: &Registry, shard: &ShardId) -> Result<()> {
    for _ in 0..NEXT_ENTRIES {
        let known = registry.view(shard).map_or(0, |view| view.last);
        let Some(entry) = read_entry(env, shard, known + 1).await? else { return Ok(()) };
        take_in(env, registry, &entry).await?;
    }
    read_shard(env, registry, shard).await
}

async fn take_in(env: &Env, registry: &Registry, entry: &Entry) -> Result<()> {
    let side = if entry.takes_over { Side::default() } else { read_side(env, entry).await? };
    registry.stored(entry, &side)
}

/// Refuses settings under which new rows could not be compared with those in the lake. The event model is none of them: a worker takes
/// it from the lake ([`Opened::options`]).
///
/// # Errors
/// Names every setting that differs, with both values.
pub fn check_settings(stored: &StoredTimeRules, settings: &Settings) -> Result<()> {
    let now = StoredTimeRules::from(&settings.time);
    let seconds = |span: time::Span| format!("{} s", span.as_seconds());
    let mut faults = Vec::new();
    let mut compare = |name: &str, lake: String, asked: String| {
        if lake != asked {
            faults.push(format!("{name} is {asked}, the lake was made with {lake}"));
        }
    };
    compare("base", format_rfc3339(stored.base), format_rfc3339(now.base));
    compare("tolerance", seconds(stored.tolerance), seconds(now.tolerance));
    compare("lookback", format!("{} days", stored.lookback_days), format!("{} days", now.lookback_days));
    compare("settle", seconds(stored.settle), seconds(now.settle));
    if faults.is_empty() {
        return Ok(());
    }
    let hint = "old and new rows could not be compared: set it back, or use another lake";
    Err(ConsumerError::Refused(format!("{}; {hint}", faults.join("; "))))
}

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
