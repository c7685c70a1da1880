//! How far a lake is, for `authpulse status`. It reads only journals and tables, and may run while other programs use the lake.

mod formats;
mod lag;
mod show;

use authpulse_engine::popularity::newest_closed_day;
use authpulse_event::ring::hash_key;
use authpulse_event::time::{OnCalendar, format_rfc3339};
use authpulse_event::{ArrivalTime, Day, EventTime, HashRange, ProcessingTime, ShardId};
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_journal::log::{Entries, read_checkpoint, read_entry, read_spill};
use authpulse_journal::open::{applied_anywhere, refuse_lost_entries};
use authpulse_journal::registry::Registry;
use authpulse_lake::checkpoint::FoldedGap;
use authpulse_lake::entry::{Entry, Inherited, Source, Spill, StoredPosition};
use authpulse_lake::{LakeError, Seal};
use authpulse_lease::LeaseStore;
use authpulse_stream::Stream;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

pub use formats::{Formats, TooNew};
pub use lag::{Lag, UnreadShard};

/// How far a lake is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// When this was read, by the reader's clock.
    #[serde(serialize_with = "time")]
    pub at: ProcessingTime,
    /// The shards of the lake, ordered by the names of their journals.
    pub shards: Vec<ShardStatus>,
    /// The tables that the lake has, and those of the first four that are not made yet.
    pub tables: Vec<TableStatus>,
    /// Shards of the stream that have no entry yet.
    pub unread: Vec<UnreadShard>,
    /// Which worker works on which shard, if a store of leases was given.
    pub leases: Vec<LeaseStatus>,
    /// Which programs can go on with the lake.
    pub formats: Formats,
}

/// Which worker works on a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseStatus {
    /// The shard, by the name of its journal.
    pub shard: String,
    /// The living worker that has the lease, if there is one.
    pub owner: Option<String>,
    /// The worker that asked for the lease.
    pub next_owner: Option<String>,
    /// The position that its owner has reported, as sequence number and sub-sequence number, if the lease store keeps it. Only the
    /// shard's position counts.
    pub checkpoint: Option<String>,
}

/// One shard of the lake.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardStatus {
    /// The name of the shard's journal.
    pub shard: String,
    /// What the shard reads: files, or a shard of a stream.
    pub source: Source,
    /// The shard's part of the ring.
    pub range: String,
    /// How far the shard is.
    pub state: State,
    /// The shards that inherited from it.
    #[serde(rename = "heirs")]
    pub children: Vec<String>,
    /// The number of its last entry.
    pub last_entry: u64,
    /// The owner's epoch: 1, and one more for each time that the shard was taken over.
    pub epoch: u64,
    /// The format of its last entry.
    pub format: u32,
    /// When the last entry was written, by its writer's clock.
    #[serde(serialize_with = "time")]
    pub written_at: ProcessingTime,
    /// The age of the last entry, in seconds.
    pub age_seconds: f64,
    /// The position up to which records are decided: sequence number and sub-sequence number.
    pub position: String,
    /// The shard's watermark: below it, events are late.
    #[serde(serialize_with = "maybe_time")]
    pub watermark: Option<EventTime>,
    /// The newest event time accepted.
    #[serde(serialize_with = "maybe_time")]
    pub newest_accepted: Option<EventTime>,
    /// How far it is behind its stream, if a stream was given.
    pub lag: Option<Lag>,
    /// For each table, how many entries it does not have yet.
    pub behind: BTreeMap<String, u64>,
    /// Events that wait.
    pub waiting: Vec<WaitingStatus>,
    /// Events accepted and not yet scored.
    pub unscored: u64,
    /// The day that scoring waits for; `None` if it waits only for the next entry.
    pub waits_for: Option<DayWait>,
    /// The time up to which the shard is sealed: input below it is late. `None` if it is not sealed, or if nothing was accepted.
    #[serde(serialize_with = "maybe_time")]
    pub sealed: Option<EventTime>,
    /// How many attributes were left out over all its records because they had no value of their form.
    pub fields_dropped: u64,
    /// Records lost to the stream's retention.
    pub gaps: Vec<GapStatus>,
    /// For the shard `file`: its files.
    pub backfill: Option<BackfillStatus>,
}

/// How far a shard is, as its last entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is reading.
    Reading,
    /// It was read to its end, or to the tip at which it is to be sealed.
    ReadToEnd,
    /// It was split or merged, or another input continues it. Its children go on.
    Ended,
    /// It is sealed.
    Sealed,
    /// Its input is finished, nothing of it was accepted, and so nothing is sealed.
    FinishedEmpty,
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WaitingStatus {
    /// The user of the event.
    pub user: String,
    /// The computer that the user logged on to.
    pub computer: String,
    /// Event time.
    #[serde(serialize_with = "time")]
    pub time: EventTime,
    /// When it arrived.
    #[serde(serialize_with = "time")]
    pub arrival: ArrivalTime,
    /// How many events that did not wait were accepted since.
    pub accepted_since: u32,
}

/// A day whose counts a shard needs before it can score on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DayWait {
    /// The day.
    pub day: String,
    /// The parts of the ring whose shards have not published their counts of the day.
    pub missing: Vec<MissingRange>,
}

/// A part of the ring for which the counts of a day are not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MissingRange {
    /// The part, as a range of the ring.
    pub range: String,
    /// The shards that own it: those of the lake, and if a stream was given, also those of the stream that are not begun.
    pub shards: Vec<String>,
}

/// Records lost to retention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GapStatus {
    /// The number of the entry that reports the gap.
    pub entry: u64,
    /// The lost records come after this position.
    pub after: String,
    /// The lost records come before this position.
    pub before: String,
    /// How many records are lost, if the stream could tell.
    pub records: Option<u64>,
}

/// Backfilled files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackfillStatus {
    /// The files of the last run, in order.
    pub files: Vec<String>,
    /// When that run began.
    #[serde(serialize_with = "time")]
    pub run_started: ProcessingTime,
    /// How many lines of the run are stored.
    pub lines: u64,
    /// Whether the run was read to its end.
    pub finished: bool,
    /// Whether the run leaves the lake open.
    pub keep_open: bool,
    /// Whether the run's lines are sorted by event time before they are admitted.
    pub sorted: bool,
    /// After how many lines the run was given up by hand.
    pub given_up: Option<u64>,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableStatus {
    /// Its name.
    pub table: String,
    /// When it was last committed to; `None` if the table is not made yet.
    #[serde(serialize_with = "maybe_time")]
    pub committed_at: Option<ProcessingTime>,
    /// How many entries, of all shards, it does not have yet.
    pub behind: u64,
}

/// Reads how far a lake is. With `stream` it also measures how far each shard is behind; with `leases` it names the workers. Shards and
/// tables that are too new for this program are left out and named in [`Status::formats`].
///
/// # Errors
/// A journal, a table, the stream or the leases cannot be read, or a table has entries that its journal lacks.
pub async fn status(env: &Env, stream: Option<&dyn Stream>, leases: Option<&dyn LeaseStore>) -> Result<Status> {
    let mut tables = BTreeMap::new();
    let mut too_new = Vec::new();
    for table in env.lake.tables().iter().copied() {
        let loaded = match env.lake.load(table).await {
            Err(error) if error.is_too_new() => {
                too_new.push(TooNew::new(table.name(), &error));
                continue;
            }
            Ok(loaded) => {
                let updated = loaded.metadata.last_updated_ms().saturating_mul(1_000);
                Some((loaded.applied()?, ProcessingTime::from_micros(updated)))
            }
            // A table behind the first four is made only when there are rows for it.
            Err(LakeError::NoTable { .. }) if !table.is_first() => continue,
            Err(LakeError::NoTable { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        tables.insert(table, loaded);
    }
    let applied = applied_anywhere(tables.values().flatten().map(|(applied, _)| applied));
    let mut journals = Journals::read(env, &mut too_new).await?;
    let ends = &journals.ends;
    refuse_lost_entries(&applied, |shard| ends.get(shard).copied().unwrap_or(0))?;
    let at = env.clock.now();
    let mut shards = Vec::new();
    for (shard, tail) in std::mem::take(&mut journals.tails) {
        let mut found = match journals.shard(env, &shard, &tail, at).await {
            Err(error) if error.is_too_new() => {
                too_new.push(TooNew::new(shard.as_str(), &error));
                continue;
            }
            found => found?,
        };
        for (table, loaded) in &tables {
            let applied = loaded.as_ref().and_then(|(applied, _)| applied.get(&shard)).copied().unwrap_or(0);
            found.behind.insert(table.to_string(), tail.n.saturating_sub(applied));
        }
        shards.push(found);
        journals.tails.insert(shard, tail);
    }
    let unread = match stream {
        Some(stream) => lag::measure(stream, &journals.tails, &mut shards).await?,
        None => Vec::new(),
    };
    let tables = tables
        .into_iter()
        .map(|(table, loaded)| TableStatus {
            table: table.to_string(),
            committed_at: loaded.map(|(_, at)| at),
            behind: shards.iter().filter_map(|s| s.behind.get(table.name())).sum(),
        })
        .collect();
    let leases = match leases {
        Some(leases) => leases.list().await?,
        None => Vec::new(),
    };
    let living = leases.into_iter().filter(|lease| !lease.ended);
    let leases = living
        .map(|lease| LeaseStatus {
            shard: lease.key,
            owner: lease.owner,
            next_owner: lease.next_owner,
            checkpoint: lease.checkpoint.map(|at| at.to_string()),
        })
        .collect();
    let formats = Formats::of(&shards, too_new);
    Ok(Status { at, shards, tables, unread, leases, formats })
}

/// What all journals say.
struct Journals {
    tails: BTreeMap<ShardId, Entry>,
    /// The numbers of the last entries, also of those that are too new for this program.
    ends: BTreeMap<ShardId, u64>,
    gaps: BTreeMap<ShardId, Vec<GapStatus>>,
    fields_dropped: BTreeMap<ShardId, u64>,
    children: BTreeMap<ShardId, Vec<(String, HashRange)>>,
    registry: Registry,
}

impl Journals {
    async fn read(env: &Env, too_new: &mut Vec<TooNew>) -> Result<Journals> {
        let (mut tails, mut ends) = (BTreeMap::new(), BTreeMap::new());
        for shard in env.journal.shards().await? {
            let Some(n) = env.journal.tail(&shard).await? else { continue };
            ends.insert(shard.clone(), n);
            match read_entry(env, &shard, n).await {
                Err(error) if error.is_too_new() => too_new.push(TooNew::new(shard.as_str(), &error)),
                tail => drop(tail?.map(|tail| tails.insert(shard, tail))),
            }
        }
        // Counts are needed only to say what scoring waits for.
        let waits = tails.values().any(|tail: &Entry| tail.counts.unscored > 0);
        let lookback = tails.values().next().map_or(1, |tail| tail.time_rules.lookback_days);
        let mut journals = Journals {
            registry: Registry::new(lookback),
            gaps: BTreeMap::new(),
            fields_dropped: BTreeMap::new(),
            children: BTreeMap::new(),
            tails: BTreeMap::new(),
            ends,
        };
        for (shard, tail) in tails {
            match journals.read_shard(env, &shard, tail.n, waits).await {
                Err(error) if error.is_too_new() => too_new.push(TooNew::new(shard.as_str(), &error)),
                read => {
                    read?;
                    journals.tails.insert(shard, tail);
                }
            }
        }
        Ok(journals)
    }

    async fn read_shard(&mut self, env: &Env, shard: &ShardId, through: u64, spills: bool) -> Result<()> {
        let checkpoint = read_checkpoint(env, shard).await?;
        if let Some(checkpoint) = &checkpoint {
            self.registry.folded(checkpoint)?;
            self.gaps.entry(shard.clone()).or_default().extend(checkpoint.gaps.iter().map(GapStatus::folded));
            self.drops(shard, checkpoint.fields_dropped);
            self.child(shard, &checkpoint.first.inherits, checkpoint.last.hash_range()?);
        }
        let mut entries = Entries::after(env, shard, checkpoint.map_or(0, |checkpoint| checkpoint.through));
        while let Some(some) = entries.next().await? {
            for entry in some.into_iter().filter(|entry| entry.n <= through) {
                let read = spills && !entry.takes_over;
                let spill = if read { read_spill(env, &entry).await? } else { Spill::default() };
                self.registry.stored(&entry, &spill)?;
                self.gaps.entry(shard.clone()).or_default().extend(gaps_of(&entry));
                self.drops(shard, entry.counts.fields_dropped);
                self.child(shard, &entry.inherits, entry.hash_range()?);
            }
        }
        Ok(())
    }

    fn drops(&mut self, shard: &ShardId, fields: u64) {
        let dropped = self.fields_dropped.entry(shard.clone()).or_default();
        *dropped = dropped.saturating_add(fields);
    }

    fn child(&mut self, shard: &ShardId, parents: &[Inherited], range: HashRange) {
        for parent in parents {
            self.children.entry(ShardId::new(&parent.shard)).or_default().push((shard.to_string(), range));
        }
    }

    async fn shard(&self, env: &Env, shard: &ShardId, tail: &Entry, at: ProcessingTime) -> Result<ShardStatus> {
        let spill = read_spill(env, tail).await?;
        let stored = tail.restore_from(&spill, &[])?;
        let children = self.children.get(shard).cloned().unwrap_or_default();
        let state = match tail {
            _ if tail.end || !children.is_empty() => State::Ended,
            _ if tail.seal() == Some(Seal::Nothing) => State::FinishedEmpty,
            Entry { sealed: Some(_), .. } => State::Sealed,
            Entry { read_to_end: true, .. } => State::ReadToEnd,
            _ => State::Reading,
        };
        // The children of an ended shard take over what it left open, as soon as they have begun.
        let is_own = |user: &str| {
            children.is_empty() || {
                let hash = hash_key(user.as_bytes());
                !children.iter().any(|(_, range)| range.contains(hash))
            }
        };
        let unscored: Vec<_> = stored.unscored.into_iter().filter(|event| is_own(&event.user)).collect();
        let first_unscored = unscored.first().map(|e| e.event.event_time);
        let waiting = stored.waiting.into_iter().filter(|w| is_own(&w.user)).map(|w| WaitingStatus {
            user: w.user,
            computer: w.computer,
            time: w.time,
            arrival: w.arrival,
            accepted_since: w.accepted_since,
        });
        let position = tail.position()?;
        Ok(ShardStatus {
            shard: shard.to_string(),
            source: tail.source.clone(),
            range: tail.range.clone(),
            state,
            last_entry: tail.n,
            epoch: tail.epoch,
            format: tail.format,
            written_at: tail.written_at,
            age_seconds: at.saturating_since(tail.written_at).as_seconds(),
            position: position.to_string(),
            watermark: tail.watermark,
            newest_accepted: tail.newest_accepted,
            lag: None,
            behind: BTreeMap::new(),
            waiting: waiting.collect(),
            unscored: unscored.len() as u64,
            waits_for: first_unscored.and_then(|t| self.wait_of(newest_closed_day(t, tail.time_rules.settle))),
            sealed: tail.seal().and_then(Seal::up_to),
            fields_dropped: self.fields_dropped.get(shard).copied().unwrap_or(0),
            gaps: self.gaps.get(shard).cloned().unwrap_or_default(),
            backfill: tail.backfill.as_ref().map(|backfill| BackfillStatus {
                files: backfill.files.iter().map(|f| f.name.clone()).collect(),
                run_started: backfill.run_started,
                lines: position.sequence.as_u64().unwrap_or(0).saturating_sub(backfill.lines_before),
                finished: backfill.finished,
                keep_open: backfill.keep_open,
                sorted: backfill.sorted,
                given_up: backfill.given_up,
            }),
            children: children.into_iter().map(|(name, _)| name).collect(),
        })
    }

    /// The parts of the ring that have not published a day, and their shards; `None` if the day can be used.
    fn wait_of(&self, day: Day) -> Option<DayWait> {
        let published = self
            .registry
            .with_popularity(|popularity| (!popularity.can_use(day)).then(|| popularity.published(day)))?;
        let leaves = self.registry.leaves();
        let missing = rest_of_ring(published).into_iter().map(|range| MissingRange {
            range: range.to_string(),
            shards: leaves
                .iter()
                .filter(|(_, view)| view.range.intersect(&range).is_some())
                .map(|(shard, _)| shard.to_string())
                .collect(),
        });
        Some(DayWait { day: day.to_string(), missing: missing.collect() })
    }
}

impl GapStatus {
    fn folded(gap: &FoldedGap) -> GapStatus {
        GapStatus { entry: gap.n, after: words(&gap.after), before: words(&gap.before), records: gap.records }
    }
}

fn words(place: &StoredPosition) -> String {
    format!("{}/{}", place.sequence, place.sub_sequence)
}

fn gaps_of(entry: &Entry) -> impl Iterator<Item = GapStatus> + '_ {
    entry.gaps.iter().map(move |gap| GapStatus {
        entry: entry.n,
        after: words(&gap.after),
        before: words(&gap.before),
        records: gap.records,
    })
}

/// The parts of the ring that none of the ranges covers.
fn rest_of_ring(mut ranges: Vec<HashRange>) -> Vec<HashRange> {
    ranges.sort_unstable();
    let mut rest = Vec::new();
    let mut next = Some(0u128);
    for range in ranges {
        let Some(first) = next else { break };
        if range.first > first {
            rest.push(HashRange { first, last: range.first - 1 });
        }
        next = range.last.max(first.saturating_sub(1)).checked_add(1);
    }
    rest.extend(next.map(|first| HashRange { first, last: u128::MAX }));
    rest
}

fn time<T: OnCalendar, S: Serializer>(at: &T, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_rfc3339(*at))
}

fn maybe_time<T: OnCalendar, S: Serializer>(at: &Option<T>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_the_ring_and_what_was_taken_cover_it() {
        assert_eq!(rest_of_ring(vec![]), [HashRange::FULL]);
        assert_eq!(rest_of_ring(vec![HashRange::FULL]), []);
        let parts = HashRange::divide(5);
        let taken = vec![parts[3], parts[0], parts[3]];
        let rest = rest_of_ring(taken.clone());
        assert_eq!(rest, [HashRange { first: parts[1].first, last: parts[2].last }, parts[4]]);
        assert!(HashRange::cover_ring(taken.into_iter().chain(rest)));
    }
}
