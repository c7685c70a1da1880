//! Encoded files are byte for byte what they were: 20 inputs from seeds, compared with the output of the program at `shape-before`
//! (`tests/data/shape-before/corpus.txt`, a line per file, and some whole files).
//!
//! With `AUTHPULSE_MAKE=1` the test writes them instead of comparing: so they were made, by the program of that commit.

use super::created_by::without_created_by;
use authpulse_engine::flags::Flags;
use authpulse_engine::names::{ComputerNames, UserNames};
use authpulse_engine::rows::{AcceptedEvent, DayRow, EventId, HourRow, Reason, RejectedRecord, ScoredEvent, Windows};
use authpulse_engine::rules::RuleSet;
use authpulse_event::id::sha256_hex;
use authpulse_event::time::{DAY, DEFAULT_BASE, MICROSECOND, SECOND, hour_of, start_of_hour};
use authpulse_event::{
    ArrivalTime, Attributes, Day, EventTime, Position, ProcessingTime, SequenceNumber, ShardId, Span, TimeForm,
};
use authpulse_lake::encode::{CuratedRows, encode_curated, encode_daily, encode_hourly, encode_raw, encode_rejected};
use authpulse_lake::{EncodeOptions, EncodedFile, RawRecord, RawSource};
use bytes::Bytes;
use std::path::{Path, PathBuf};

const SEEDS: u64 = 20;
/// The seed for which the first file of each kind is stored whole.
const WHOLE: u64 = 1;
const PROCESSED: ProcessingTime = ProcessingTime::from_micros(DEFAULT_BASE.after(Span::days(40)).micros());
const KINESIS: &str = "49590338271490256608559692538361571095921575989136588898";

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn name(&mut self, kind: char) -> String {
        match self.below(40) {
            0 => format!("{kind} é\u{10ffff} 名前 {}", self.below(3)),
            1 => kind.to_string().repeat(256),
            _ => format!("{kind}{}", self.below(30)),
        }
    }

    /// A time within two weeks; half of all times lie within one day.
    fn time(&mut self) -> EventTime {
        let from = DEFAULT_BASE + if self.below(2) == 0 { 3 * DAY } else { self.below(14) as i64 * DAY };
        let whole = from + self.below(86_400) as i64 * SECOND;
        whole + if self.below(4) == 0 { self.below(1_000_000) as i64 * MICROSECOND } else { Span::ZERO }
    }

    /// An arrival within so many days before everything is processed.
    fn arrival(&mut self, days: u64) -> ArrivalTime {
        let time = PROCESSED - self.below(days) as i64 * DAY + self.below(9) as i64 * MICROSECOND;
        ArrivalTime::from_micros(time.micros())
    }

    fn payload(&mut self) -> Vec<u8> {
        match self.below(5) {
            0 => (0..self.below(80)).map(|_| self.below(256) as u8).collect(),
            _ => format!("{{\"time\":{},\"user\":\"{}\"}}", self.below(1 << 30), self.name('U')).into_bytes(),
        }
    }

    fn position(&mut self) -> Position {
        let sequence: SequenceNumber =
            if self.below(2) == 0 { KINESIS.parse().unwrap() } else { self.below(1 << 40).into() };
        Position { sequence, sub_sequence: self.below(3) }
    }
}

fn options(seed: u64) -> EncodeOptions {
    match seed % 3 {
        0 => EncodeOptions::default(),
        1 => EncodeOptions { max_rows_per_file: 150, row_group_rows: 60, page_rows: 25, max_payload_bytes: 2_000 },
        // Several pages per row group.
        _ => EncodeOptions { page_rows: 400, ..EncodeOptions::default() },
    }
}

fn curated(chance: &mut Chance, options: &EncodeOptions) -> Vec<EncodedFile> {
    let (mut users, mut computers) = (UserNames::default(), ComputerNames::default());
    let count = [1, 40, 300, 2_500][chance.below(4) as usize];
    let has_popularity = chance.below(4) > 0;
    let mut row = || {
        let time = chance.time();
        let is_whole = (time - DEFAULT_BASE) % SECOND == Span::ZERO;
        let form = if is_whole && chance.below(3) > 0 { TimeForm::Seconds } else { TimeForm::Rfc3339 };
        let id = match chance.below(6) {
            0 => EventId::Own(format!("own-{}-é", chance.below(1_000)).into()),
            _ => EventId::Content(form),
        };
        let flags = Flags::from_bits(chance.below(16) as u32 & chance.below(16) as u32);
        ScoredEvent {
            event: AcceptedEvent {
                event_time: time,
                ingestion_time: ArrivalTime::from_micros(time.micros() + chance.below(300_000_000) as i64),
                user: users.intern(&chance.name('U')),
                computer: computers.intern(&chance.name('C')),
                id,
                windows: Windows {
                    logons_1h: 1 + chance.below(50) as u32,
                    logons_24h: 1 + chance.below(400) as u32,
                    computers_1h: 1 + chance.below(9) as u32,
                    computers_24h: 1 + chance.below(20) as u32,
                },
                new_device: flags.bits() & 1 == 1,
                attributes: Attributes::NONE,
            },
            popularity: (has_popularity && chance.below(5) > 0).then(|| chance.below(700)),
            flags,
            score: chance.below(101) as u8,
        }
    };
    let rows: Vec<ScoredEvent> = (0..count).map(|_| row()).collect();
    let input = CuratedRows {
        rows: &rows,
        users: &users.view(),
        computers: &computers.view(),
        base: DEFAULT_BASE,
        rules: &RuleSet::default(),
        rule_set: "0123456789abcdef",
        processing_time: PROCESSED,
        later: None,
    };
    encode_curated(&input, options).unwrap()
}

fn hourly(chance: &mut Chance, options: &EncodeOptions) -> Vec<EncodedFile> {
    let mut users = UserNames::default();
    let count = 1 + chance.below(200);
    let mut row = || HourRow {
        window_start: start_of_hour(hour_of(chance.time())),
        user: users.intern(&chance.name('U')),
        total_logins: 1 + chance.below(1_000),
        unique_computers: 1 + chance.below(20),
        anomaly_count: chance.below(30),
        total_risk_score: chance.below(3_000),
        max_risk_score: chance.below(101) as u8,
    };
    let rows: Vec<HourRow> = (0..count).map(|_| row()).collect();
    encode_hourly(&rows, &users.view(), None, options).unwrap()
}

fn daily(chance: &mut Chance, options: &EncodeOptions) -> Vec<EncodedFile> {
    let count = 1 + chance.below(200);
    let mut row = || DayRow {
        day: Day(Day::of(DEFAULT_BASE).0 + chance.below(70) as i32),
        computer: chance.name('C'),
        unique_users: chance.below(50),
        total_logins: chance.below(1_000),
        high_risk_events: chance.below(7),
    };
    let rows: Vec<DayRow> = (0..count).map(|_| row()).collect();
    encode_daily(&rows, None, options).unwrap()
}

fn rejected(chance: &mut Chance, options: &EncodeOptions) -> Vec<EncodedFile> {
    let count = 1 + chance.below(120);
    let mut row = || {
        let payload = chance.payload();
        RejectedRecord {
            reason: Reason::ALL[chance.below(6) as usize],
            detail: format!("so it is: {}", chance.below(20)),
            payload_bytes: payload.len() as u64 + if chance.below(9) == 0 { 70_000 } else { 0 },
            payload,
            position: chance.position(),
            ingestion_time: chance.arrival(3),
        }
    };
    let rows: Vec<RejectedRecord> = (0..count).map(|_| row()).collect();
    encode_rejected(&rows, &ShardId::new("shardId-000000000003"), PROCESSED, None, options).unwrap()
}

fn raw(chance: &mut Chance, options: &EncodeOptions) -> Vec<(String, Bytes)> {
    let count = 1 + chance.below(120);
    let mut row = || RawRecord {
        position: chance.position(),
        partition_key: if chance.below(9) == 0 { "U\u{e9}".into() } else { chance.name('U').into() },
        ingestion_time: chance.arrival(2),
        payload: chance.payload().into(),
    };
    let rows: Vec<RawRecord> = (0..count).map(|_| row()).collect();
    let source = RawSource { stream: "logons".to_owned(), shard: ShardId::new("shardId-000000000003") };
    let files = encode_raw(&source, &rows, options).unwrap();
    files.into_iter().map(|file| (format!("{} {} rows", file.ingest_date, file.rows), file.bytes)).collect()
}

/// A line of the corpus: the kind of a file, what it holds, and what the digests of its bytes and of its description in an entry are made
/// from.
struct Made {
    kind: &'static str,
    what: String,
    bytes: Bytes,
    description: String,
}

fn of_table(kind: &'static str, file: EncodedFile) -> Made {
    let (file, bytes) = file.finish(String::new());
    // The file's length includes the name of the program that wrote it.
    let size = format!("\"file_size_in_bytes\":{}", bytes.len());
    assert!(file.data_file.contains(&size), "{}", file.data_file);
    let description = file.data_file.replace(&size, "");
    let what = format!("partition {} {} rows {:?}", file.partition, file.rows, file.times.map(|t| (t.min, t.max)));
    Made { kind, what, bytes, description }
}

fn made(seed: u64) -> Vec<Made> {
    let (mut chance, options) = (Chance(seed), options(seed));
    let mut all = Vec::new();
    all.extend(curated(&mut chance, &options).into_iter().map(|file| of_table("curated", file)));
    all.extend(hourly(&mut chance, &options).into_iter().map(|file| of_table("hourly", file)));
    all.extend(daily(&mut chance, &options).into_iter().map(|file| of_table("daily", file)));
    all.extend(rejected(&mut chance, &options).into_iter().map(|file| of_table("rejected", file)));
    let raw = raw(&mut chance, &options).into_iter();
    all.extend(raw.map(|(what, bytes)| Made { kind: "raw", what, bytes, description: String::new() }));
    all
}

fn line(seed: u64, made: &Made) -> String {
    let Made { kind, what, bytes, description } = made;
    let (bytes, description) = (sha256_hex(&without_created_by(bytes)), sha256_hex(description.as_bytes()));
    format!("seed {seed} {kind} {what}: {bytes} described {description}")
}

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/shape-before")
}

#[test]
fn what_is_encoded_is_byte_by_byte_what_it_was() {
    let lines: Vec<String> =
        (0..SEEDS).flat_map(|seed| made(seed).iter().map(|made| line(seed, made)).collect::<Vec<_>>()).collect();
    let path = data().join("corpus.txt");
    if std::env::var("AUTHPULSE_MAKE").is_ok() {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap();
    let stored: Vec<&str> = stored.lines().collect();
    for (line, stored) in lines.iter().zip(&stored) {
        assert_eq!(line, stored);
    }
    assert_eq!(lines.len(), stored.len());
    for kind in ["curated", "hourly", "daily", "rejected", "raw"] {
        let files = lines.iter().filter(|line| line.split(' ').nth(2) == Some(kind)).count();
        assert!(files >= SEEDS as usize, "{kind}: {files}");
    }
}

/// Digests show that something differs; whole files show what.
#[test]
fn whole_files_are_what_they_were() {
    let mut kinds = Vec::new();
    for made in made(WHOLE) {
        if kinds.contains(&made.kind) {
            continue;
        }
        kinds.push(made.kind);
        let path = data().join(format!("corpus-{}.parquet", made.kind));
        if std::env::var("AUTHPULSE_MAKE").is_ok() {
            std::fs::write(&path, &made.bytes).unwrap();
        }
        let stored = without_created_by(&std::fs::read(&path).unwrap());
        let now = without_created_by(&made.bytes);
        let differs = stored.iter().zip(&now).position(|(a, b)| a != b);
        assert_eq!((differs, stored.len()), (None, now.len()), "{}", made.kind);
        assert!(stored.len() > 1_000, "{}", made.kind);
    }
    assert_eq!(kinds.len(), 5);
}
