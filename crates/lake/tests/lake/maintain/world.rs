//! A lake in memory that grows by entries, and what must be true of it at any time.

use crate::common::{self, bytes, entry, stored};
use authpulse_event::time::{DEFAULT_BASE, HOUR, SECOND};
use authpulse_event::{Day, EventTime, ProcessingTime, ShardId, Span};
use authpulse_lake::entry::{
    Entry as Stored, FileRef, PieceRef, RawFile, Source, Spill, StoredPosition, StoredTimeRules,
};
use authpulse_lake::fault::Faults;
use authpulse_lake::maintain::{MaintainReport, Memory};
use authpulse_lake::read::LiveFile;
use authpulse_lake::schema::{raw_name, raw_path};
use authpulse_lake::{
    Checkpoint, CommitIds, CommitSettings, EntryFiles, Journal, Lake, MaintainSettings, MemoryCatalog, MemoryJournal,
    MemoryStore, ObjectStore, SectionList, Table, TableFile, maintain,
};
use futures::executor::block_on;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use uuid::Uuid;

pub const ROWS: u64 = 2;
/// The content of a piece of a snapshot of state.
const PIECE: &str = "piece";

/// Merges everything, and keeps nothing longer than necessary.
pub const TIDY: MaintainSettings = MaintainSettings {
    target_bytes: 1 << 20,
    min_files: 2,
    manifests_max: 1,
    snapshots_max: 100,
    snapshot_age: Span::ZERO,
    orphan_age: HOUR,
    fold_entries: 3,
    entry_age: Span::hours(2),
    follower_keep: Span::days(7),
};

/// A clock that the test sets, and names that count up.
pub struct SetIds {
    ms: AtomicI64,
    next: AtomicU64,
}

impl CommitIds for SetIds {
    fn now_ms(&self) -> i64 {
        self.ms.load(Ordering::Relaxed)
    }
    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(self.next.fetch_add(1, Ordering::Relaxed), 0)
    }
}

pub struct World {
    pub lake: Lake,
    pub store: Arc<MemoryStore>,
    pub catalog: Arc<MemoryCatalog>,
    pub journal: Arc<MemoryJournal>,
    pub ids: Arc<SetIds>,
    pub entries: Vec<common::Entry>,
    /// All entries that were ever stored in the journals.
    pub journaled: Vec<Stored>,
    /// The rows in each table, by the entry that brought them.
    pub rows: BTreeMap<(ShardId, u64), Vec<(Table, String)>>,
    /// Whether every third entry has its spill in a file.
    pub spills: bool,
}

/// Every row of a file, as text.
pub fn rows_of(lake: &Lake, file: &LiveFile) -> Vec<(Table, String)> {
    let mut rows = Vec::new();
    macro_rules! read {
        ($read:ident) => {
            for batch in block_on(lake.$read(file, None)).unwrap() {
                rows.extend(batch.unwrap().iter().map(|row| (file.table, format!("{row:?}"))));
            }
        };
    }
    if file.table == Table::CURATED {
        read!(read_curated);
    } else if file.table == Table::HOURLY {
        read!(read_hourly);
    } else if file.table == Table::DAILY {
        read!(read_daily);
    } else {
        read!(read_rejected);
    }
    rows
}

pub fn all_rows(lake: &Lake) -> Vec<(Table, String)> {
    let files = Table::FIRST.into_iter().flat_map(|table| block_on(lake.live_files(table)).unwrap().files);
    let mut rows: Vec<_> = files.flat_map(|file| rows_of(lake, &file)).collect();
    rows.sort_unstable();
    rows
}

pub fn journal_entry(shard: &str, n: u64, files: Vec<TableFile>, watermark: EventTime, now: ProcessingTime) -> Stored {
    let place = |n: u64| StoredPosition { sequence: n.to_string(), sub_sequence: 0 };
    let name = |k: u32| format!("{shard}-{n}-{k}");
    let raw = RawFile {
        staged: format!("staging/raw/{}.parquet", name(0)),
        path: raw_path(Day(16_436), &raw_name(&ShardId::new(shard), n, 0)),
        rows: 1,
        bytes: 3,
    };
    let file = |path: String| FileRef { path, bytes: PIECE.len() as u64, sha256: String::new() };
    let snapshot = n.is_multiple_of(5).then(|| PieceRef {
        sections: Default::default(),
        range: authpulse_event::HashRange::FULL.to_string(),
        users: 1,
        file: file(format!("state/{}.apst.zst", name(0))),
    });
    let time_rules =
        StoredTimeRules { base: DEFAULT_BASE, tolerance: SECOND, lookback_days: 30, settle: SECOND, event_model: 1 };
    Stored {
        n,
        commit_id: name(0),
        written_at: now,
        from: place(n - 1),
        to: place(n),
        watermark: Some(watermark),
        newest_accepted: Some(watermark),
        hours_through: Some(watermark),
        score_spans: Vec::new(),
        files,
        raw: vec![raw],
        raw_done: n - 1,
        snapshot: snapshot.into_iter().collect(),
        last_snapshot: n / 5 * 5,
        ..Stored::zero(
            &ShardId::new(shard),
            Source::File,
            authpulse_event::HashRange::FULL,
            time_rules,
            "abc".to_owned(),
        )
    }
}

impl World {
    pub fn new() -> World {
        let (store, catalog) = (Arc::new(MemoryStore::new()), Arc::new(MemoryCatalog::new()));
        let ids = Arc::new(SetIds { ms: AtomicI64::new(1_600_000_000_000), next: AtomicU64::new(1) });
        let settings =
            CommitSettings { keep_snapshots: 6, manifests_max: 8, attempts: 20, ..CommitSettings::default() };
        let lake = Lake::new(store.clone(), catalog.clone()).with_ids(ids.clone()).with_settings(settings);
        block_on(lake.ensure_tables()).unwrap();
        let journal = Arc::new(MemoryJournal::new());
        let world = World {
            lake,
            store,
            catalog,
            journal,
            ids,
            entries: Vec::new(),
            journaled: Vec::new(),
            rows: BTreeMap::new(),
            spills: false,
        };
        world.pass(Span::ZERO);
        world
    }

    /// Moves the clock forward.
    pub fn pass(&self, span: Span) {
        let ms = span.micros() / 1_000;
        let now = self.ids.ms.fetch_add(ms, Ordering::Relaxed) + ms;
        self.store.set_clock(ProcessingTime::from_micros(now * 1_000));
    }

    pub fn now(&self) -> ProcessingTime {
        ProcessingTime::from_micros(self.ids.now_ms() * 1_000)
    }

    /// Stores the next entry of a shard, with all its files.
    pub fn store_entry(&mut self, shard: &str) {
        self.store_entry_with(shard, |_, _| Vec::new());
    }

    /// The same, with files of other tables, which this world's checks do not know.
    pub fn store_entry_with(&mut self, shard: &str, more: impl FnOnce(&World, u64) -> Vec<TableFile>) {
        let n = 1 + self.entries.iter().filter(|e| e.shard.as_str() == shard).count() as u64;
        let mut found = entry(&self.lake, shard, n, ROWS);
        let first = found.files.len();
        found.files.extend(more(self, n));
        let watermark = DEFAULT_BASE + (n * 1000) as i64 * 7 * SECOND;
        let mut stored = journal_entry(shard, n, found.files.clone(), watermark, self.now());
        for raw in &stored.raw {
            block_on(self.store.put_new(&raw.path, bytes("raw"))).unwrap();
        }
        if self.spills && n.is_multiple_of(3) {
            let body = Spill::default().encode();
            let sha256 = authpulse_event::id::sha256_hex(&body);
            let path = format!("state/{}.side.json.zst", stored.commit_id);
            stored.spill_file = Some(FileRef { path: path.clone(), bytes: body.len() as u64, sha256 });
            block_on(self.store.put_new(&path, body)).unwrap();
        }
        for piece in &stored.snapshot {
            block_on(self.store.put_new(&piece.file.path, bytes(PIECE))).unwrap();
        }
        block_on(self.journal.put(&found.shard, n, stored.encode())).unwrap();
        let rows = found.files[..first].iter().flat_map(|file| rows_of(&self.lake, &LiveFile::from(file))).collect();
        self.rows.insert((found.shard.clone(), n), rows);
        self.journaled.push(stored);
        self.entries.push(found);
    }

    pub fn commit(&self) {
        let views: Vec<EntryFiles<'_>> = self.entries.iter().map(common::Entry::view).collect();
        for table in Table::FIRST {
            block_on(self.lake.commit(table, &views)).unwrap();
        }
    }

    /// A lake of a few days in many small commits; the last entries are not applied.
    pub fn grown(entries: u64) -> World {
        let mut world = World::new();
        for n in 1..=entries {
            for shard in ["a", "b"] {
                world.store_entry(shard);
            }
            if n < entries {
                world.commit();
            }
            world.pass(HOUR);
        }
        world
    }

    pub fn maintain(&self, settings: &MaintainSettings, memory: &mut Memory) -> MaintainReport {
        block_on(maintain(&self.lake, self.journal.as_ref(), settings, false, memory))
    }

    pub fn set_faults(&self, faults: &Faults) {
        self.store.set_faults(faults.clone());
        self.catalog.set_faults(faults.clone());
        self.journal.set_faults(faults.clone());
    }

    /// Checks that the rows are those of the applied entries, and that every named file exists.
    pub fn check(&self, applied: &BTreeMap<Table, BTreeMap<ShardId, u64>>, what: &str) {
        let mut expected: Vec<(Table, String)> = Vec::new();
        for ((shard, n), rows) in &self.rows {
            let is_in = |table: &Table| applied[table].get(shard).is_some_and(|last| n <= last);
            expected.extend(rows.iter().filter(|(table, _)| is_in(table)).cloned());
        }
        expected.sort_unstable();
        assert_eq!(all_rows(&self.lake), expected, "rows, {what}");
        let files: BTreeSet<String> = stored(self.store.as_ref(), "").into_iter().collect();
        let there = |path: &str| assert!(files.contains(path), "{path} is gone, {what}");
        for table in Table::FIRST {
            let loaded = block_on(self.lake.load(table)).unwrap();
            assert_eq!(loaded.applied().unwrap(), applied[&table], "{table}, {what}");
            for uri in named_by(&self.lake, &loaded) {
                there(&self.store.relative(&uri).unwrap());
            }
            if let Some(snapshot) = loaded.metadata.current_snapshot() {
                let live = block_on(self.lake.live_files(table)).unwrap();
                let total = |key: &str| snapshot.summary().additional_properties[key].parse::<u64>().unwrap();
                assert_eq!(total("total-records"), live.files.iter().map(|f| f.rows).sum::<u64>(), "{table}, {what}");
                assert_eq!(total("total-files-size"), live.files.iter().map(|f| f.bytes).sum::<u64>(), "{table}");
                assert_eq!(total("total-data-files"), live.files.len() as u64, "{table}, {what}");
            }
        }
        self.check_journals(what);
        for entry in &self.entries {
            for file in &entry.files {
                if applied[&file.table].get(&entry.shard).is_none_or(|last| entry.n > *last) {
                    there(&file.path);
                }
            }
            there(&raw_path(Day(16_436), &raw_name(&entry.shard, entry.n, 0)));
            let last = self.entries.iter().filter(|e| e.shard == entry.shard).count() as u64;
            if entry.n.is_multiple_of(5) && entry.n + 10 > last / 5 * 5 {
                there(&format!("state/{}-{}-0.apst.zst", entry.shard, entry.n));
            }
            // After its newest snapshot, a shard reads the files of later entries.
            if entry.n > last / 5 * 5 && last >= 5 {
                entry.files.iter().filter(|f| f.table == Table::CURATED).for_each(|file| there(&file.path));
            }
        }
    }

    /// Checks that entries that are not folded exist, and that the checkpoint sums up those that are.
    fn check_journals(&self, what: &str) {
        for shard in block_on(self.journal.shards()).unwrap() {
            let of_shard = || self.journaled.iter().filter(|entry| entry.shard == shard.as_str());
            let mut through = 0;
            if let Some((n, body)) = block_on(self.journal.checkpoint(&shard)).unwrap() {
                let checkpoint = Checkpoint::decode(&shard, n, &body, &SectionList::default()).unwrap();
                let mut entries = of_shard().take_while(|entry| entry.n <= n).cloned();
                let mut whole = Checkpoint::new(entries.next().unwrap(), &Spill::default());
                entries.for_each(|entry| whole.add(entry, &Spill::default()));
                assert_eq!(checkpoint.rows(), whole.rows(), "{what}");
                let bare =
                    |checkpoint| Checkpoint { files: Vec::new(), rows: Vec::new(), marks: Vec::new(), ..checkpoint };
                assert_eq!(bare(checkpoint), bare(whole), "{what}");
                through = n;
            }
            let left: Vec<Stored> = block_on(self.journal.list(&shard, through + 1, usize::MAX))
                .unwrap()
                .into_iter()
                .map(|(n, body)| Stored::decode(&shard, n, &body, &SectionList::default()).unwrap())
                .collect();
            assert!(!left.is_empty(), "the last entry of {shard} stays, {what}");
            assert_eq!(left, of_shard().filter(|e| e.n > through).cloned().collect::<Vec<_>>(), "{shard}, {what}");
            // The entries since the second newest snapshot of state can be read one by one.
            let last = left[left.len() - 1].n;
            for n in (last / 5 * 5).saturating_sub(5).max(1)..=last {
                assert!(block_on(self.journal.get(&shard, n)).unwrap().is_some(), "entry {n} of {shard}, {what}");
            }
        }
    }

    pub fn applied(&self) -> BTreeMap<Table, BTreeMap<ShardId, u64>> {
        Table::FIRST
            .into_iter()
            .map(|table| (table, block_on(self.lake.load(table)).unwrap().applied().unwrap()))
            .collect()
    }
}

/// All files that a table's metadata reaches through any snapshot.
pub fn named_by(lake: &Lake, loaded: &authpulse_lake::LoadedTable) -> BTreeSet<String> {
    let io = authpulse_lake::store::file_io(lake.store().clone());
    let mut named = BTreeSet::from([loaded.location.clone()]);
    named.extend(loaded.metadata.metadata_log().iter().map(|log| log.metadata_file.clone()));
    for snapshot in loaded.metadata.snapshots() {
        let list = snapshot.manifest_list().to_owned();
        let body = block_on(io.new_input(&list).unwrap().read()).unwrap();
        named.insert(list);
        let parsed = iceberg::spec::ManifestList::parse_with_version(&body, iceberg::spec::FormatVersion::V2).unwrap();
        for manifest in parsed.entries() {
            named.insert(manifest.manifest_path.clone());
            let read = block_on(manifest.load_manifest(&io)).unwrap();
            named.extend(read.entries().iter().filter(|e| e.is_alive()).map(|e| e.file_path().to_owned()));
        }
    }
    named
}
