//! What several tests of the lake share: deterministic ids, small entries, and a plain reading of all rows.

use authpulse_engine::flags::{Flag, Flags};
use authpulse_engine::names::{ComputerNames, UserNames};
use authpulse_engine::rows::{AcceptedEvent, DayRow, EventId, Reason, RejectedRecord, ScoredEvent, Windows};
use authpulse_engine::rules::RuleSet;
use authpulse_event::time::{DEFAULT_BASE, MICROSECOND, SECOND};
use authpulse_event::{ArrivalTime, Day, Position, ProcessingTime, ShardId, TimeForm};
use authpulse_lake::encode::{CuratedRows, encode_curated, encode_daily, encode_rejected};
use authpulse_lake::{
    CommitIds, EncodeOptions, EncodedFile, EntryFiles, Lake, LakeError, MemoryCatalog, MemoryStore, ObjectStore, Table,
    TableFile,
};
use bytes::Bytes;
use futures::executor::block_on;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// When all records arrive, and when they are processed.
pub const ARRIVED: ArrivalTime = ArrivalTime::from_micros(DEFAULT_BASE.micros());
pub const PROCESSED: ProcessingTime = ProcessingTime::from_micros(DEFAULT_BASE.micros());

/// A clock that advances by a millisecond per call, and names that count up from a seed.
pub struct CountingIds(AtomicU64);

impl CountingIds {
    pub fn new(seed: u64) -> Arc<CountingIds> {
        Arc::new(CountingIds(AtomicU64::new(seed << 32)))
    }
}

impl CommitIds for CountingIds {
    fn now_ms(&self) -> i64 {
        1_700_000_000_000 + (self.0.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff) as i64
    }
    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(self.0.fetch_add(1, Ordering::Relaxed), 0)
    }
}

/// A lake in memory, with its tables.
pub fn memory_lake() -> (Lake, Arc<MemoryStore>, Arc<MemoryCatalog>) {
    let (store, catalog) = (Arc::new(MemoryStore::new()), Arc::new(MemoryCatalog::new()));
    let lake = Lake::new(store.clone(), catalog.clone()).with_ids(CountingIds::new(1));
    block_on(lake.ensure_tables()).unwrap();
    (lake, store, catalog)
}

/// What tables need of an entry.
pub struct Entry {
    pub shard: ShardId,
    pub n: u64,
    pub files: Vec<TableFile>,
}

impl Entry {
    pub fn view(&self) -> EntryFiles<'_> {
        EntryFiles { shard: &self.shard, n: self.n, files: &self.files }
    }
}

pub fn views(entries: &[Entry]) -> Vec<EntryFiles<'_>> {
    entries.iter().map(Entry::view).collect()
}

/// The names of a few users and computers.
#[derive(Default)]
pub struct Names {
    pub users: UserNames,
    pub computers: ComputerNames,
}

/// Scored events, `rows` of them, each with its own user, spread over two days.
pub fn events(shard: &str, n: u64, rows: u64, names: &mut Names) -> Vec<ScoredEvent> {
    let event = |i: u64| {
        let mut flags = Flags::default();
        flags.set(Flag::NEW_DEVICE, i.is_multiple_of(2));
        flags.set(Flag::RARE_HOST, i.is_multiple_of(3));
        ScoredEvent {
            event: AcceptedEvent {
                event_time: DEFAULT_BASE + (n * 1000 + i) as i64 * 7 * SECOND,
                ingestion_time: ARRIVED + MICROSECOND,
                user: names.users.intern(&format!("{shard}-{n}-{i}")),
                computer: names.computers.intern(&format!("C{}", i % 5)),
                id: EventId::Content(TimeForm::Seconds),
                windows: Windows { logons_1h: i as u32 + 1, ..Windows::default() },
                new_device: i.is_multiple_of(2),
                attributes: Default::default(),
            },
            popularity: (!i.is_multiple_of(4)).then_some(i),
            flags,
            score: 10 * (i % 4) as u8,
        }
    };
    (0..rows).map(event).collect()
}

pub fn put(lake: &Lake, files: Vec<EncodedFile>, unique: &str) -> Result<Vec<TableFile>, LakeError> {
    let mut out = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        let path = file.path(&format!("{unique}-{index}"));
        let (file, bytes) = file.finish(path);
        block_on(lake.store().put_new(&file.path, bytes)).unwrap();
        out.push(file);
    }
    Ok(out)
}

/// Entry `n` of a shard with `rows` curated rows, one of `host_popularity_daily` and, where `n` is even, a dead letter.
pub fn entry(lake: &Lake, shard: &str, n: u64, rows: u64) -> Entry {
    let mut names = Names::default();
    let events = events(shard, n, rows, &mut names);
    let options = EncodeOptions::default();
    let curated = CuratedRows {
        rows: &events,
        users: &names.users.view(),
        computers: &names.computers.view(),
        base: DEFAULT_BASE,
        rules: &RuleSet::default(),
        rule_set: "abc",
        processing_time: PROCESSED,
        later: None,
    };
    let mut files = encode_curated(&curated, &options).unwrap();
    let day = DayRow {
        day: Day::of(DEFAULT_BASE + n as i64 * MICROSECOND),
        computer: format!("{shard}-{n}"),
        unique_users: 1,
        total_logins: 1,
        high_risk_events: 0,
    };
    files.extend(encode_daily(&[day], None, &options).unwrap());
    if n.is_multiple_of(2) {
        let letter = RejectedRecord {
            reason: Reason::Late,
            detail: "late".to_owned(),
            payload: vec![0, 159, 146, 150],
            payload_bytes: 4,
            position: Position { sequence: n.into(), sub_sequence: 0 },
            ingestion_time: ARRIVED,
        };
        files.extend(encode_rejected(&[letter], &ShardId::new(shard), PROCESSED, None, &options).unwrap());
    }
    let files = put(lake, files, &format!("{shard}-{n}")).unwrap();
    Entry { shard: ShardId::new(shard), n, files }
}

/// The user of every curated row, sorted: each row of these tests has its own.
pub fn curated_users(lake: &Lake) -> Vec<String> {
    let live = block_on(lake.live_files(Table::CURATED)).unwrap();
    let mut users = Vec::new();
    for file in &live.files {
        assert_eq!(block_on(lake.count_rows(file)).unwrap(), file.rows);
        for batch in block_on(lake.read_curated(file, None)).unwrap() {
            users.extend(batch.unwrap().iter().map(|row| row.user_id.to_owned()));
        }
    }
    users.sort_unstable();
    users
}

/// What [`curated_users`] must return after these entries.
pub fn expected_users(entries: &[Entry], rows: u64) -> Vec<String> {
    let mut users: Vec<_> =
        entries.iter().flat_map(|e| (0..rows).map(move |i| format!("{}-{}-{i}", e.shard, e.n))).collect();
    users.sort_unstable();
    users
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn stored(store: &dyn ObjectStore, prefix: &str) -> Vec<String> {
    block_on(store.list(prefix)).unwrap().into_iter().map(|file| file.path).collect()
}
