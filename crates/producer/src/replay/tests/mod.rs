//! Shared by the tests of the replay: a clock that only the replay moves, streams to replay into, and checks of what comes out.

mod live;
mod pacing;
mod resuming;
mod sending;
mod wire;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use authpulse_event::id::sha256_hex;
use authpulse_event::ring::hash_key;
use authpulse_event::{ArrivalTime, Invalid, ParsedEvent, ProcessingTime, Reading, Span, parse_line, parse_record};
use authpulse_stream::memory::Faults;
use authpulse_stream::{CreateOptions, MemoryStream, ReadFrom, ReadLimit, Record, Stream};

use super::*;
use authpulse_files::{LINE_BYTES_MAX, Line};

/// A clock on which time passes only while the replay waits.
#[derive(Debug, Clone, Default)]
struct VirtualClock {
    now: Arc<Mutex<Duration>>,
}

impl VirtualClock {
    fn advance(&self, duration: Duration) {
        *self.now.lock().expect("no test panics with it") += duration;
    }
}

impl PaceClock for VirtualClock {
    fn now(&self) -> Duration {
        *self.now.lock().expect("no test panics with it")
    }

    fn wall(&self) -> ProcessingTime {
        BEGIN + Span::from_micros(self.now().as_micros() as i64)
    }

    async fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }
}

/// The time of day at which virtual clocks begin: 2027-01-15T08:00:00Z.
const BEGIN: ProcessingTime = ProcessingTime::from_micros(1_800_000_000_000_000);

/// A stream of three shards whose arrivals follow the replay's clock.
fn memory(clock: &VirtualClock) -> MemoryStream {
    let clock = clock.clone();
    let clock = Arc::new(move || ArrivalTime::from_micros(clock.now().as_micros() as i64));
    MemoryStream::new(CreateOptions { shards: 3, clock, ..CreateOptions::default() }).expect("the options are valid")
}

fn faulty(faults: impl Faults + 'static) -> MemoryStream {
    memory(&VirtualClock::default()).with_faults(Arc::new(faults))
}

/// Options to send as fast as possible, with so many records an append.
fn by(batch_size: usize) -> ReplayOptions {
    ReplayOptions { pace: Pace::Max, batch_size: Some(batch_size), ..ReplayOptions::default() }
}

/// Replays to its end.
async fn run(
    input: impl Into<ReplayInput>,
    stream: &dyn StreamWriter,
    options: &ReplayOptions,
) -> Result<ReplaySummary, ReplayError> {
    run_until(input, stream, options, &VirtualClock::default(), |_| false).await
}

/// Replays until the end, or until `stop` says so after an append.
async fn run_until(
    input: impl Into<ReplayInput>,
    stream: &dyn StreamWriter,
    options: &ReplayOptions,
    clock: &VirtualClock,
    mut stop: impl FnMut(Status) -> bool + Send,
) -> Result<ReplaySummary, ReplayError> {
    let (sender, receiver) = watch::channel(false);
    let mut progress = |status: Status| {
        if stop(status) {
            sender.send_replace(true);
        }
    };
    let around = Surroundings { clock, stop: receiver, probe: &|_| {}, progress: &mut progress };
    replay(input.into(), stream, options, around).await
}

/// A file that is removed after the test.
struct File {
    path: PathBuf,
    _dir: tempfile::TempDir,
}

impl File {
    fn new(bytes: &[u8]) -> File {
        let dir = tempfile::tempdir().expect("a place for files");
        let path = dir.path().join("auth.txt");
        write(&path, bytes);
        File { path, _dir: dir }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::File::create(path).and_then(|mut file| file.write_all(bytes)).expect("the file is written");
}

impl From<&File> for ReplayInput {
    fn from(file: &File) -> Self {
        ReplayInput::Sources(vec![Source::File(file.path.clone())])
    }
}

/// An input that is neither a file nor standard input.
fn reader(bytes: &[u8]) -> ReplayInput {
    ReplayInput::Reader { name: "memory".to_owned(), reader: Box::new(std::io::Cursor::new(bytes.to_vec())) }
}

/// All records, by shard.
async fn read_all(stream: &dyn Stream) -> Vec<Vec<Record>> {
    let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
    let mut all = Vec::new();
    for shard in stream.shards().await.expect("lists") {
        all.push(stream.read(&shard.id, ReadFrom::Start, limit).await.expect("reads").records);
    }
    all
}

/// All records in the order in which they were put.
async fn in_order(stream: &dyn Stream) -> Vec<Record> {
    let mut all = read_all(stream).await.concat();
    all.sort_by_key(|record| record.arrival);
    all
}

fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

/// The records among the lines of a file, found in the simplest way.
fn record_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let blank = |line: &[u8]| line.iter().all(|byte| b" \t".contains(byte)) && line.len() <= LINE_BYTES_MAX;
    lines.filter(|line| !blank(line)).collect()
}

/// Checks that the stream holds exactly these lines, each in its shard, in order, and that a consumer decides about each as a backfill
/// would.
async fn assert_holds(stream: &dyn Stream, file: &[u8]) {
    let shards = stream.shards().await.expect("lists");
    let mut expected: BTreeMap<usize, Vec<&[u8]>> = (0..shards.len()).map(|shard| (shard, Vec::new())).collect();
    for line in record_lines(file) {
        let key = match parse_line(line, Reading::three_fields(DEFAULT_BASE)) {
            Ok(event) => event.user.into_owned(),
            Err(_) => sha256_hex(line),
        };
        let shard =
            shards.iter().position(|shard| shard.range.contains(hash_key(key.as_bytes()))).expect("shards cover all");
        expected.entry(shard).or_default().push(line);
    }
    for (shard, records) in read_all(stream).await.into_iter().enumerate() {
        let lines = &expected[&shard];
        assert_eq!(records.len(), lines.len(), "records of shard {shard}: {:?}", payloads(&records));
        for (record, line) in records.iter().zip(lines) {
            assert_same(&record.payload, &record.partition_key, line);
        }
    }
}

/// Checks that a consumer decides about the record as about the line.
fn assert_same(payload: &[u8], partition_key: &[u8], line: &[u8]) {
    let from_stream: Result<ParsedEvent, Invalid> =
        parse_record(payload, partition_key, Reading::three_fields(DEFAULT_BASE));
    let from_file = parse_line(line, Reading::three_fields(DEFAULT_BASE));
    match (&from_stream, &from_file) {
        (Ok(record), Ok(line)) => {
            assert_eq!(record, line);
            assert_eq!(partition_key, line.user.as_bytes());
        }
        (Err(_), Err(_)) => {
            assert!(payload == line, "an invalid line is sent unchanged");
            assert_eq!(partition_key, sha256_hex(line).as_bytes());
        }
        _ => panic!("{:?}: {from_stream:?}, but the line {from_file:?}", String::from_utf8_lossy(line)),
    }
}
