//! Writes a lake of synthetic rows and prints what encoding and committing cost.
//!
//! `cargo run --release -p authpulse-lake --example lake_speed -- DIRECTORY [ROWS] [THREADS] [COMMITS]`

use authpulse_engine::flags::{Flag, Flags};
use authpulse_engine::names::{ComputerNames, UserId, UserNames, UserNamesView};
use authpulse_engine::rows::{AcceptedEvent, DayRow, EventId, HourRow, Reason, RejectedRecord, ScoredEvent, Windows};
use authpulse_engine::rules::RuleSet;
use authpulse_event::time::{DEFAULT_BASE, HOUR, MICROSECOND, SECOND};
use authpulse_event::{ArrivalTime, Day, Position, ProcessingTime, ShardId, TimeForm};
use authpulse_lake::encode::{CuratedRows, encode_curated, encode_daily, encode_hourly, encode_raw, encode_rejected};
use authpulse_lake::{
    EncodeOptions, EncodedFile, EntryFiles, Lake, LocalStore, RawRecord, RawSource, SqliteCatalog, Table, TableFile,
};
use futures::executor::block_on;
use std::sync::Arc;
use std::time::Instant;

/// Rows per call, as in a journal entry of a backfill.
const CALL: usize = 250_000;
/// When all records arrive, and when they are processed.
const ARRIVED: ArrivalTime = ArrivalTime::from_micros(DEFAULT_BASE.micros());
const PROCESSED: ProcessingTime = ProcessingTime::from_micros(DEFAULT_BASE.micros());

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// A random number; small ones are likelier, as with names of users and computers.
    fn skewed(&mut self, below: u64) -> u64 {
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        ((unit * unit * unit) * below as f64) as u64
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let directory = args.next().ok_or("a directory is needed")?;
    let mut number = |default: usize| args.next().map_or(Ok(default), |a| a.parse::<usize>());
    let (rows, threads, commits) = (number(2_000_000)?, number(1)?.max(1), number(20)?);

    let mut chance = Chance(88_172_645_463_325_252);
    let (mut users, mut computers) = (UserNames::default(), ComputerNames::default());
    let events: Vec<ScoredEvent> = (0..rows)
        .map(|i| {
            let mut flags = Flags::default();
            flags.set(Flag::NEW_DEVICE, chance.next().is_multiple_of(33));
            flags.set(Flag::RARE_HOST, chance.next().is_multiple_of(20));
            let logons = 1 + chance.skewed(300) as u32;
            ScoredEvent {
                event: AcceptedEvent {
                    event_time: DEFAULT_BASE + 150_000 * SECOND + (i as i64 / 200) * SECOND,
                    ingestion_time: ARRIVED + (i as i64 / 1000) * MICROSECOND,
                    user: users.intern(&format!("U{}", chance.skewed(11_000))),
                    computer: computers.intern(&format!("C{}", chance.skewed(20_000))),
                    id: EventId::Content(TimeForm::Seconds),
                    windows: Windows {
                        logons_1h: logons,
                        logons_24h: logons * 9,
                        computers_1h: 1 + logons / 40,
                        computers_24h: 2 + logons / 20,
                    },
                    new_device: flags.has(Flag::NEW_DEVICE),
                    attributes: Default::default(),
                },
                popularity: Some(chance.skewed(50_000)),
                flags,
                score: flags.iter().map(|f| [30, 25, 35, 10][f.index()]).sum(),
            }
        })
        .collect();
    let some: Vec<UserId> = users.ids().take(7).collect();
    let (users, computers) = (users.view(), computers.view());
    let options = EncodeOptions::default();
    let encode = |rows: &[ScoredEvent]| {
        let input = CuratedRows {
            rows,
            users: &users,
            computers: &computers,
            base: DEFAULT_BASE,
            rules: &RuleSet::default(),
            rule_set: "d1a2b3c4",
            processing_time: PROCESSED,
            later: None,
        };
        encode_curated(&input, &options)
    };
    let start = Instant::now();
    let share = events.len().div_ceil(threads).max(1);
    let files = std::thread::scope(|scope| {
        let workers: Vec<_> = events
            .chunks(share)
            .map(|part| {
                let encode = &encode;
                scope.spawn(move || part.chunks(CALL).map(encode).collect::<Result<Vec<_>, _>>())
            })
            .collect();
        workers.into_iter().map(|w| w.join().expect("no worker panics")).collect::<Result<Vec<_>, _>>()
    })?;
    let files: Vec<EncodedFile> = files.into_iter().flatten().flatten().collect();
    let (seconds, bytes) = (start.elapsed().as_secs_f64(), files.iter().map(|f| f.bytes.len()).sum::<usize>());
    println!(
        "encode: {rows} rows on {threads} thread(s) in {seconds:.2} s, {:.2} M rows/s, {:.1} B/row, {} files",
        rows as f64 / seconds / 1e6,
        bytes as f64 / rows as f64,
        files.len()
    );

    std::fs::create_dir_all(&directory)?;
    let store = Arc::new(LocalStore::open(&directory)?);
    let catalog = Arc::new(SqliteCatalog::open(format!("{directory}/catalog.db"))?);
    let lake = Lake::new(store, catalog);
    block_on(lake.ensure_tables())?;
    let shard = ShardId::new("shardId-000000000000");
    let put = |files: Vec<EncodedFile>, unique: &str| -> Result<Vec<TableFile>, authpulse_lake::StoreError> {
        files
            .into_iter()
            .enumerate()
            .map(|(i, file)| {
                let path = file.path(&format!("{unique}-{i}"));
                let (file, bytes) = file.finish(path);
                block_on(lake.store().put_new(&file.path, bytes))?;
                Ok(file)
            })
            .collect()
    };
    let start = Instant::now();
    let mut first = put(files, "first")?;
    println!("put: {} files in {:.0} ms", first.len(), start.elapsed().as_secs_f64() * 1e3);
    first.extend(put(others(&shard, (&users, &some), &options)?, "others")?);
    let source = RawSource { stream: "logons".to_owned(), shard: shard.clone() };
    for raw in encode_raw(&source, &[raw_record()], &options)? {
        block_on(lake.store().put_new(&raw.path("first"), raw.bytes))?;
    }
    let description = first.iter().map(|f| f.data_file.len()).max().unwrap_or(0);
    println!("description of a file: {description} bytes of JSON at most");
    let start = Instant::now();
    for table in Table::FIRST {
        block_on(lake.commit(table, &[EntryFiles { shard: &shard, n: 1, files: &first }]))?;
    }
    println!("first commit: {:.1} ms for four tables", start.elapsed().as_secs_f64() * 1e3);

    let mut times = Vec::new();
    for n in 0..commits {
        let from = n * 1000 % events.len().saturating_sub(1000).max(1);
        let small = put(encode(&events[from..(from + 1000).min(events.len())])?, &format!("small-{n}"))?;
        let start = Instant::now();
        let entry = EntryFiles { shard: &shard, n: n as u64 + 2, files: &small };
        block_on(lake.commit(Table::CURATED, &[entry]))?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    if let (Some(last), middle) = (times.last(), times.len() / 2) {
        println!("commit of one file: median {:.1} ms, slowest {last:.1} ms of {}", times[middle], times.len());
    }

    let live = block_on(lake.live_files(Table::CURATED))?;
    let start = Instant::now();
    let mut read = 0;
    for file in &live.files {
        for batch in block_on(lake.read_curated(file, None))? {
            read += batch?.len();
        }
    }
    println!("read back: {read} rows in {:.2} s, all columns", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let mut pairs = 0;
    for file in &live.files {
        for batch in block_on(lake.read_pairs(file, None))? {
            pairs += batch?.len();
        }
    }
    println!("read back: {pairs} pairs in {:.2} s", start.elapsed().as_secs_f64());
    Ok(())
}

fn others(
    shard: &ShardId,
    (users, ids): (&UserNamesView, &[UserId]),
    options: &EncodeOptions,
) -> Result<Vec<EncodedFile>, authpulse_lake::LakeError> {
    let hours: Vec<_> = (0..48usize)
        .map(|h| HourRow {
            window_start: DEFAULT_BASE + h as i64 * HOUR,
            user: ids[h % ids.len()],
            total_logins: 3,
            unique_computers: 2,
            anomaly_count: 1,
            total_risk_score: 30,
            max_risk_score: 30,
        })
        .collect();
    let days: Vec<_> = (0..40)
        .map(|d| DayRow {
            day: Day(Day::of(DEFAULT_BASE).0 + d),
            computer: format!("C{d}"),
            unique_users: 5,
            total_logins: 9,
            high_risk_events: 0,
        })
        .collect();
    let letter = RejectedRecord {
        reason: Reason::Invalid,
        detail: "not a JSON object".to_owned(),
        payload: vec![0xff, 0x00, b'x'],
        payload_bytes: 3,
        position: Position { sequence: 7.into(), sub_sequence: 0 },
        ingestion_time: ARRIVED,
    };
    let mut files = encode_hourly(&hours, users, None, options)?;
    files.extend(encode_daily(&days, None, options)?);
    files.extend(encode_rejected(&[letter], shard, PROCESSED, None, options)?);
    Ok(files)
}

fn raw_record() -> RawRecord {
    RawRecord {
        position: Position { sequence: 7.into(), sub_sequence: 0 },
        partition_key: "U1".into(),
        ingestion_time: ARRIVED,
        payload: r#"{"time":1,"user":"U1","computer":"C1"}"#.into(),
    }
}
