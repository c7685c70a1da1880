//! Reads every journal from its checkpoint, or its first entry, to its last, and keeps what the rest of the audit compares with.

use super::entry::{self, place};
use super::report::{ShardTotals, VerifyReport};
use super::spans::{self, Span};
use super::stop::{Check, RESTORE_JOURNAL, Stop, differ};
use authpulse_event::{Day, EventTime, HashRange, ShardId};
use authpulse_journal::backfills::given_up_words;
use authpulse_journal::env::Env;
use authpulse_journal::log::{read_checkpoint, read_spill};
use authpulse_journal::refusal::Refusal;
use authpulse_lake::Table;
use authpulse_lake::checkpoint::{Checkpoint, FoldedFile, RawTotals};
use authpulse_lake::entry::{
    Entry, Inherited, RawFile, Source, Spill, StoredDailyCounts, StoredPosition, StoredTimeRules,
};
use authpulse_lake::read::LiveFile;
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher;

/// How many entries are read at once.
const ENTRIES_AT_ONCE: usize = 100;
/// How many times the tails are looked at to find a moment at which no entry was stored.
const CUT_ATTEMPTS: u32 = 100;

/// What all journals say.
pub(super) struct Journals {
    /// The journals, by name.
    pub shards: BTreeMap<ShardId, Shard>,
    /// The files of tables that entries name, by path.
    pub files: HashMap<String, NamedFile>,
    /// How many rows of folded entries lie in files that are no longer live, by table and partition.
    pub folded_rows: BTreeMap<(Table, i32), u64>,
    /// The raw files that entries name.
    pub raw: Vec<NamedRaw>,
    /// Days for whose counts only the sums over all computers are left.
    pub past: BTreeSet<Day>,
    /// The sums of the published counts of each day, over the whole ring.
    pub sums: BTreeMap<Day, DaySums>,
    /// The settings that a lake keeps for life; `None` in an empty lake.
    pub rules: Option<StoredTimeRules>,
    /// The keys of all digests of this audit.
    pub hasher: RandomState,
}

/// What one journal says.
pub(super) struct Shard {
    pub range: HashRange,
    pub inherits: Vec<Inherited>,
    /// The numbers of events that waited and that were not scored before the first entry.
    pub inherited: (u64, u64),
    /// The watermark of the first entry.
    pub first_watermark: Option<EventTime>,
    /// The last entry.
    pub tail: Entry,
    /// The spill of the last entry.
    pub spill: Spill,
    /// The days of whose logons counts are published.
    pub daily_counts: Vec<Span>,
    /// The days of whose high-risk events counts are published.
    pub scores: Vec<Span>,
    /// The number of dead letters by reason.
    pub rejected: BTreeMap<String, u64>,
    /// The number of the last folded entry, 0 if there is none, and the position where it ends.
    pub folded: (u64, StoredPosition),
    /// Totals of the raw files of folded entries, by day of arrival.
    pub folded_raw: BTreeMap<Day, RawTotals>,
}

impl Shard {
    /// The name of the shard in `shard_id` of its rows.
    pub fn name(&self) -> &str {
        match &self.tail.source {
            Source::File => "file",
            Source::Stream { shard_id, .. } => shard_id,
        }
    }
}

/// A file of a table, as an entry names it.
pub(super) struct NamedFile {
    pub shard: ShardId,
    pub n: u64,
    pub live: LiveFile,
    /// The digest of the file's bytes; empty if its writer stored none.
    pub sha256: String,
}

/// The raw files of an entry.
pub(super) struct NamedRaw {
    pub shard: ShardId,
    pub n: u64,
    pub from: StoredPosition,
    pub to: StoredPosition,
    pub files: Vec<RawFile>,
}

/// A sum of counts by computer that is the same however the counts are divided into parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sketch {
    /// The sum over all computers.
    pub total: u64,
    mix: u64,
}

impl Sketch {
    /// Adds the count of one computer.
    pub fn add(&mut self, hasher: &RandomState, computer: &str, count: u64) {
        self.total = self.total.wrapping_add(count);
        self.mix = self.mix.wrapping_add(hasher.hash_one(computer).wrapping_mul(count));
    }
}

/// The sums of a day, from published counts or from rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DaySums {
    pub logons: Sketch,
    pub users: Sketch,
    pub high_risk: Sketch,
}

/// Reads and checks all journals.
pub(super) async fn audit(env: &Env, report: &mut VerifyReport) -> Check<Journals> {
    let mut journals = Journals {
        shards: BTreeMap::new(),
        files: HashMap::new(),
        folded_rows: BTreeMap::new(),
        raw: Vec::new(),
        past: BTreeSet::new(),
        sums: BTreeMap::new(),
        rules: None,
        hasher: RandomState::new(),
    };
    let mut commit_ids = HashSet::new();
    for (shard, through) in cut(env).await? {
        let mut totals = ShardTotals { shard: shard.to_string(), ..ShardTotals::default() };
        let read = journals.read(env, shard, through, &mut totals, &mut commit_ids).await;
        report.shards.push(totals);
        read?;
    }
    Ok(journals)
}

impl Journals {
    /// Words about backfills that were given up by hand.
    pub fn given_up(&self) -> impl Iterator<Item = String> {
        let runs = self.shards.values().filter_map(|shard| shard.tail.backfill.as_ref());
        runs.filter_map(|run| Some(given_up_words(run, run.given_up?)))
    }
}

/// The last entry of every shard at one moment, so that entries on which others depend are included. It is found when two looks agree.
async fn cut(env: &Env) -> Check<BTreeMap<ShardId, u64>> {
    let mut before = None;
    for _ in 0..CUT_ATTEMPTS {
        let mut tails = BTreeMap::new();
        for shard in env.journal.shards().await? {
            if let Some(tail) = env.journal.tail(&shard).await? {
                tails.insert(shard, tail);
            }
        }
        if before.as_ref() == Some(&tails) {
            return Ok(tails);
        }
        before = Some(tails);
    }
    Err(Stop::Error(Refusal::Growing.into()))
}

impl Journals {
    async fn read(
        &mut self,
        env: &Env,
        key: ShardId,
        through: u64,
        totals: &mut ShardTotals,
        commit_ids: &mut HashSet<String>,
    ) -> Check<()> {
        let checkpoint = read_checkpoint(env, &key).await?;
        let mut next = checkpoint.as_ref().map_or(1, |checkpoint| checkpoint.through + 1);
        let mut shard = checkpoint.map(|checkpoint| self.begin(checkpoint, totals)).transpose()?;
        while next <= through {
            let entries = env.journal.list(&key, next, ENTRIES_AT_ONCE).await?;
            if entries.is_empty() {
                break;
            }
            for (n, body) in entries.into_iter().take_while(|(n, _)| *n <= through) {
                if n != next {
                    let place = format!("shard {key}");
                    let (expected, found) = (format!("entry {next}"), format!("entry {n} next"));
                    let what = "an entry is missing from the journal";
                    return Err(differ(what, place, expected, found, RESTORE_JOURNAL).or_folded());
                }
                next += 1;
                let entry = Entry::decode(&key, n, &body, env.lake.sections())?;
                let spill = read_spill(env, &entry).await?;
                entry::check(shard.as_ref().map(|s| &s.tail), &entry, &spill)?;
                if !commit_ids.insert(entry.commit_id.clone()) {
                    let expected = "an id of its own";
                    return Err(differ(
                        "two entries have one commit id",
                        place(&entry),
                        expected,
                        entry.commit_id,
                        RESTORE_JOURNAL,
                    ));
                }
                self.keep(&mut shard, entry, spill, totals)?;
            }
        }
        self.shards.extend(shard.map(|shard| (key, shard)));
        Ok(())
    }

    /// Begins a journal with its checkpoint, which stands for the folded entries.
    fn begin(&mut self, checkpoint: Checkpoint, totals: &mut ShardTotals) -> Check<Shard> {
        let key = ShardId::new(&checkpoint.shard);
        let what = format!("the base of shard {key}");
        let range = checkpoint.last.hash_range()?;
        let counts = &checkpoint.last.counts;
        let rejected: u64 = checkpoint.rejected.values().sum();
        let given = checkpoint.received + checkpoint.first.waiting_before + checkpoint.first.unscored_before;
        let accounted = checkpoint.curated + rejected + counts.waiting + counts.unscored;
        let rows =
            |table: Table| checkpoint.rows().iter().filter(|((of, _), _)| *of == table).map(|(_, n)| n).sum::<u64>();
        let raw: u64 = checkpoint.raw.values().map(|day| day.records).sum();
        for (words, expected, found) in [
            ("the counts of folded entries do not add up", given, accounted),
            ("rows in the curated files of folded entries", checkpoint.curated, rows(Table::CURATED)),
            ("rows in the files of dead letters of folded entries", rejected, rows(Table::REJECTED)),
            ("records in the raw files of folded entries", checkpoint.received.max(raw), checkpoint.received),
        ] {
            if expected != found {
                return Err(differ(words, what, expected, found, RESTORE_JOURNAL));
            }
        }
        self.rules(&checkpoint.last)?;
        *totals = ShardTotals {
            shard: checkpoint.shard.clone(),
            entries: checkpoint.through,
            position: format!("{}/{}", checkpoint.last.to.sequence, checkpoint.last.to.sub_sequence),
            inherited: (checkpoint.first.waiting_before, checkpoint.first.unscored_before),
            received: checkpoint.received,
            curated: checkpoint.curated,
            rejected: checkpoint.rejected.clone(),
            waiting: counts.waiting,
            unscored: counts.unscored,
            gaps: checkpoint.older_gaps.0 + checkpoint.gaps.len() as u64,
            gap_records: checkpoint
                .gaps
                .iter()
                .filter_map(|gap| gap.records)
                .fold(checkpoint.older_gaps.1, u64::saturating_add),
        };
        for FoldedFile { n, file } in checkpoint.files {
            let named = NamedFile { shard: key.clone(), n, live: (&file).into(), sha256: file.sha256 };
            self.files.insert(file.path, named);
        }
        for row in checkpoint.rows {
            *self.folded_rows.entry((row.table, row.partition)).or_default() += row.rows;
        }
        let mut shard = Shard {
            range,
            inherits: checkpoint.first.inherits,
            inherited: (checkpoint.first.waiting_before, checkpoint.first.unscored_before),
            first_watermark: checkpoint.first.watermark,
            folded: (checkpoint.through, checkpoint.last.to.clone()),
            tail: checkpoint.last,
            spill: Spill::default(),
            daily_counts: Vec::new(),
            scores: Vec::new(),
            rejected: checkpoint.rejected,
            folded_raw: checkpoint.raw.into_iter().map(|(day, totals)| (Day(day), totals)).collect(),
        };
        self.publish(&mut shard, &checkpoint.daily_counts, &checkpoint.scores, &what)?;
        for (day, totals) in checkpoint.past {
            let sums = self.sums.entry(Day(day)).or_default();
            sums.logons.total = sums.logons.total.wrapping_add(totals.logons);
            sums.users.total = sums.users.total.wrapping_add(totals.users);
            sums.high_risk.total = sums.high_risk.total.wrapping_add(totals.high_risk);
            self.past.insert(Day(day));
        }
        Ok(shard)
    }

    /// Checks that the settings which a lake keeps for life are the same in every entry.
    fn rules(&mut self, entry: &Entry) -> Check<()> {
        let rules = self.rules.get_or_insert_with(|| entry.time_rules.clone());
        if *rules == entry.time_rules {
            return Ok(());
        }
        let (expected, found) = (format!("{rules:?}"), format!("{:?}", entry.time_rules));
        let what = "settings that a lake keeps for life differ between its shards";
        Err(differ(what, place(entry), expected, found, RESTORE_JOURNAL))
    }

    fn keep(&mut self, shard: &mut Option<Shard>, entry: Entry, spill: Spill, totals: &mut ShardTotals) -> Check<()> {
        self.rules(&entry)?;
        add_totals(totals, &entry);
        self.keep_files(&entry)?;
        let range = entry.hash_range()?;
        let shard = match shard {
            Some(shard) => {
                shard.tail = entry;
                shard.spill = spill;
                shard
            }
            None => shard.insert(Shard {
                range,
                inherits: entry.inherits.clone(),
                inherited: (entry.counts.waiting_before, entry.counts.unscored_before),
                first_watermark: entry.watermark,
                daily_counts: Vec::new(),
                scores: Vec::new(),
                rejected: BTreeMap::new(),
                folded: (0, entry.from.clone()),
                folded_raw: BTreeMap::new(),
                tail: entry,
                spill,
            }),
        };
        for (reason, n) in &shard.tail.counts.rejected {
            *shard.rejected.entry(reason.clone()).or_default() += n;
        }
        if shard.tail.takes_over {
            return Ok(());
        }
        let (place, spill) = (place(&shard.tail), std::mem::take(&mut shard.spill));
        self.publish(shard, &spill.daily_counts, &spill.scores, &place)?;
        shard.spill = spill;
        Ok(())
    }

    /// Adds the counts that an entry or checkpoint publishes.
    fn publish(
        &mut self,
        shard: &mut Shard,
        daily_counts: &[StoredDailyCounts],
        scores: &[StoredDailyCounts],
        place: &str,
    ) -> Check<()> {
        let range = shard.range;
        for counts in daily_counts {
            spans::add(&mut shard.daily_counts, counts, range, place)?;
            self.sum(counts, |sums, hasher, computer, logons, users| {
                sums.logons.add(hasher, computer, logons);
                sums.users.add(hasher, computer, users);
            });
        }
        for counts in scores {
            spans::add(&mut shard.scores, counts, range, place)?;
            self.sum(counts, |sums, hasher, computer, high_risk, _| sums.high_risk.add(hasher, computer, high_risk));
        }
        Ok(())
    }

    fn sum(&mut self, counts: &StoredDailyCounts, add: impl Fn(&mut DaySums, &RandomState, &str, u64, u64)) {
        for day in &counts.days {
            let sums = self.sums.entry(Day(day.day)).or_default();
            for (computer, count, users) in &day.computers {
                add(sums, &self.hasher, computer, *count, *users);
            }
        }
    }

    fn keep_files(&mut self, entry: &Entry) -> Check<()> {
        let shard = ShardId::new(&entry.shard);
        for file in &entry.files {
            let live = LiveFile::from(file);
            let named = NamedFile { shard: shard.clone(), n: entry.n, live, sha256: file.sha256.clone() };
            if let Some(other) = self.files.insert(file.path.clone(), named) {
                let expected = "each file in one entry";
                let found = format!("file {}, which entry {} of shard {} names, too", file.path, other.n, other.shard);
                return Err(differ("two entries name one file", place(entry), expected, found, RESTORE_JOURNAL));
            }
        }
        if !entry.raw.is_empty() {
            self.raw.push(NamedRaw {
                shard,
                n: entry.n,
                from: entry.from.clone(),
                to: entry.to.clone(),
                files: entry.raw.clone(),
            });
        }
        Ok(())
    }
}

fn add_totals(totals: &mut ShardTotals, entry: &Entry) {
    let counts = &entry.counts;
    totals.entries += 1;
    if entry.n == 1 {
        totals.inherited = (counts.waiting_before, counts.unscored_before);
    }
    totals.position = format!("{}/{}", entry.to.sequence, entry.to.sub_sequence);
    totals.received = totals.received.saturating_add(counts.received);
    totals.curated = totals.curated.saturating_add(counts.curated);
    for (reason, n) in &counts.rejected {
        let sum = totals.rejected.entry(reason.clone()).or_default();
        *sum = sum.saturating_add(*n);
    }
    (totals.waiting, totals.unscored) = (counts.waiting, counts.unscored);
    totals.gaps += entry.gaps.len() as u64;
    let lost = entry.gaps.iter().filter_map(|gap| gap.records);
    totals.gap_records = lost.fold(totals.gap_records, u64::saturating_add);
}
