//! A producer that is killed at any instant leaves whole puts, each with its progress.

use authpulse_stream::{
    CreateOptions, LocalStream, ProducerProgress, PutRecord, ReadFrom, ReadLimit, Stream, StreamWriter,
};
use futures::executor::block_on;
use std::process::{Command, Stdio};
use std::time::Duration;

const ROUNDS: u64 = 12;
const RECORDS: u64 = 997;
const SHARDS: u32 = 3;
/// Names the directory to the child.
const DIRECTORY: &str = "AUTHPULSE_TEST_KILL_DIRECTORY";

/// Puts until it is killed. Does nothing unless the test below starts it.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let stream = LocalStream::open(dir).unwrap();
    let mut done: u64 = block_on(stream.progress("job")).unwrap().map_or(0, |state| state.parse().unwrap());
    loop {
        let records = (done..done + RECORDS)
            .map(|i| PutRecord { payload: i.to_string().into(), partition_key: format!("U{}", i % 100).into() })
            .collect();
        done += RECORDS;
        block_on(stream.put(records, Some(ProducerProgress { job: "job".to_owned(), state: done.to_string() })))
            .unwrap();
    }
}

#[test]
fn a_killed_producer_leaves_whole_puts_with_their_progress() {
    let dir = tempfile::tempdir().unwrap();
    drop(LocalStream::create(dir.path(), CreateOptions { shards: SHARDS, ..CreateOptions::default() }).unwrap());
    let mut before = 0;
    for round in 0..ROUNDS {
        let mut producer = Command::new(std::env::current_exe().unwrap())
            .args(["kill::child", "--exact"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        #[expect(clippy::disallowed_methods, reason = "any instant will do, the more the better")]
        std::thread::sleep(Duration::from_millis(20 + round * 13 % 50));
        producer.kill().unwrap();
        producer.wait().unwrap();

        let stream = LocalStream::open(dir.path()).unwrap();
        let done: u64 = block_on(stream.progress("job")).unwrap().map_or(0, |state| state.parse().unwrap());
        let mut seen = Vec::new();
        for shard in block_on(stream.shards()).unwrap() {
            let all = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            let read = block_on(stream.read(&shard.id, ReadFrom::Start, all)).unwrap();
            let numbers =
                read.records.iter().map(|record| std::str::from_utf8(&record.payload).unwrap().parse::<u64>());
            let numbers: Vec<_> = numbers.collect::<Result<_, _>>().unwrap();
            assert!(numbers.is_sorted());
            seen.extend(numbers);
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..done).collect::<Vec<_>>(), "after round {round}");
        assert!(done >= before);
        before = done;
    }
    assert!(before > 0, "the producer was killed before it put anything, every time");
}
