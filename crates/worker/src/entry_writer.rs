//! Stores an entry that is closed: first its files, then the entry that names them, then what follows from it (raw files get their final
//! names, the registry hears of it). Runs beside the engine.

use crate::chunks::Chunks;
use crate::columns::Asking;
use crate::entry_builder::Closed;
use crate::entry_files::{finish_raw, put_snapshot, put_spill, stage_raw};
use crate::small_rows::SmallRows;
use authpulse_engine::Piece;
use authpulse_engine::names::UserNamesView;
use authpulse_event::ShardId;
use authpulse_journal::env::Env;
use authpulse_journal::error::Result;
use authpulse_journal::log;
use authpulse_journal::registry::Registry;
use authpulse_lake::entry::{
    Entry, EntryCounts, FileRef, PieceRef, RawFile, Spill, StoredDailyCounts, Unscored, Waiting, spans,
};
use authpulse_lake::section_list::Holder;
use authpulse_lake::{RawSource, Table, TableFile};
use authpulse_settings::options::Options;
use std::collections::BTreeSet;
use std::sync::Arc;

/// See the module.
pub struct EntryWriter {
    /// Everything outside.
    pub env: Env,
    /// How files are cut.
    pub options: Arc<Options>,
    /// Hears of the stored entry.
    pub registry: Arc<Registry>,
    /// The shard's journal.
    pub shard: ShardId,
    /// Stream and shard by the names that rows carry.
    pub source: RawSource,
    /// The entry before.
    pub last: Entry,
    /// What it is to hold.
    pub closed: Closed,
    /// A snapshot of the state at its end.
    pub snapshot: Option<Vec<Piece>>,
    /// The files of its rows so far.
    pub chunks: Chunks,
    /// Names of users, for hours.
    pub users: UserNamesView,
    /// How its pieces ask for columns and tables.
    pub asking: Asking,
}

/// What was put before the entry and is named in it.
struct Written {
    commit_id: String,
    files: Vec<TableFile>,
    raw: Vec<RawFile>,
    snapshot: Vec<PieceRef>,
    spill_file: Option<FileRef>,
}

impl EntryWriter {
    /// Puts the rest of its files, stores it, puts raw files under their final names and reports it. Returns the stored entry.
    ///
    /// # Errors
    /// A file or the entry cannot be stored, another owner was first, or a stop came while a table lacked columns. Files that were put
    /// until then belong to no entry.
    pub async fn run(self) -> Result<Entry> {
        let EntryWriter {
            env,
            options,
            registry,
            shard,
            source,
            last,
            mut closed,
            snapshot,
            mut chunks,
            users,
            asking,
        } = self;
        let commit_id = chunks.commit_id.clone();
        let small = SmallRows {
            hours: std::mem::take(&mut closed.cut.hours),
            users,
            days: std::mem::take(&mut closed.closing.days.0),
            rejected: std::mem::take(&mut closed.builder.rejected),
            shard: source.shard.clone(),
            processing_time: env.clock.now(),
        };
        chunks.start(&env, small.encode(env.clone(), asking.clone(), options.encode));
        let raw = std::mem::take(&mut closed.builder.raw);
        let raw = stage_raw(&env, &options, &commit_id, (&shard, last.n + 1), (&source, raw)).await?;
        let snapshot = put_snapshot(&env, &commit_id, snapshot, &last).await?;
        let spill = Spill {
            unscored: closed.cut.unscored.iter().map(Unscored::from).collect(),
            daily_counts: closed.cut.daily_counts.iter().map(StoredDailyCounts::from).collect(),
            scores: closed.cut.scores.iter().map(StoredDailyCounts::from).collect(),
            sections: env.lake.sections().written(Holder::Spill, &last),
        };
        let spill_file = put_spill(&env, &commit_id, &spill).await?;
        let files = chunks.finish().await?;
        let written = Written { commit_id, files, raw, snapshot, spill_file };
        let entry = entry(&env, &options, &last, closed, written, &spill);
        let later: BTreeSet<Table> = entry.files.iter().map(|file| file.table).filter(|t| !t.is_first()).collect();
        for table in later {
            asking.table(&env, table).await?;
        }
        (env.probe)("entry put before", entry.shard.as_str());
        log::store(&env, &shard, &last, &entry).await?;
        (env.probe)("entry put after", entry.shard.as_str());
        finish_raw(&env, &entry).await?;
        registry.stored(&entry, &spill)?;
        Ok(entry)
    }
}

/// The entry behind `last`, as it will be stored.
fn entry(env: &Env, options: &Options, last: &Entry, closed: Closed, written: Written, spill: &Spill) -> Entry {
    let Closed { builder, cut, closing } = closed;
    let Written { commit_id, files, raw, snapshot, spill_file } = written;
    let n = last.n + 1;
    let mut sections = last.sections.carried();
    sections.extend(env.lake.sections().written(Holder::Entry, last));
    let mut entry = Entry {
        format: last.format,
        shard: last.shard.clone(),
        n,
        epoch: last.epoch,
        commit_id,
        written_at: env.clock.now(),
        takes_over: false,
        source: last.source.clone(),
        range: last.range.clone(),
        inherits: closing.inherits,
        from: builder.from.into(),
        to: closing.to.into(),
        counts: EntryCounts::new(
            &builder.counts,
            (last.counts.waiting, last.counts.unscored),
            (cut.waiting.len() as u64, cut.unscored.len() as u64),
        ),
        watermark: cut.watermark,
        advances: builder.advances,
        newest_accepted: cut.newest_accepted,
        last_accepted_live: cut.last_accepted_live,
        hours_through: cut.hours_through,
        counts_through: cut.counts_through.map(|d| d.0),
        score_spans: spans(&cut.score_spans),
        daily_through: closing.days.1,
        waiting: cut.waiting.iter().map(Waiting::from).collect(),
        spill: if spill_file.is_some() { Spill::default() } else { spill.clone() },
        spill_file,
        files,
        raw,
        // Entries are finished one after another, each with its raw files.
        raw_done: last.n,
        last_snapshot: if snapshot.is_empty() { last.last_snapshot } else { n },
        snapshot,
        gaps: builder.gaps,
        read_to_end: closing.read_to_end,
        flushed: closing.flushed,
        end: closing.end,
        sealed: closing.sealed,
        time_rules: (&options.engine.time).into(),
        rule_set: options.engine.rules.digest(),
        backfill: closing.backfill,
        sections,
    };
    entry.format = entry.format_to_write(spill, last.format);
    debug_assert!(entry.counts.adds_up(), "{:?}", entry.counts);
    entry
}
