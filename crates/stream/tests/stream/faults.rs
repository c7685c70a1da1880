//! The double's faults: before and after are told apart, and the same calls give the same answers.

use authpulse_event::ArrivalTime;
use authpulse_stream::memory::{Faults, Moment, Operation};
use authpulse_stream::{
    CreateOptions, MemoryStream, ProducerProgress, PutRecord, ReadFrom, ReadLimit, Stream, StreamError, StreamWriter,
};
use futures::executor::block_on;
use std::sync::{Arc, Mutex};

const ALL: ReadLimit = ReadLimit { records: usize::MAX, bytes: usize::MAX };

fn options() -> CreateOptions {
    CreateOptions { shards: 1, clock: Arc::new(|| ArrivalTime::from_micros(1_000)), ..CreateOptions::default() }
}

fn fault() -> StreamError {
    StreamError::Storage { stream: "double".to_owned(), action: "put", cause: "injected".to_owned(), retry: true }
}

fn put(stream: &MemoryStream, payload: &str) -> Result<(), StreamError> {
    let record = PutRecord { payload: payload.to_owned().into(), partition_key: "k".into() };
    let progress = ProducerProgress { job: "job".to_owned(), state: payload.to_owned() };
    block_on(stream.put(vec![record], Some(progress))).map(drop)
}

fn contents(stream: &MemoryStream) -> String {
    let shard = block_on(stream.shards()).unwrap().remove(0).id;
    let read = block_on(stream.read(&shard, ReadFrom::Start, ALL)).unwrap();
    read.records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned()).collect()
}

#[test]
fn a_fault_before_leaves_nothing_and_a_fault_after_leaves_all() {
    let due = Arc::new(Mutex::new(None));
    let faults = {
        let due = Arc::clone(&due);
        move |operation: &Operation, moment: Moment| {
            let strikes = matches!(operation, Operation::Put { .. }) && *due.lock().unwrap() == Some(moment);
            strikes.then(fault)
        }
    };
    let stream = MemoryStream::new(options()).unwrap().with_faults(Arc::new(faults));
    put(&stream, "a").unwrap();
    *due.lock().unwrap() = Some(Moment::Before);
    assert!(put(&stream, "b").is_err());
    assert_eq!((contents(&stream), block_on(stream.progress("job")).unwrap()), ("a".into(), Some("a".into())));
    *due.lock().unwrap() = Some(Moment::After);
    assert!(put(&stream, "c").is_err());
    assert_eq!((contents(&stream), block_on(stream.progress("job")).unwrap()), ("ac".into(), Some("c".into())));
    *due.lock().unwrap() = None;
    put(&stream, "d").unwrap();
    assert_eq!(contents(&stream), "acd");
}

#[test]
fn every_operation_can_fail_at_either_moment() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let faults = {
        let seen = Arc::clone(&seen);
        move |operation: &Operation, moment: Moment| {
            seen.lock().unwrap().push((operation.clone(), moment));
            None
        }
    };
    let stream = MemoryStream::new(options()).unwrap().with_faults(Arc::new(faults));
    block_on(async {
        let shard = stream.shards().await.unwrap().remove(0).id;
        stream.describe().await.unwrap();
        stream.tip(&shard).await.unwrap();
        stream.read(&shard, ReadFrom::Start, ALL).await.unwrap();
        stream.put(Vec::new(), None).await.unwrap();
        stream.progress("job").await.unwrap();
        let [left, right] = stream.split(&shard, 1).await.unwrap();
        stream.merge(&left, &right).await.unwrap();
        stream.close().await.unwrap();
        stream.split(&left, 1).await.unwrap_err();
    });
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 19);
    for pair in seen[..18].chunks(2) {
        assert!(pair[0].0 == pair[1].0 && pair[0].1 == Moment::Before && pair[1].1 == Moment::After);
    }
    assert_eq!(seen[18].1, Moment::Before, "what was refused has no answer to lose");
}

#[test]
fn a_read_can_be_shortened_but_never_to_nothing() {
    struct Short;
    impl Faults for Short {
        fn inject(&self, _: &Operation, _: Moment) -> Option<StreamError> {
            None
        }
        fn shorten(&self, _: &authpulse_event::ShardId, _: ReadLimit) -> ReadLimit {
            ReadLimit { records: 0, bytes: 0 }
        }
    }
    let stream = MemoryStream::new(options()).unwrap().with_faults(Arc::new(Short));
    put(&stream, "a").unwrap();
    put(&stream, "b").unwrap();
    assert_eq!(contents(&stream), "a");
}
