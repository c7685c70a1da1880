//! How many events a second the embedded stream takes and gives: `cargo run --release -p authpulse-stream --example throughput`.
//!
//! Arguments: `[events] [events per put] [shards]`. Events look like LANL's; keys follow a skewed distribution. First
//! everything is put, then everything is read, then both at once, each by one thread, as a producer and a consumer do.

use authpulse_event::Position;
use authpulse_stream::{CreateOptions, LocalStream, PutRecord, ReadFrom, ReadLimit, Stream, StreamError, StreamWriter};
use futures::executor::block_on;
use std::time::Instant;

const EVENTS: usize = 3_000_000;
const EVENTS_PER_PUT: usize = 50_000;
const SHARDS: u32 = 4;
const READ: ReadLimit = ReadLimit { records: 50_000, bytes: 16 * 1024 * 1024 };
const USERS: u64 = 12_000;
const COMPUTERS: u64 = 17_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let number = |index: usize, default: usize| numbers.get(index).copied().unwrap_or(default);
    let (events, per_put) = (number(0, EVENTS), number(1, EVENTS_PER_PUT).max(1));
    let shards = u32::try_from(number(2, SHARDS as usize))?;
    let puts: Vec<Vec<PutRecord>> = (0..events).step_by(per_put).map(|at| make(at, per_put.min(events - at))).collect();
    let payload_bytes: usize = puts.iter().flatten().map(|record| record.payload.len()).sum();
    println!("{events} events of {} bytes, {per_put} a put, {shards} shards", payload_bytes / events.max(1));

    let dir = tempfile::tempdir()?;
    let options = || CreateOptions { shards, ..CreateOptions::default() };
    let stream = LocalStream::create(dir.path().join("one"), options())?;
    timed("put", events, || put_all(&stream, puts.clone()))?;
    let stored: u64 =
        std::fs::read_dir(dir.path().join("one"))?.flatten().filter_map(|f| Some(f.metadata().ok()?.len())).sum();
    println!("     {:.1} bytes stored per event", stored as f64 / events as f64);
    timed("read", events, || read_all(&stream, events))?;

    let writer = LocalStream::create(dir.path().join("two"), options())?;
    let reader = LocalStream::open(dir.path().join("two"))?;
    timed("both", events, || {
        std::thread::scope(|scope| {
            let producer = scope.spawn(|| put_all(&writer, puts));
            read_all(&reader, events)?;
            producer.join().expect("the producer does not panic")
        })
    })?;
    Ok(())
}

fn timed(what: &str, events: usize, run: impl FnOnce() -> Result<(), StreamError>) -> Result<(), StreamError> {
    let start = Instant::now();
    run()?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{what:<4} {:>10.0} events/s ({seconds:.2} s)", events as f64 / seconds);
    Ok(())
}

fn put_all(stream: &LocalStream, puts: Vec<Vec<PutRecord>>) -> Result<(), StreamError> {
    for records in puts {
        block_on(stream.put(records, None))?;
    }
    Ok(())
}

fn read_all(stream: &LocalStream, events: usize) -> Result<(), StreamError> {
    let mut places: Vec<_> =
        block_on(stream.shards())?.into_iter().map(|shard| (shard.id, ReadFrom::After(Position::START))).collect();
    let mut read = 0;
    while read < events {
        let before = read;
        for (shard, from) in &mut places {
            let batch = block_on(stream.read(shard, *from, READ))?;
            read += batch.records.len();
            if let Some(last) = batch.records.last() {
                *from = ReadFrom::After(last.position);
            }
        }
        if read == before {
            #[expect(clippy::disallowed_methods, reason = "a thread of its own that polls")]
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Events from `first` on. The square of an even draw makes small numbers frequent.
fn make(first: usize, count: usize) -> Vec<PutRecord> {
    let skewed = |seed: u64, size: u64| {
        let draw = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 40;
        (((draw * draw) >> 24) * size) >> 24
    };
    (first as u64..(first + count) as u64)
        .map(|index| {
            let user = format!("U{}", skewed(index, USERS));
            let computer = skewed(index ^ 0xA5A5_A5A5, COMPUTERS);
            PutRecord {
                payload: format!(r#"{{"time":{},"user":"{user}","computer":"C{computer}"}}"#, 1 + index / 30).into(),
                partition_key: user.into(),
            }
        })
        .collect()
}
