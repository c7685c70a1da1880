//! The entry in the making: rows pile up, chunks of them are encoded and put on other threads, and in the end one entry names
//! all the files.

use crate::columns::Asking;
use authpulse_engine::names::UserNamesView;
use authpulse_engine::rows::{DayRow, HourRow, RejectedRecord, ScoredEvent};
use authpulse_engine::{Counts, Cut, Piece, PieceSection, Shard};
use authpulse_event::id::sha256_hex;
use authpulse_event::{EventTime, Position, ProcessingTime, ShardId, Tick};
use authpulse_journal::env::{Env, start};
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::log;
use authpulse_journal::open::spans;
use authpulse_journal::registry::Registry;
use authpulse_lake::encode::{
    CuratedRows, EntryRows, encode_curated, encode_daily, encode_hourly, encode_later_table, encode_raw,
    encode_rejected,
};
use authpulse_lake::entry::{
    Entry, EntryCounts, FileRef, PieceRef, RawFile, Rise, Side, StoredGap, StoredShare, Unscored, Waiting,
};
use authpulse_lake::schema::raw_name;
use authpulse_lake::sections::{Holder, Section};
use authpulse_lake::store::put_once;
use authpulse_lake::{EncodeOptions, EncodedFile, RawRecord, RawSource, StoreError, Table, TableFile};
use authpulse_settings::options::Options;
use bytes::Bytes;
use futures::future::BoxFuture;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// An entry's side is put into a file of its own above this size, in bytes of JSON.
const SIDE_INLINE_BYTES: usize = 64 << 10;
/// zstd level of snapshots.
const SNAPSHOT_ZSTD_LEVEL: i32 = 1;
/// Chunks that may be under way on other threads, per entry. Each holds its rows and its encoded bytes.
const CHUNKS_UNDER_WAY: usize = 3;

/// What a dead letter's words take up, about.
const DETAIL_BYTES: usize = 128;

type Files = Result<Vec<TableFile>>;

/// See the module.
pub struct Draft {
    /// Names the entry's files; becomes its commit id.
    pub commit_id: String,
    /// When its first record was judged, in ticks.
    pub opened: Option<Tick>,
    /// The position before its first record.
    pub from: Position,
    /// What became of its records so far.
    pub counts: Counts,
    /// Dead letters.
    pub rejected: Vec<RejectedRecord>,
    /// Raw records.
    pub raw: Vec<RawRecord>,
    /// Payload bytes in `rejected` and `raw`.
    pub payload_bytes: u64,
    /// Rises decided.
    pub rises: Vec<Rise>,
    /// Gaps found.
    pub gaps: Vec<StoredGap>,
    chunks: u32,
    under_way: VecDeque<BoxFuture<'static, Option<Files>>>,
    files: Vec<TableFile>,
}

impl Draft {
    /// An empty draft. So many raw records are expected.
    pub fn new(env: &Env, from: Position, raw_records: usize) -> Draft {
        Draft {
            commit_id: env.ids.commit_id(),
            opened: None,
            from,
            counts: Counts::default(),
            rejected: Vec::new(),
            raw: Vec::with_capacity(raw_records),
            payload_bytes: 0,
            rises: Vec::new(),
            gaps: Vec::new(),
            chunks: 0,
            under_way: VecDeque::new(),
            files: Vec::new(),
        }
    }

    /// Whether storing it would tell anything new about records or the watermark.
    pub fn is_empty(&self) -> bool {
        self.counts == Counts::default() && self.rises.is_empty() && self.gaps.is_empty()
    }

    /// Bytes of memory that records and rows take up, and room made for records; those that were encoded already count as well.
    pub fn held_bytes(&self) -> u64 {
        let of = |n: u64, bytes: usize| n * bytes as u64;
        self.payload_bytes
            + of(self.raw.capacity() as u64, size_of::<RawRecord>())
            + of(self.rejected.len() as u64, size_of::<RejectedRecord>() + DETAIL_BYTES)
            + of(self.counts.curated, size_of::<ScoredEvent>())
    }

    /// Sends scored rows to be encoded and put. Waits while too many chunks are under way.
    pub async fn add_rows(
        &mut self,
        env: &Env,
        options: &Options,
        (shard, asking): (&Shard, &Asking),
        rows: Vec<ScoredEvent>,
    ) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        while self.under_way.len() >= CHUNKS_UNDER_WAY {
            self.wait_for_one().await?;
        }
        let (users, computers) = (shard.user_names().view(), shard.computer_names().view());
        let (base, rules) = (options.engine.time.base, options.engine.rules.clone());
        let (encode, processing_time) = (options.encode, env.clock.now());
        let (world, asking) = (env.clone(), asking.clone());
        let encoded = async move {
            let later = asking.later(&world, Table::CURATED, &world.lake.shape().curated, &rows).await?;
            let _turn = world.work.turn().await;
            let (users, computers, rule_set) = (&users, &computers, &*rules.digest());
            let input = CuratedRows {
                rows: &rows,
                users,
                computers,
                base,
                rules: &rules,
                rule_set,
                processing_time,
                later: later.as_ref(),
            };
            Ok(encode_curated(&input, &encode)?)
        };
        self.start_chunk(env, encoded);
        Ok(())
    }

    fn start_chunk(&mut self, env: &Env, encoded: impl Future<Output = Result<Vec<EncodedFile>>> + Send + 'static) {
        let unique = format!("{}-{:02}", self.commit_id, self.chunks);
        self.chunks += 1;
        let store = env.store.clone();
        self.under_way.push_back(start(&*env.work, async move {
            let mut files = Vec::new();
            for (part, encoded) in encoded.await?.into_iter().enumerate() {
                let path = encoded.path(&format!("{unique}-{part}"));
                let (file, bytes) = encoded.finish(path);
                put_once(&*store, &file.path, bytes).await?;
                files.push(file);
            }
            Ok(files)
        }));
    }

    async fn wait_for_one(&mut self) -> Result<()> {
        if let Some(chunk) = self.under_way.pop_front() {
            let files = chunk.await.ok_or(ConsumerError::Bug { shard: ShardId::new("?"), what: "encoding rows" })??;
            self.files.extend(files);
        }
        Ok(())
    }
}

/// What is stored with an entry besides the draft and the cut.
pub struct Closing {
    /// The position after its last record.
    pub to: Position,
    /// Rows of `host_popularity_daily`, and the day they reach.
    pub days: (Vec<DayRow>, Option<i32>),
    /// A snapshot of the state.
    pub snapshot: Option<Vec<Piece>>,
    /// See [`Entry`].
    pub read_to_end: bool,
    /// See [`Entry`].
    pub settled: bool,
    /// See [`Entry`].
    pub end: bool,
    /// See [`Entry`].
    pub sealed: Option<EventTime>,
    /// See [`Entry`].
    pub backfill: Option<authpulse_lake::entry::Backfill>,
    /// See [`Entry`].
    pub inherits: Vec<authpulse_lake::entry::Inherited>,
}

/// Finishes an entry: waits for its chunks, encodes the rest, stores it, puts raw files under their final names and reports it.
/// Runs beside the engine.
pub struct Finish {
    /// The world.
    pub env: Env,
    /// How files are cut.
    pub options: Arc<Options>,
    /// To report to.
    pub registry: Arc<Registry>,
    /// The shard's journal.
    pub shard: ShardId,
    /// Stream and shard by the names that rows carry.
    pub source: RawSource,
    /// The entry before.
    pub last: Entry,
    /// The draft.
    pub draft: Draft,
    /// The state at the cut.
    pub cut: Cut,
    /// The rest.
    pub closing: Closing,
    /// Names of users, for hours.
    pub users: UserNamesView,
    /// How its pieces ask for columns and tables.
    pub asking: Asking,
}

impl Finish {
    /// Does it; returns the stored entry.
    pub async fn run(self) -> Result<Entry> {
        let Finish { env, options, registry, shard, source, last, mut draft, cut, closing, users, asking } = self;
        let (commit_id, processing_time, encode) = (draft.commit_id.clone(), env.clock.now(), options.encode);
        let Cut { waiting, unscored, hours, shares, scores, .. } = cut;
        let rejected = std::mem::take(&mut draft.rejected);
        let raw = std::mem::take(&mut draft.raw);
        let n = last.n + 1;
        let small =
            Small { hours, users, days: closing.days.0, rejected, shard: source.shard.clone(), processing_time };
        draft.start_chunk(&env, small.encode(env.clone(), asking.clone(), encode));
        let raw = stage_raw(&env, &options, &commit_id, (&shard, n), (&source, raw)).await?;
        let snapshot = put_snapshot(&env, &commit_id, closing.snapshot, &last).await?;
        let side = Side {
            unscored: unscored.iter().map(Unscored::from).collect(),
            shares: shares.iter().map(StoredShare::from).collect(),
            scores: scores.iter().map(StoredShare::from).collect(),
            sections: env.lake.sections().written(Holder::Side, &last),
        };
        let side_file = put_side(&env, &commit_id, &side).await?;
        while !draft.under_way.is_empty() {
            draft.wait_for_one().await?;
        }
        let mut sections = last.sections.carried();
        sections.extend(env.lake.sections().written(Holder::Entry, &last));
        let mut entry = Entry {
            format: last.format,
            shard: shard.to_string(),
            n,
            epoch: last.epoch,
            commit_id,
            written_at: env.clock.now(),
            takes_over: false,
            source: last.source.clone(),
            range: last.range.clone(),
            inherits: closing.inherits,
            from: draft.from.into(),
            to: closing.to.into(),
            counts: EntryCounts::new(
                &draft.counts,
                (last.counts.waiting, last.counts.unscored),
                (waiting.len() as u64, unscored.len() as u64),
            ),
            watermark: cut.watermark,
            rises: draft.rises,
            newest_accepted: cut.newest_accepted,
            last_accepted_live: cut.last_accepted_live,
            hours_through: cut.hours_through,
            shares_through: cut.shares_through.map(|d| d.0),
            score_spans: spans(&cut.score_spans),
            daily_through: closing.days.1,
            waiting: waiting.iter().map(Waiting::from).collect(),
            side: if side_file.is_some() { Side::default() } else { side.clone() },
            side_file,
            files: draft.files,
            raw,
            // Entries are finished one after another, each with its raw files.
            raw_done: last.n,
            last_snapshot: if snapshot.is_empty() { last.last_snapshot } else { n },
            snapshot,
            gaps: draft.gaps,
            read_to_end: closing.read_to_end,
            settled: closing.settled,
            end: closing.end,
            sealed: closing.sealed,
            time_rules: (&options.engine.time).into(),
            rule_set: options.engine.rules.digest(),
            backfill: closing.backfill,
            sections,
        };
        entry.format = entry.format_to_write(&side, last.format);
        debug_assert!(entry.counts.adds_up(), "{:?}", entry.counts);
        let later: BTreeSet<Table> = entry.files.iter().map(|file| file.table).filter(|t| !t.is_first()).collect();
        for table in later {
            asking.table(&env, table).await?;
        }
        (env.probe)("entry put before", entry.shard.as_str());
        log::store(&env, &shard, &last, &entry).await?;
        (env.probe)("entry put after", entry.shard.as_str());
        finish_raw(&env, &entry).await?;
        registry.stored(&entry, &side)?;
        Ok(entry)
    }
}

/// Rows that are few: hours, days, dead letters, and what later tables make of them.
struct Small {
    hours: Vec<HourRow>,
    users: UserNamesView,
    days: Vec<DayRow>,
    rejected: Vec<RejectedRecord>,
    shard: ShardId,
    processing_time: ProcessingTime,
}

impl Small {
    async fn encode(self, env: Env, asking: Asking, options: EncodeOptions) -> Result<Vec<EncodedFile>> {
        let Small { hours, users, days, rejected, shard, processing_time } = self;
        let shape = env.lake.shape();
        let of_hours = asking.later(&env, Table::HOURLY, &shape.hourly, &hours).await?;
        let of_days = asking.later(&env, Table::DAILY, &shape.daily, &days).await?;
        let of_rejected = asking.later(&env, Table::REJECTED, &shape.rejected, &rejected).await?;
        let _turn = env.work.turn().await;
        let mut files = Vec::new();
        if !hours.is_empty() {
            files.extend(encode_hourly(&hours, &users, of_hours.as_ref(), &options)?);
        }
        if !days.is_empty() {
            files.extend(encode_daily(&days, of_days.as_ref(), &options)?);
        }
        if !rejected.is_empty() {
            files.extend(encode_rejected(&rejected, &shard, processing_time, of_rejected.as_ref(), &options)?);
        }
        let rows = EntryRows {
            shard: &shard,
            hours: &hours,
            users: &users,
            days: &days,
            rejected: &rejected,
            processing_time,
        };
        for table in env.lake.tables().iter().filter(|table| !table.is_first()) {
            files.extend(encode_later_table(*table, &rows, &options)?);
        }
        Ok(files)
    }
}

async fn stage_raw(
    env: &Env,
    options: &Options,
    commit_id: &str,
    (shard, n): (&ShardId, u64),
    (source, records): (&RawSource, Vec<RawRecord>),
) -> Result<Vec<RawFile>> {
    let mut files = Vec::new();
    if records.is_empty() {
        return Ok(files);
    }
    let turn = env.work.turn().await;
    let all = encode_raw(source, &records, &options.encode)?;
    // What takes up as much memory as its rows, but is of no use any more.
    drop(records);
    drop(turn);
    for (k, encoded) in all.into_iter().enumerate() {
        let staged = format!("staging/raw/{commit_id}-{k}.parquet");
        let (path, rows, bytes) = (encoded.path(&raw_name(shard, n, k)), encoded.rows, encoded.bytes.len() as u64);
        put_once(&*env.store, &staged, encoded.bytes).await?;
        files.push(RawFile { staged, path, rows, bytes });
    }
    Ok(files)
}

/// Puts an entry's raw files under their final names; repeating it is harmless.
pub async fn finish_raw(env: &Env, entry: &Entry) -> Result<()> {
    for file in &entry.raw {
        (env.probe)("raw rename before", &file.path);
        match env.store.copy_new(&file.staged, &file.path).await {
            Ok(()) | Err(StoreError::AlreadyExists { .. }) => {}
            Err(error) => {
                if env.store.size(&file.path).await?.is_none() {
                    return Err(error.into());
                }
            }
        }
        (env.probe)("raw rename after", &file.path);
        env.store.delete(&file.staged).await?;
    }
    Ok(())
}

async fn put_snapshot(env: &Env, commit_id: &str, pieces: Option<Vec<Piece>>, last: &Entry) -> Result<Vec<PieceRef>> {
    let mut stored = Vec::new();
    for (k, piece) in pieces.into_iter().flatten().enumerate() {
        let written = env.lake.sections().written(Holder::Piece, last);
        let sections: Vec<PieceSection> = written.iter().map(of_piece).collect();
        let piece = piece.with_sections(&sections);
        let turn = env.work.turn().await;
        let bytes: Bytes = zstd::bulk::compress(&piece.bytes, SNAPSHOT_ZSTD_LEVEL)
            .expect("compressing into memory does not fail")
            .into();
        drop(turn);
        let path = format!("state/{commit_id}-{k}.apst.zst");
        let file = FileRef { path, bytes: bytes.len() as u64, sha256: sha256_hex(&bytes) };
        (env.probe)("snapshot before", &file.path);
        put_once(&*env.store, &file.path, bytes).await?;
        (env.probe)("snapshot after", &file.path);
        let sections = sections.into_iter().map(|section| (section.name, section.must)).collect();
        stored.push(PieceRef { range: piece.range.to_string(), users: piece.users, sections, file });
    }
    Ok(stored)
}

fn of_piece((name, section): (&str, &Section)) -> PieceSection {
    PieceSection { name: name.to_owned(), must: section.must, body: section.body.text().as_bytes().to_vec() }
}

async fn put_side(env: &Env, commit_id: &str, side: &Side) -> Result<Option<FileRef>> {
    if side.size_estimate() <= SIDE_INLINE_BYTES {
        return Ok(None);
    }
    let bytes = side.encode();
    let file = FileRef {
        path: format!("state/{commit_id}.side.json.zst"),
        bytes: bytes.len() as u64,
        sha256: sha256_hex(&bytes),
    };
    put_once(&*env.store, &file.path, bytes).await?;
    Ok(Some(file))
}
