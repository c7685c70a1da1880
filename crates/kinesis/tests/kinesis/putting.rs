//! Putting into a Kinesis that fails: nothing is lost, every user's order is kept, and a reader with the KCL's rule finds everything.

use crate::support::{FakeKinesis, Faults};
use authpulse_event::ring::hash_key;
use authpulse_kinesis::pack::Packing;
use authpulse_kinesis::{KinesisWriter, MemoryProgress, ProgressStore, Time};
use authpulse_stream::{ProducerProgress, PutRecord, StreamError, StreamWriter};
use kpl_aggregation::{Payload, parse};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

fn seeds() -> u64 {
    std::env::var("AUTHPULSE_SEEDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200)
}

fn writer(api: &Arc<FakeKinesis>, progress: &Arc<MemoryProgress>, aggregate: bool) -> KinesisWriter {
    let packing = Packing { aggregate, aggregate_bytes: 2_000 };
    KinesisWriter::new(api.clone(), api.time.clone(), progress.clone(), packing, "kinesis:auth", 7)
}

fn record(user: usize, n: usize) -> PutRecord {
    // Some records are larger than an aggregate.
    let filling = "x".repeat(if n % 97 == 5 { 5_000 } else { n % 40 });
    PutRecord { payload: format!("{user} {n} {filling}").into(), partition_key: format!("U{user}").into() }
}

fn user_and_number(payload: &[u8]) -> (usize, usize) {
    let text = std::str::from_utf8(payload).unwrap();
    let mut words = text.split(' ').map(|word| word.parse().unwrap_or(0));
    (words.next().unwrap(), words.next().unwrap())
}

/// The records that a KCL hands on, in the order in which they were stored. It drops an aggregate whole if that does not fit its shard.
fn read_by_the_kcl(api: &FakeKinesis) -> Vec<(usize, usize)> {
    let mut read = Vec::new();
    for (shard, raw) in api.stored() {
        match parse(&raw.data) {
            Payload::Aggregate(aggregate) => {
                if aggregate.fits(shard.range.first, shard.range.last) {
                    read.extend(aggregate.records().map(|r| user_and_number(&r.data)));
                }
            }
            Payload::Plain => {
                assert!(shard.range.contains(hash_key(&raw.partition_key)));
                read.push(user_and_number(&raw.data));
            }
            Payload::Damaged(damage) => panic!("{damage}"),
        }
    }
    read
}

type Numbers = BTreeMap<usize, Vec<usize>>;

/// Each user's numbers, in the order in which they were first stored, must be those that were sent, in order.
fn check(api: &FakeKinesis, sent: &[Vec<PutRecord>], what: &str) {
    let (found, wanted) = found_and_wanted(api, sent);
    assert_eq!(found, wanted, "{what}");
}

fn found_and_wanted(api: &FakeKinesis, sent: &[Vec<PutRecord>]) -> (Numbers, Numbers) {
    let mut wanted = Numbers::new();
    for record in sent.iter().flatten() {
        let (user, n) = user_and_number(&record.payload);
        wanted.entry(user).or_default().push(n);
    }
    let (mut found, mut seen) = (Numbers::new(), BTreeSet::new());
    for (user, n) in read_by_the_kcl(api) {
        if seen.insert((user, n)) {
            found.entry(user).or_default().push(n);
        }
    }
    (found, wanted)
}

#[tokio::test]
async fn everything_arrives_in_every_users_order_whatever_fails() {
    let (mut reshards, mut misplaced, mut throttled) = (0, 0, 0);
    for seed in 0..seeds() {
        let faults = Faults {
            throttle: [0.0, 0.05, 0.3][(seed % 3) as usize],
            unclear: [0.0, 0.05][(seed % 2) as usize],
            reshard: [0.0, 0.1, 0.4][(seed / 2 % 3) as usize],
            reshards_most: 6,
            ..Faults::default()
        };
        let api = Arc::new(FakeKinesis::new(1 + seed as u32 % 5, faults, seed));
        let progress = Arc::new(MemoryProgress::default());
        let aggregate = seed % 4 != 1;
        let writer = writer(&api, &progress, aggregate);
        let batches: Vec<Vec<PutRecord>> = (0..4)
            .map(|batch| (0..300).map(|n| record((n * n + seed as usize) % 23, batch * 300 + n)).collect())
            .collect();
        for (n, batch) in batches.iter().enumerate() {
            let note = ProducerProgress { job: "job".to_owned(), state: n.to_string() };
            let receipts = writer.put(batch.clone(), Some(note)).await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert_eq!(receipts.len(), batch.len());
            assert_eq!(progress.read("job").await.unwrap(), Some(n.to_string()));
            // A receipt names a record that contains the payload.
            let stored = api.stored();
            for (receipt, sent) in receipts.iter().zip(batch).step_by(37) {
                let (shard, raw) = stored.iter().find(|(_, raw)| raw.sequence == receipt.sequence).unwrap();
                assert_eq!(shard.id, receipt.shard);
                assert!(raw.data.windows(sent.payload.len()).any(|part| part == sent.payload), "seed {seed}");
            }
        }
        check(&api, &batches, &format!("seed {seed}"));
        let cost = writer.cost().await;
        assert_eq!(cost.user_records, 1_200, "seed {seed}");
        assert!(aggregate || cost.misplaced == 0, "a record of its own goes where its key says");
        (misplaced, throttled) = (misplaced + cost.misplaced, throttled + cost.throttled);
        reshards += api.stored().iter().filter(|(shard, _)| !shard.parents.is_empty()).count();
    }
    // The faults for which there are seeds did happen.
    assert!(reshards > 0 && misplaced > 0 && throttled > 0, "{reshards} {misplaced} {throttled}");
}

/// If the writer did not check where aggregates are stored, they would stay on shards that do not own their records, and a KCL would drop
/// them.
#[tokio::test]
async fn aggregates_that_are_not_sent_again_after_a_reshard_are_noticed() {
    let mut noticed = 0;
    for seed in 0..20 {
        let faults = Faults { reshard: 0.4, reshards_most: 6, conceals: true, ..Faults::default() };
        let api = Arc::new(FakeKinesis::new(2, faults, seed));
        let batches: Vec<Vec<PutRecord>> =
            (0..4).map(|b| (0..300).map(|n| record(n % 23, b * 300 + n)).collect()).collect();
        let writer = writer(&api, &Arc::default(), true);
        let mut put = Vec::new();
        for batch in &batches {
            // A writer that has learnt of the reshard otherwise finds every answer wrong, and reports it.
            match writer.put(batch.clone(), None).await {
                Ok(_) => put.push(batch.clone()),
                Err(_) => break,
            }
        }
        let (found, wanted) = found_and_wanted(&api, &put);
        noticed += usize::from(wanted.iter().any(|(user, numbers)| {
            let found = found.get(user).map_or(&[][..], Vec::as_slice);
            numbers.iter().any(|n| !found.contains(n))
        }));
    }
    assert!(noticed > 0);
}

#[tokio::test]
async fn nothing_fails_and_nothing_is_sent_twice() {
    let api = Arc::new(FakeKinesis::new(4, Faults::default(), 1));
    let writer = writer(&api, &Arc::default(), true);
    let batch: Vec<PutRecord> = (0..5_000).map(|n| record(n % 700, n)).collect();
    writer.put(batch.clone(), None).await.unwrap();
    assert_eq!(read_by_the_kcl(&api).len(), batch.len());
    check(&api, &[batch], "calm");
    let cost = writer.cost().await;
    assert!(cost.records < 400 && cost.per_unit() > 10.0, "{cost:?}");
}

/// Put one by one, records of any size go as fast as their shard takes them: a call has no more than the shard takes at once.
#[tokio::test]
async fn records_of_their_own_use_what_a_shard_takes() {
    for size in [50, 4_000, 20_000] {
        let api = Arc::new(FakeKinesis::new(1, Faults { capacity: 1_000_000.0, ..Faults::default() }, 1));
        let writer = writer(&api, &Arc::default(), false);
        let filling = "x".repeat(size);
        let count = 60_000_000 / size.max(1_000);
        let batch: Vec<PutRecord> = (0..count)
            .map(|n| PutRecord { payload: format!("{n} {n} {filling}").into(), partition_key: format!("U{n}").into() })
            .collect();
        let begun = api.time.monotonic();
        writer.put(batch, None).await.unwrap();
        let took = (api.time.monotonic() - begun).as_secs_f64();
        // What a shard takes in a minute.
        assert!((59.0..110.0).contains(&took), "{took} s for {count} records of {size} bytes");
    }
}

/// The list of shards may be older than the answers to puts: the writer waits for it, and sends nothing again that is where it belongs.
#[tokio::test]
async fn a_list_that_does_not_know_where_records_are_is_read_again() {
    for users in ["all of one child", "of both"] {
        let api = Arc::new(FakeKinesis::new(1, Faults { stale_listings: 6, ..Faults::default() }, 1));
        let writer = writer(&api, &Arc::default(), true);
        writer.put(vec![record(1, 0)], None).await.unwrap();
        api.split(0);
        let lower = |user: &usize| hash_key(format!("U{user}").as_bytes()) < 1 << 127;
        let of_one: Vec<usize> = (0..100).filter(lower).take(5).collect();
        let users: Vec<usize> = if users == "of both" { (0..10).collect() } else { of_one.clone() };
        let batch: Vec<PutRecord> = (1..50).flat_map(|n| users.iter().map(move |user| record(*user, n))).collect();
        let (puts, lists) = (api.calls("put"), api.calls("shards"));
        writer.put(batch.clone(), None).await.unwrap();
        check(&api, &[vec![record(1, 0)], batch.clone()], "after a split");
        let cost = writer.cost().await;
        assert_eq!(cost.user_records as usize, 1 + batch.len());
        assert_eq!(cost.misplaced == 0, users == of_one, "{} sent again", cost.misplaced);
        let (puts, lists) = (api.calls("put") - puts, api.calls("shards") - lists);
        assert!(lists > 6 && lists < 12 && puts < 30, "{puts} puts, {lists} lists");
    }
}

/// The same progress stands only for the same records.
#[tokio::test]
async fn another_put_with_the_same_progress_is_sent() {
    let api = Arc::new(FakeKinesis::new(3, Faults::default(), 1));
    let writer = writer(&api, &Arc::default(), true);
    let note = ProducerProgress { job: "job".to_owned(), state: "going on".to_owned() };
    let of = |from: usize| (from..from + 100).map(|n| record(n % 60, n)).collect::<Vec<_>>();
    *api.takes.lock().unwrap() = 1;
    writer.put(of(0), Some(note.clone())).await.unwrap_err();
    *api.takes.lock().unwrap() = usize::MAX;
    writer.put(of(100), Some(note)).await.unwrap();
    let read = read_by_the_kcl(&api);
    assert!((100..200).all(|n| read.iter().any(|(_, number)| *number == n)), "{read:?}");
}

#[tokio::test]
async fn a_put_that_was_given_up_goes_on_where_it_stopped() {
    let api = Arc::new(FakeKinesis::new(3, Faults::default(), 1));
    let progress: Arc<MemoryProgress> = Arc::default();
    let writer = writer(&api, &progress, true);
    let batch: Vec<PutRecord> = (0..500).map(|n| record(n % 60, n)).collect();
    let note = ProducerProgress { job: "job".to_owned(), state: "1".to_owned() };
    *api.takes.lock().unwrap() = 1;
    let error = writer.put(batch.clone(), Some(note.clone())).await.unwrap_err();
    assert!(
        matches!(&error, StreamError::Storage { retry: false, .. }) && error.to_string().contains("not allowed"),
        "{error}"
    );
    assert_eq!(progress.read("job").await.unwrap(), None, "what is not stored is not noted");
    assert!((1..500).contains(&read_by_the_kcl(&api).len()), "some are stored");
    *api.takes.lock().unwrap() = usize::MAX;
    writer.put(batch.clone(), Some(note)).await.unwrap();
    assert_eq!(read_by_the_kcl(&api).len(), batch.len(), "nothing twice");
    check(&api, &[batch], "given up once");
}

#[tokio::test]
async fn a_shard_that_takes_nothing_ends_a_put_after_a_minute() {
    let api = Arc::new(FakeKinesis::new(1, Faults { throttle: 1.0, ..Faults::default() }, 1));
    let writer = writer(&api, &Arc::default(), true);
    let error = writer.put(vec![record(1, 1)], None).await.unwrap_err();
    assert!(matches!(error, StreamError::Storage { retry: true, .. }), "{error}");
    let waited = api.time.monotonic().as_secs();
    assert!((60..80).contains(&waited), "{waited} s");
}

#[tokio::test]
async fn what_kinesis_would_refuse_is_refused_before_anything_is_sent() {
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 1));
    let writer = writer(&api, &Arc::default(), true);
    let bad = |key: &[u8], size: usize| PutRecord {
        payload: vec![b'x'; size].into(),
        partition_key: bytes::Bytes::copy_from_slice(key),
    };
    for (record, told) in [
        (bad(b"U1", 1 << 20), "raise that with UpdateMaxRecordSize"),
        (bad(b"", 1), "UTF-8 of 1 to 256 characters"),
        (bad(&[0xFF], 1), "UTF-8 of 1 to 256 characters"),
        (bad("ü".repeat(257).as_bytes(), 1), "UTF-8 of 1 to 256 characters"),
    ] {
        let error = writer.put(vec![bad(b"U1", 5), record], None).await.unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("record 1 of a put into kinesis:auth"), "{error}");
    }
    assert_eq!(api.calls("put"), 0);
    writer.put(vec![bad("ü".repeat(256).as_bytes(), 1), bad(b"U1", (1 << 20) - 2)], None).await.unwrap();
    assert_eq!(api.stored().len(), 2);
}

#[tokio::test]
async fn a_stream_that_takes_longer_records_gets_them() {
    for aggregate in [true, false] {
        let mut api = FakeKinesis::new(1, Faults::default(), 1);
        api.max_record_bytes = 10 << 20;
        let api = Arc::new(api);
        let writer = writer(&api, &Arc::default(), aggregate);
        let of = |size: usize, n: usize| {
            let text = format!("1 {n} ");
            PutRecord { payload: format!("{text}{}", "x".repeat(size - text.len())).into(), partition_key: "U1".into() }
        };
        let batch = vec![of((10 << 20) - 2, 0), of(20, 1), of(6 << 20, 2), of(5 << 20, 3)];
        writer.put(batch.clone(), None).await.unwrap();
        check(&api, &[batch], "longest records");
        let error = writer.put(vec![of((10 << 20) - 1, 4)], None).await.unwrap_err().to_string();
        assert!(error.contains("10485760") || error.contains("UpdateMaxRecordSize"), "{error}");
    }
}
