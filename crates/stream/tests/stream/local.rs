//! What only a stream in a directory can do: be opened twice, be interrupted, be damaged.

use authpulse_event::{ArrivalTime, Position, ShardId, Span};
use authpulse_stream::limits::{MAX_NAME_BYTES, MAX_OPEN_SHARDS};
use authpulse_stream::{
    CreateOptions, LocalStream, ProducerProgress, PutRecord, ReadFrom, ReadLimit, Stream, StreamError, StreamWriter,
};
use futures::executor::block_on;
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

fn options(shards: u32) -> CreateOptions {
    CreateOptions { name: "local".to_owned(), shards, ..CreateOptions::default() }
}

fn records(range: std::ops::Range<usize>) -> Vec<PutRecord> {
    range.map(|i| PutRecord { payload: i.to_string().into(), partition_key: format!("U{}", i % 10).into() }).collect()
}

fn put(stream: &LocalStream, range: std::ops::Range<usize>) -> Result<(), StreamError> {
    let progress = ProducerProgress { job: "job".to_owned(), state: range.end.to_string() };
    block_on(stream.put(records(range), Some(progress))).map(drop)
}

/// All payloads, as sorted numbers.
fn contents(stream: &LocalStream) -> Vec<usize> {
    let mut all = Vec::new();
    for shard in block_on(stream.shards()).unwrap() {
        let read = block_on(stream.read(&shard.id, ReadFrom::Start, ALL)).unwrap();
        all.extend(
            read.records.iter().map(|record| std::str::from_utf8(&record.payload).unwrap().parse::<usize>().unwrap()),
        );
    }
    all.sort_unstable();
    all
}

fn database(dir: &Path) -> Connection {
    Connection::open(dir.join("stream.db")).unwrap()
}

#[test]
fn a_clock_that_was_ahead_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let time = Arc::new(AtomicI64::new(1_000));
    let shown = time.clone();
    let clock = Arc::new(move || ArrivalTime::from_micros(shown.load(Ordering::Relaxed)));
    let stream = LocalStream::create(dir.path(), CreateOptions { clock, ..options(1) }).unwrap();
    put(&stream, 0..1).unwrap();
    for (now, behind) in [(1_000, None), (999, Some(1)), (400, Some(600)), (2_000, None)] {
        time.store(now, Ordering::Relaxed);
        assert_eq!(block_on(stream.clock_behind()).unwrap(), behind.map(Span::from_micros));
    }
}

#[test]
fn a_consumer_follows_a_producer_through_another_handle() {
    const PUTS: usize = 200;
    const RECORDS: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let producer = LocalStream::create(dir.path(), options(3)).unwrap();
    let consumer = LocalStream::open(dir.path()).unwrap();
    let writing = std::thread::spawn(move || {
        for put_number in 0..PUTS {
            put(&producer, put_number * RECORDS..(put_number + 1) * RECORDS).unwrap();
            if put_number == PUTS / 2 {
                block_on(producer.split(&ShardId::new("shardId-000000000001"), u128::MAX / 2)).unwrap();
            }
        }
        block_on(producer.close()).unwrap();
    });
    let mut places: Vec<(ShardId, ReadFrom, bool)> = Vec::new();
    let mut seen = Vec::new();
    while places.is_empty() || places.iter().any(|(_, _, ended)| !ended) {
        for shard in block_on(consumer.shards()).unwrap() {
            if places.iter().all(|(id, ..)| *id != shard.id) {
                places.push((shard.id, ReadFrom::Start, false));
            }
        }
        for (shard, from, ended) in &mut places {
            let read = block_on(consumer.read(shard, *from, ReadLimit { records: 70, bytes: 4_000 })).unwrap();
            assert_eq!(read.gap, None);
            for record in &read.records {
                assert!(read.clock.is_none_or(|clock| record.arrival <= clock));
                seen.push(std::str::from_utf8(&record.payload).unwrap().parse::<usize>().unwrap());
            }
            if let Some(last) = read.records.last() {
                *from = ReadFrom::After(last.position);
            }
            *ended = read.at_end;
        }
    }
    writing.join().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, (0..PUTS * RECORDS).collect::<Vec<_>>());
}

#[test]
fn two_producers_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    LocalStream::create(dir.path(), options(2)).unwrap();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let dir = dir.path();
            scope.spawn(move || {
                let stream = LocalStream::open(dir).unwrap();
                for i in 0..100 {
                    let at = half * 1000 + i * 10;
                    put(&stream, at..at + 10).unwrap();
                }
            });
        }
    });
    assert_eq!(contents(&LocalStream::open(dir.path()).unwrap()), (0..2000).collect::<Vec<_>>());
}

#[test]
fn a_put_that_fails_midway_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let stream = LocalStream::create(dir.path(), options(3)).unwrap();
    put(&stream, 0..100).unwrap();
    let other = database(dir.path());
    // Each step of a put fails once, the last shard's as well as the first's.
    for (table, event, when) in [
        ("batch", "INSERT", "new.shard = 0"),
        ("batch", "INSERT", "new.shard = 2"),
        ("shard", "UPDATE", "new.number = 2"),
        ("stream", "UPDATE", "true"),
        ("progress", "UPDATE", "true"),
    ] {
        let trigger =
            format!("CREATE TRIGGER fault BEFORE {event} ON {table} WHEN {when} BEGIN SELECT RAISE(ABORT, 'no'); END");
        other.execute_batch(&trigger).unwrap();
        let failed = put(&stream, 100..200);
        assert!(matches!(failed, Err(StreamError::Storage { action: "put", retry: false, .. })), "{table}: {failed:?}");
        other.execute_batch("DROP TRIGGER fault").unwrap();
        assert_eq!(contents(&stream), (0..100).collect::<Vec<_>>());
        assert_eq!(block_on(stream.progress("job")).unwrap().as_deref(), Some("100"));
        assert_eq!(contents(&LocalStream::open(dir.path()).unwrap()).len(), 100);
    }
    put(&stream, 100..200).unwrap();
    assert_eq!(contents(&stream), (0..200).collect::<Vec<_>>());
    let numbers: u64 = other.query_row("SELECT next_sequence FROM stream", [], |row| row.get(0)).unwrap();
    assert_eq!(numbers, 201, "what failed has used no numbers");
}

#[test]
fn many_may_open_or_create_at_once_and_one_creates() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("deep").join("er");
        let identities: Vec<_> = std::thread::scope(|scope| {
            let start = || block_on(LocalStream::open_or_create(&place, options(2)).unwrap().describe()).unwrap();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(identities.iter().all(|identity| *identity == identities[0]));
        assert_eq!(block_on(LocalStream::open(&place).unwrap().shards()).unwrap().len(), 2);
    }
}

#[test]
fn creating_twice_is_refused_and_opening_nothing_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let missing = LocalStream::open(dir.path()).unwrap_err();
    assert!(matches!(missing, StreamError::NotFound { .. }), "{missing:?}");
    std::fs::write(dir.path().join("stream.db"), b"").unwrap();
    assert!(matches!(LocalStream::open(dir.path()), Err(StreamError::NotFound { .. })), "killed before it was made");
    LocalStream::create(dir.path(), options(2)).unwrap();
    assert!(matches!(LocalStream::create(dir.path(), options(2)), Err(StreamError::Refused { .. })));
}

#[test]
fn options_out_of_bounds_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for bad in [
        options(0),
        options(MAX_OPEN_SHARDS + 1),
        CreateOptions { name: String::new(), ..options(1) },
        CreateOptions { name: "n".repeat(MAX_NAME_BYTES + 1), ..options(1) },
        CreateOptions { retention: Span::ZERO, ..options(1) },
    ] {
        assert!(matches!(LocalStream::create(dir.path(), bad), Err(StreamError::Refused { .. })));
    }
    assert!(!dir.path().join("stream.db").exists());
}

#[test]
fn a_newer_layout_is_refused_with_words() {
    let dir = tempfile::tempdir().unwrap();
    drop(LocalStream::create(dir.path(), options(1)).unwrap());
    database(dir.path()).execute_batch("PRAGMA user_version = 2").unwrap();
    let error = LocalStream::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("newer") && error.contains("layout 2"), "{error}");
    assert!(LocalStream::open_or_create(dir.path(), options(1)).is_err());
}

#[test]
fn what_is_no_stream_is_told_apart_from_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    database(dir.path()).execute_batch("CREATE TABLE other (x)").unwrap();
    assert!(matches!(LocalStream::open(dir.path()), Err(StreamError::Refused { .. })));
    std::fs::write(dir.path().join("stream.db"), b"no database at all".repeat(1000)).unwrap();
    assert!(matches!(LocalStream::open(dir.path()), Err(StreamError::Damaged { .. })));
    assert!(matches!(LocalStream::open_or_create(dir.path(), options(1)), Err(StreamError::Damaged { .. })));
}

#[test]
fn damage_is_named_and_never_read_as_records() {
    for damage in [
        "UPDATE batch SET body = substr(body, 1, length(body) - 1)",
        "UPDATE batch SET body = x''",
        "UPDATE batch SET arrival = arrival + 1",
        "UPDATE batch SET raw_bytes = raw_bytes + 1",
        "UPDATE batch SET raw_bytes = 4294967295",
        "UPDATE batch SET raw_bytes = -1",
        "UPDATE batch SET last_sequence = last_sequence + 1",
        "UPDATE batch SET last_sequence = 9223372036854775807",
        "UPDATE batch SET first_sequence = 0",
        "UPDATE batch SET checksum = 0",
        "UPDATE shard SET range_first = x'00'",
        "DROP TABLE batch",
        "DELETE FROM stream",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let stream = LocalStream::create(dir.path(), options(1)).unwrap();
        put(&stream, 0..100).unwrap();
        database(dir.path()).execute_batch(damage).unwrap();
        let read = block_on(stream.read(&ShardId::new("shardId-000000000000"), ReadFrom::Start, ALL));
        assert!(matches!(read, Err(StreamError::Damaged { .. })), "{damage}: {read:?}");
    }
}

#[test]
fn shards_that_do_not_divide_the_ring_are_damage() {
    let dir = tempfile::tempdir().unwrap();
    let stream = LocalStream::create(dir.path(), options(2)).unwrap();
    database(dir.path()).execute_batch("DELETE FROM shard WHERE number = 0").unwrap();
    assert!(matches!(put(&stream, 0..9), Err(StreamError::Damaged { .. })));
    assert!(matches!(LocalStream::open(dir.path()), Err(StreamError::Damaged { .. })));
}

#[test]
fn it_works_on_every_kind_of_runtime() {
    let dir = tempfile::tempdir().unwrap();
    let stream = LocalStream::create(dir.path(), options(1)).unwrap();
    let shard = ShardId::new("shardId-000000000000");
    let use_it = || async {
        stream.put(records(0..10), None).await.unwrap();
        stream.read(&shard, ReadFrom::After(Position::START), ALL).await.unwrap().records.len()
    };
    let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(one.block_on(use_it()), 10);
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    assert_eq!(many.block_on(use_it()), 20);
    let dir = dir.path().to_owned();
    let task = async move {
        let stream = LocalStream::open(&dir).unwrap();
        stream.put(records(0..10), None).await.unwrap();
        contents(&stream).len()
    };
    assert_eq!(many.block_on(async { tokio::spawn(task).await.unwrap() }), 30);
    assert_eq!(block_on(use_it()), 40);
}

/// A path that cannot be looked at, such as one below a file, is not called missing.
#[test]
fn a_stream_that_cannot_be_looked_at_is_not_called_missing() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    let told = |name: &str| LocalStream::open(dir.path().join(name)).expect_err("no stream").to_string();
    assert!(told("none").contains("authpulse stream create"), "{}", told("none"));
    assert!(told("file").contains("Not a directory") && !told("file").contains("does not exist"), "{}", told("file"));
}
