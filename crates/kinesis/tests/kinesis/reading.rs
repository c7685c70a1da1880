//! Reading from a Kinesis that fails: every record once and in order, from any position.

use crate::support::{ALL, ARN, CREATED, FakeKinesis, Faults, fill, live, places, read_on, seeds, shard};
use authpulse_event::{ArrivalTime, Position, SequenceNumber, Span};
use authpulse_kinesis::api::ApiError;
use authpulse_kinesis::{Chance, KinesisStream, StartAt, Time};
use authpulse_stream::{Gap, ReadFrom, ReadLimit, Stream, StreamError};
use bytes::Bytes;
use kpl_aggregation::{Aggregator, Limits, UserRecord};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

fn reader(api: &Arc<FakeKinesis>, start: StartAt) -> KinesisStream {
    KinesisStream::new(api.clone(), api.time.clone(), start, "kinesis:auth", 5)
}

#[tokio::test]
async fn every_record_is_read_once_and_in_order_from_anywhere() {
    for seed in 0..seeds() {
        let faults = Faults {
            throttle: [0.0, 0.2][(seed % 2) as usize],
            unclear: [0.0, 0.1, 0.2][(seed % 3) as usize],
            expire: [0.0, 0.2][(seed / 2 % 2) as usize],
            empty: [0.0, 0.5][(seed / 3 % 2) as usize],
            false_end: [0.0, 0.1][(seed / 4 % 2) as usize],
            ..Faults::default()
        };
        let api = Arc::new(FakeKinesis::new(1, faults, seed));
        let expected = fill(&api, seed, 60);
        let ended = seed % 2 == 0;
        if ended {
            api.split(0);
        }
        let chance = Chance::new(seed);
        let mut from = 0;
        // Several lives of a worker: each begins after some record that was read, like a worker that comes back.
        for life in 0..6 {
            let stream = reader(&api, StartAt::TrimHorizon);
            from = live(&stream, &expected, from, ended, &chance, &format!("seed {seed}, life {life}")).await;
        }
    }
}

#[tokio::test]
async fn a_read_from_elsewhere_moves_the_cursor() {
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 3));
    let expected = fill(&api, 3, 40);
    let stream = reader(&api, StartAt::TrimHorizon);
    let one = ReadLimit { records: 3, bytes: 1 << 20 };
    for from in [0, 3, 1, 1, 20, 4, 7] {
        let at = if from == 0 { ReadFrom::Start } else { ReadFrom::After(expected[from - 1].0) };
        let read = loop {
            let read = stream.read(&shard(0), at, one).await.unwrap();
            if !read.records.is_empty() {
                break read;
            }
        };
        assert_eq!(places(&read.records)[..], expected[from..from + read.records.len()]);
    }
}

#[tokio::test]
async fn what_retention_took_is_told_as_a_gap() {
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 4));
    let numbers: Vec<SequenceNumber> = (0..10).map(|n| api.append("U1", None, format!("{n}"))).collect();
    let after = |n: usize| ReadFrom::After(Position { sequence: numbers[n], sub_sequence: 0 });
    api.trim(0, 4);
    // The record itself is still there, so nothing is missing.
    let (records, gaps, _) = read_on(&reader(&api, StartAt::TrimHorizon), 0, after(4), ALL).await;
    assert_eq!((records.len(), gaps.len()), (5, 0));
    // The record is gone, and others may be gone with it.
    let stream = reader(&api, StartAt::TrimHorizon);
    let (records, gaps, _) = read_on(&stream, 0, after(1), ALL).await;
    assert_eq!((records.len(), gaps), (6, vec![Gap { records: None }]));
    let (_, gaps, _) = read_on(&stream, 0, after(9), ALL).await;
    assert_eq!(gaps, [], "once is enough");
    // Everything is gone: each read from there reports it, until a record comes.
    api.trim(0, 6);
    let stream = reader(&api, StartAt::TrimHorizon);
    for _ in 0..2 {
        let batch = stream.read(&shard(0), after(9), ALL).await.unwrap();
        assert_eq!((batch.records.len(), batch.gap, batch.at_tip), (0, Some(Gap { records: None }), true));
    }
    api.append("U1", None, "new");
    let (records, gaps, _) = read_on(&stream, 0, after(9), ALL).await;
    assert_eq!((records.len(), gaps.len()), (1, 1));
}

#[tokio::test]
async fn reading_begins_where_it_was_told_to() {
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 4));
    let expected = fill(&api, 8, 50);
    let half = api.stored()[25].1.clone();
    let stream = reader(&api, StartAt::Time(half.arrival));
    let (records, _, _) = read_on(&stream, 0, ReadFrom::Start, ALL).await;
    let first = expected.iter().position(|(position, _)| position.sequence == half.sequence).unwrap();
    assert_eq!(places(&records), expected[first..]);
    let (records, _, _) = read_on(&stream, 0, ReadFrom::After(expected[2].0), ALL).await;
    assert_eq!(places(&records), expected[3..], "a position beats it");
}

#[tokio::test]
async fn a_shards_budget_is_kept() {
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 4));
    for n in 0..200 {
        api.append("U1", None, vec![n; 100_000]);
    }
    let stream = reader(&api, StartAt::TrimHorizon);
    let begun = api.time.monotonic();
    let (records, ..) = read_on(&stream, 0, ReadFrom::Start, ALL).await;
    assert_eq!(records.len(), 200);
    let (took, gets) = ((api.time.monotonic() - begun).as_secs_f64(), api.calls("get"));
    // 20 MB; nothing waits for the budget after the last answer.
    assert!((8.9..=10.1).contains(&took), "{took} s");
    let (calls_before, before) = (gets, api.time.monotonic());
    let mut from = ReadFrom::After(records.last().unwrap().position);
    for _ in 0..50 {
        let batch = stream.read(&shard(0), from, ALL).await.unwrap();
        from = batch.records.last().map_or(from, |r| ReadFrom::After(r.position));
    }
    let (calls, seconds) = (api.calls("get") - calls_before, (api.time.monotonic() - before).as_secs_f64());
    assert!(calls as f64 <= 5.0 * seconds + 1.0, "{calls} calls in {seconds} s");
}

#[tokio::test]
async fn an_iterator_that_was_left_for_long_is_made_anew() {
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 4));
    let mut expected = fill(&api, 8, 10);
    let stream = reader(&api, StartAt::TrimHorizon);
    let (records, ..) = read_on(&stream, 0, ReadFrom::Start, ALL).await;
    assert_eq!(places(&records), expected);
    api.time.pass(Duration::from_secs(1_000));
    let more = fill(&api, 9, 10);
    let (records, ..) = read_on(&stream, 0, ReadFrom::After(expected.pop().unwrap().0), ALL).await;
    assert_eq!(places(&records), more);
}

#[tokio::test]
async fn the_tip_is_the_newest_record() {
    let api = Arc::new(FakeKinesis::new(2, Faults { empty: 0.3, throttle: 0.2, ..Faults::default() }, 4));
    let stream = reader(&api, StartAt::Time(ArrivalTime::MAX));
    assert_eq!(stream.tip(&shard(0)).await.unwrap(), Position::START);
    for waited in [1, 20, 2_000, 50_000] {
        let newest = fill(&api, waited, 30);
        api.time.pass(Duration::from_secs(waited));
        for n in 0..2 {
            let is_of = |p: &Position| api.stored().iter().any(|(s, r)| s.id == shard(n) && r.sequence == p.sequence);
            let expected = newest.iter().map(|(position, _)| *position).rfind(is_of);
            let found = stream.tip(&shard(n)).await.unwrap();
            assert_eq!(Some(found), expected.or(Some(found)), "after {waited} s");
            assert!(is_of(&found) || found == Position::START);
        }
    }
}

/// Kinesis silently goes on behind what retention has removed, even for a reader that was there all the time.
#[tokio::test]
async fn what_retention_takes_from_a_reader_that_goes_on_is_told() {
    let hour = Duration::from_secs(3_600);
    for (away, trimmed, gap) in [(30 * hour, 9, true), (30 * hour, 5, false), (hour, 5, false)] {
        let api = Arc::new(FakeKinesis::new(1, Faults::default(), 4));
        let expected = fill(&api, 8, 6);
        let stream = reader(&api, StartAt::TrimHorizon);
        let (records, gaps, _) = read_on(&stream, 0, ReadFrom::Start, ALL).await;
        assert_eq!((places(&records), gaps.len()), (expected, 0));
        let last = records.last().unwrap().position;
        // For a while nobody can read: the key is disabled, or the network is down.
        let more = fill(&api, 9, 6);
        api.time.pass(away);
        api.trim(0, trimmed);
        let left = api.stored().split_off(trimmed.max(6)).len();
        let (records, gaps, _) = read_on(&stream, 0, ReadFrom::After(last), ALL).await;
        assert_eq!(gaps.len(), usize::from(gap), "away for {away:?}, {trimmed} records trimmed");
        let sequences: BTreeSet<_> = records.iter().map(|r| r.position.sequence).collect();
        assert_eq!(sequences.len(), left);
        assert_eq!(records.last().map(|r| r.position), more.last().map(|(position, _)| *position));
    }
}

/// A reader that is behind by as much as records are kept checks at each read that its last record is still there.
#[tokio::test]
async fn a_reader_that_is_behind_by_the_retention_is_told_what_it_loses() {
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 4));
    *api.behind_each.lock().unwrap() = Duration::from_secs(3_600);
    let expected = fill(&api, 8, 120);
    let stream = reader(&api, StartAt::TrimHorizon);
    let batch = stream.read(&shard(0), ReadFrom::Start, ALL).await.unwrap();
    assert!(batch.gap.is_none() && batch.records.len() < expected.len());
    let last = batch.records.last().unwrap().position;
    api.trim(0, 60);
    let batch = stream.read(&shard(0), ReadFrom::After(last), ALL).await.unwrap();
    assert_eq!(batch.gap, Some(Gap { records: None }));
    assert_eq!(batch.records[0].position.sequence, api.stored()[60].1.sequence);
}

/// Records at hand are dropped if another worker has the shard by now. If the shard comes back, they are fetched again.
#[tokio::test]
async fn records_that_nobody_reads_are_let_go() {
    let api = Arc::new(FakeKinesis::new(2, Faults::default(), 4));
    let expected = fill(&api, 8, 60);
    let stream = reader(&api, StartAt::TrimHorizon);
    let n = usize::from(!api.stored()[0].0.id.as_str().ends_with('0'));
    let one = ReadLimit { records: 1, bytes: usize::MAX };
    let first = stream.read(&shard(n), ReadFrom::Start, one).await.unwrap().records.remove(0);
    let calls = api.calls("get");
    stream.read(&shard(n), ReadFrom::After(first.position), one).await.unwrap();
    assert_eq!(api.calls("get"), calls, "more was at hand");
    api.time.pass(Duration::from_secs(301));
    stream.read(&shard(1 - n), ReadFrom::Start, one).await.unwrap();
    let (records, gaps, _) = read_on(&stream, n, ReadFrom::After(first.position), ALL).await;
    let is_of = |p: &Position| api.stored().iter().any(|(s, r)| s.id == shard(n) && r.sequence == p.sequence);
    let wanted: Vec<_> = expected.into_iter().filter(|(at, _)| is_of(at)).skip(1).collect();
    assert_eq!((places(&records), gaps.len()), (wanted, 0));
    assert!(api.calls("get") > calls + 2);
}

/// The records at hand of all shards have a bound. A shard that stopped reading with records at hand, as one does that waits for counts
/// of other shards, is in nobody's way: its records are dropped, and fetched again when it goes on.
#[tokio::test]
async fn all_shards_together_have_so_much_at_hand() {
    let api = Arc::new(FakeKinesis::new(2, Faults::default(), 4));
    let expected = fill(&api, 8, 60);
    let n = usize::from(!api.stored()[0].0.id.as_str().ends_with('0'));
    let stream = reader(&api, StartAt::TrimHorizon).with_room(1);
    let one = ReadLimit { records: 1, bytes: usize::MAX };
    let first = stream.read(&shard(n), ReadFrom::Start, one).await.unwrap().records.remove(0);
    let (calls, begun) = (api.calls("get"), api.time.monotonic());
    let (others, ..) = read_on(&stream, 1 - n, ReadFrom::Start, ALL).await;
    let waited = api.time.monotonic() - begun;
    assert!(waited >= Duration::from_secs(5), "the other began after {waited:?}");
    assert!(api.calls("get") > calls && !others.is_empty());
    let (records, gaps, _) = read_on(&stream, n, ReadFrom::After(first.position), ALL).await;
    assert_eq!((records.len() + 1 + others.len(), gaps.len()), (expected.len(), 0));
    // Shards that read on find room again and again.
    let begun = api.time.monotonic();
    read_on(&stream, n, ReadFrom::Start, ALL).await;
    let took = api.time.monotonic() - begun;
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// The user records of an aggregate are made only when they are read.
#[tokio::test]
async fn a_million_records_of_an_aggregate_come_by_parts() {
    const RECORDS: usize = 200_000;
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 4));
    let limits = Limits { bytes: 8 << 20, records: RECORDS };
    let mut aggregator = Aggregator::new(limits);
    while aggregator.push(&UserRecord::new("U1", "")) {}
    let aggregate = aggregator.take().unwrap();
    api.append("a", Some(0), aggregate.data);
    api.append("U2", None, "behind it");
    let stream = reader(&api, StartAt::TrimHorizon);
    let (records, ..) = read_on(&stream, 0, ReadFrom::Start, ReadLimit { records: 7_000, bytes: 1 << 20 }).await;
    assert_eq!(records.len(), RECORDS + 1);
    assert!(records.iter().take(RECORDS).map(|r| r.position.sub_sequence).eq(0..RECORDS as u64));
    assert_eq!((api.calls("get"), &records[RECORDS].payload[..]), (1, &b"behind it"[..]));
    // A life that begins within an aggregate goes on there; one that begins at its end goes on behind it.
    for from in [1, 123_456, RECORDS - 1, RECORDS] {
        let after = ReadFrom::After(records[from - 1].position);
        let (rest, ..) = read_on(&reader(&api, StartAt::TrimHorizon), 0, after, ALL).await;
        assert_eq!(rest, records[from..]);
    }
}

/// A shard that took much hours ago, and nothing since, is not read again to find its tip.
#[tokio::test]
async fn little_is_read_to_find_the_tip() {
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 4));
    let mut last = None;
    for n in 0..5_000 {
        api.time.pass(Duration::from_secs(1));
        last = Some(api.append("U1", None, format!("{n}")));
    }
    let stream = reader(&api, StartAt::TrimHorizon);
    for quiet in [0, 100, 9_000, 40_000] {
        api.time.pass(Duration::from_secs(quiet));
        let before = api.calls("get");
        assert_eq!(Some(stream.tip(&shard(0)).await.unwrap().sequence), last);
        let calls = api.calls("get") - before;
        assert!(calls < 60, "{calls} calls after {quiet} s more");
    }
}

#[tokio::test]
async fn a_stream_is_known_by_its_arn_and_creation() {
    let api = Arc::new(FakeKinesis::new(2, Faults::default(), 4));
    api.split(0);
    let stream = reader(&api, StartAt::TrimHorizon);
    let description = stream.describe().await.unwrap();
    assert_eq!((description.name.as_str(), description.created, description.closed), (ARN, CREATED, false));
    assert_eq!(description.retention, Span::hours(24));
    for _ in 0..30 {
        stream.describe().await.unwrap();
    }
    assert_eq!(api.calls("summary"), 1, "an account may ask 20 times a second");
    let shards = stream.shards().await.unwrap();
    assert_eq!(shards.iter().map(|s| s.closed).collect::<Vec<_>>(), [true, false, false, false]);
    assert_eq!(shards[3].parents, [shard(0)]);
    assert!(matches!(stream.read(&shard(9), ReadFrom::Start, ALL).await, Err(StreamError::NotFound { .. })));
}

/// The warnings that this thread logged.
#[derive(Clone, Default)]
struct Warnings(Arc<std::sync::Mutex<u32>>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, about: &tracing::Metadata<'_>) -> bool {
        *about.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        *self.0.lock().unwrap() += 1;
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_waited_for_with_growing_pauses_and_few_words() {
    let warnings = Warnings::default();
    let _guard = tracing::subscriber::set_default(warnings.clone());
    let api = Arc::new(FakeKinesis::new(1, Faults::default(), 3));
    api.append("U1", None, "x");
    *api.get_fails.lock().unwrap() = vec![ApiError::Key("key 1 is disabled".to_owned()); 10];
    let stream = reader(&api, StartAt::TrimHorizon);
    let (mut found, mut reads) = (Vec::new(), 0);
    while found.is_empty() {
        let before = api.time.monotonic();
        let batch = stream.read(&shard(0), ReadFrom::Start, ALL).await.expect("no error: nothing is lost");
        assert!(!batch.at_tip || !batch.records.is_empty(), "what lies there is unknown");
        assert!(api.time.monotonic() - before <= Duration::from_secs(1), "a reader can stop between");
        found = batch.records;
        reads += 1;
        assert!(reads < 2_000);
    }
    let at = api.got_at.lock().unwrap().clone();
    let pauses: Vec<f64> = at.windows(2).map(|two| (two[1] - two[0]).as_secs_f64()).collect();
    assert_eq!(pauses.len(), 10);
    for (pause, bound) in pauses.into_iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]) {
        assert!((bound / 2.0..=bound).contains(&pause), "{pause} s, of {bound} s at most");
    }
    assert_eq!(*warnings.0.lock().unwrap(), 4, "after 1, 2, 4 and 8 failures");
    // A caller that asks for the tip gets an answer.
    *api.get_fails.lock().unwrap() = vec![ApiError::Key("key 1 is disabled".to_owned())];
    let told = stream.tip(&shard(0)).await.unwrap_err();
    assert!(matches!(&told, StreamError::Storage { cause, retry: true, .. } if cause.contains("key 1")), "{told}");
}

#[tokio::test]
async fn records_may_be_as_long_as_kinesis_allows() {
    let mut api = FakeKinesis::new(1, Faults::default(), 3);
    api.max_record_bytes = 10 << 20;
    let api = Arc::new(api);
    let longest = Bytes::from(vec![b'x'; (10 << 20) - 2]);
    api.append("U1", None, longest.clone());
    api.append("U1", None, "y");
    let (records, gaps, _) =
        read_on(&reader(&api, StartAt::TrimHorizon), 0, ReadFrom::Start, ReadLimit { records: 10, bytes: 1 }).await;
    assert_eq!((records.len(), gaps.len()), (2, 0));
    assert_eq!(records[0].payload, longest);
}
