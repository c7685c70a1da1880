//! Enhanced fan-out from a Kinesis that fails: with the same expectations as for polling; by subscriptions alone, and by both in turn.

use crate::support::{ALL, FakeKinesis, Faults, fill, live, places, read_on, seeds, shard};
use authpulse_event::{Position, SequenceNumber};
use authpulse_kinesis::api::{Api, IteratorAt};
use authpulse_kinesis::{Chance, KinesisStream, StartAt, Time};
use authpulse_stream::{Gap, ReadFrom, ReadLimit, Record, Stream, StreamError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const SUBSCRIPTIONS_ONLY: Faults = Faults {
    throttle: 0.0,
    unclear: 0.0,
    expire: 0.0,
    empty: 0.0,
    reshard: 0.0,
    reshards_most: 0,
    capacity: 0.0,
    stale_listings: 0,
    conceals: false,
    false_end: 0.0,
    refuse: 0.0,
    break_off: 0.0,
    half_end: 0.0,
    slow: 0.0,
    forbidden: false,
    mute: false,
    no_polling: true,
};

fn fake(shards: u32, faults: Faults, seed: u64) -> Arc<FakeKinesis> {
    Arc::new(FakeKinesis::new(shards, faults, seed))
}

fn polling(api: &Arc<FakeKinesis>) -> KinesisStream {
    KinesisStream::new(api.clone(), api.time.clone(), StartAt::TrimHorizon, "kinesis:auth", 5)
}

fn fan_out(api: &Arc<FakeKinesis>) -> KinesisStream {
    polling(api).with_fan_out("app")
}

/// Reads this many records. Each read takes time on the fake clock, so that pauses come to an end.
async fn read_n(stream: &KinesisStream, n: usize, mut from: ReadFrom, count: usize) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for _ in 0..100_000 {
        if records.len() >= count {
            return records;
        }
        match stream.read(&shard(n), from, ALL).await {
            Ok(batch) => {
                assert_eq!(batch.gap, None);
                from = batch.records.last().map_or(from, |last| ReadFrom::After(last.position));
                records.extend(batch.records);
            }
            Err(StreamError::Storage { retry: true, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("{} of {count} records came", records.len());
}

/// Registers the consumer, and waits until it is active.
async fn registered(api: &FakeKinesis) {
    api.register("app").await.unwrap();
    api.time.pass(Duration::from_secs(60));
}

#[tokio::test]
async fn every_record_is_read_once_and_in_order_by_either_way_in_turn() {
    for seed in 0..seeds() {
        let faults = Faults {
            throttle: [0.0, 0.2][(seed % 2) as usize],
            unclear: [0.0, 0.1, 0.2][(seed % 3) as usize],
            expire: [0.0, 0.2][(seed / 2 % 2) as usize],
            empty: [0.0, 0.5][(seed / 3 % 2) as usize],
            false_end: [0.0, 0.1][(seed / 4 % 2) as usize],
            refuse: [0.0, 0.3, 0.9][(seed / 2 % 3) as usize],
            break_off: [0.0, 0.2][(seed / 3 % 2) as usize],
            half_end: [0.0, 0.1][(seed / 5 % 2) as usize],
            slow: [0.0, 20.0][(seed / 2 % 2) as usize],
            ..Faults::default()
        };
        let api = fake(1, faults, seed);
        let mut expected = fill(&api, seed, 60);
        let chance = Chance::new(seed);
        let mut from = 0;
        for life in 0..8 {
            // Records come, and the shard ends, while it is read in one of the worker's lives.
            if life == 3 {
                expected.extend(fill(&api, seed + 1_000, 30));
            }
            let ended = life >= 5;
            if life == 5 {
                api.split(0);
            }
            let stream = if chance.next() < 0.7 { fan_out(&api) } else { polling(&api) };
            from = live(&stream, &expected, from, ended, &chance, &format!("seed {seed}, life {life}")).await;
        }
    }
}

/// With faults under which polling cannot make good what a subscription misses.
#[tokio::test]
async fn subscriptions_alone_bring_every_record_once_whatever_breaks_off() {
    for seed in 0..seeds() {
        let faults = Faults {
            refuse: [0.0, 0.3][(seed % 2) as usize],
            break_off: [0.0, 0.3][(seed / 2 % 2) as usize],
            throttle: [0.0, 0.2][(seed / 4 % 2) as usize],
            half_end: [0.0, 0.1][(seed / 3 % 2) as usize],
            ..SUBSCRIPTIONS_ONLY
        };
        let api = fake(1, faults, seed);
        let mut expected = fill(&api, seed, 60);
        let stream = fan_out(&api);
        let first = read_n(&stream, 0, ReadFrom::Start, expected.len()).await;
        assert_eq!(places(&first), expected, "seed {seed}");
        let more = fill(&api, seed + 1_000, 40);
        let from = ReadFrom::After(expected.last().unwrap().0);
        assert_eq!(places(&read_n(&stream, 0, from, more.len()).await), more, "seed {seed}");
        expected.extend(more);
        assert_eq!(api.calls("subscribed too soon"), 0, "seed {seed}: nobody gets into its own way");
        // The same from any position, as after a restart.
        let from = 1 + seed as usize % (expected.len() - 1);
        let at = ReadFrom::After(expected[from - 1].0);
        let rest = read_n(&fan_out(&api), 0, at, expected.len() - from).await;
        assert_eq!(places(&rest), expected[from..], "seed {seed}, from {from}");
    }
}

#[tokio::test]
async fn a_subscription_is_renewed_before_it_ends_and_goes_on_where_it_was() {
    let api = fake(1, SUBSCRIPTIONS_ONLY, 7);
    registered(&api).await;
    let stream = fan_out(&api);
    let (mut from, mut count) = (ReadFrom::Start, 0);
    let begun = api.time.monotonic();
    while api.time.monotonic() - begun < Duration::from_secs(1_500) {
        let sequence = api.append("U1", None, format!("{count}"));
        let records = read_n(&stream, 0, from, 1).await;
        assert_eq!(records[0].position.sequence, sequence);
        (from, count) = (ReadFrom::After(records[0].position), count + 1);
        api.time.pass(Duration::from_secs(3));
    }
    let all = api.subscriptions();
    assert!((5..=7).contains(&all.len()), "{all:?}");
    for pair in all.windows(2) {
        let lasted = (pair[1].made - pair[0].made).as_secs();
        assert!((280..300).contains(&lasted), "{lasted} s");
        assert!(matches!(pair[1].at, IteratorAt::After(_)), "{:?}", pair[1]);
    }
    assert_eq!(all.iter().map(|one| one.records).sum::<usize>(), count, "each record came once");
    assert_eq!((api.calls("subscribed too soon"), api.calls("register")), (0, 1));
}

#[tokio::test]
async fn the_continuation_number_grows_where_nothing_comes() {
    let api = fake(2, SUBSCRIPTIONS_ONLY, 7);
    registered(&api).await;
    let stream = fan_out(&api);
    let begun = api.time.monotonic();
    let key = (0..).map(|n| format!("U{n}")).find(|key| {
        api.append(key, None, "x");
        api.stored().last().unwrap().0.id == shard(1)
    });
    while api.time.monotonic() - begun < Duration::from_secs(1_300) {
        api.append(key.as_deref().unwrap(), None, "elsewhere");
        stream.read(&shard(0), ReadFrom::Start, ALL).await.unwrap();
        api.time.pass(Duration::from_secs(2));
    }
    let mine: Vec<IteratorAt> = api.subscriptions().iter().filter(|s| s.shard == shard(0)).map(|s| s.at).collect();
    let after = |at: &IteratorAt| match at {
        IteratorAt::After(sequence) => Some(*sequence),
        _ => None,
    };
    let numbers: Vec<SequenceNumber> = mine.iter().filter_map(after).collect();
    assert!(numbers.len() >= 3 && numbers.windows(2).all(|pair| pair[0] < pair[1]), "{mine:?}");
}

#[tokio::test]
async fn what_is_refused_is_polled_meanwhile_and_tried_again() {
    let api = fake(1, Faults { refuse: 1.0, ..Faults::default() }, 7);
    registered(&api).await;
    let mut expected = fill(&api, 7, 30);
    let stream = fan_out(&api);
    let begun = api.time.monotonic();
    assert_eq!(places(&read_n(&stream, 0, ReadFrom::Start, expected.len()).await), expected);
    assert!(api.time.monotonic() - begun < Duration::from_secs(10), "nobody waits for a subscription");
    let last = || ReadFrom::After(expected.last().unwrap().0);
    while api.time.monotonic() - begun < Duration::from_secs(600) {
        stream.read(&shard(0), last(), ALL).await.unwrap();
    }
    let tries = api.calls("subscribe");
    assert!((10..=60).contains(&tries), "{tries} in ten minutes, with pauses of up to one");
    assert!(api.subscriptions().is_empty());
    // Then subscribing works, and polling is no longer needed.
    *api.faults.lock().unwrap() = SUBSCRIPTIONS_ONLY;
    let more = fill(&api, 8, 30);
    assert_eq!(places(&read_n(&stream, 0, last(), more.len()).await), more);
    assert_eq!(api.subscriptions().iter().map(|s| s.records).sum::<usize>(), 30);
    expected.extend(more);
}

#[tokio::test]
async fn a_subscription_of_a_moment_ago_is_waited_for_with_polling() {
    let api = fake(1, Faults::default(), 7);
    registered(&api).await;
    let expected = fill(&api, 7, 50);
    // One worker was killed just now, and another takes over.
    let first = fan_out(&api);
    read_n(&first, 0, ReadFrom::Start, 1).await;
    while api.subscriptions().is_empty() {
        first.read(&shard(0), ReadFrom::Start, ALL).await.unwrap();
    }
    let second = fan_out(&api);
    let (records, ..) = read_on(&second, 0, ReadFrom::Start, ALL).await;
    assert_eq!(places(&records), expected);
    assert_eq!(api.calls("subscribed too soon"), 1);
    // It gets its subscription, and that of the other ends: both go on and read everything.
    let from = ReadFrom::After(expected.last().unwrap().0);
    while api.subscriptions().len() < 2 {
        second.read(&shard(0), from, ALL).await.unwrap();
    }
    let more = fill(&api, 8, 50);
    for stream in [&first, &second] {
        assert_eq!(places(&read_n(stream, 0, from, more.len()).await), more);
    }
}

#[tokio::test]
async fn a_consumer_is_registered_once_used_again_and_made_anew_if_it_is_gone() {
    let api = fake(4, SUBSCRIPTIONS_ONLY, 7);
    let stream = fan_out(&api);
    stream.register().await.unwrap();
    let expected = fill(&api, 7, 200);
    let all = |n: usize| {
        let of = |p: &Position| api.stored().iter().any(|(s, r)| s.id == shard(n) && r.sequence == p.sequence);
        expected.iter().filter(|(p, _)| of(p)).cloned().collect::<Vec<_>>()
    };
    for n in 0..4 {
        assert_eq!(places(&read_n(&stream, n, ReadFrom::Start, all(n).len()).await), all(n));
        assert_eq!(places(&read_n(&fan_out(&api), n, ReadFrom::Start, all(n).len()).await), all(n));
    }
    assert_eq!(api.calls("register"), 1);
    api.deregister("app");
    let busiest = (0..4).max_by_key(|n| all(*n).len()).unwrap();
    let before = all(busiest);
    let newer = fill(&api, 8, 200);
    let of = |p: &Position| api.stored().iter().any(|(s, r)| s.id == shard(busiest) && r.sequence == p.sequence);
    let newer: Vec<_> = newer.into_iter().filter(|(p, _)| of(p)).collect();
    let from = ReadFrom::After(before.last().unwrap().0);
    assert_eq!(places(&read_n(&stream, busiest, from, newer.len()).await), newer);
    assert_eq!(api.calls("register"), 2);
}

#[tokio::test]
async fn whoever_does_not_read_stops_the_sender() {
    let api = fake(2, SUBSCRIPTIONS_ONLY, 7);
    registered(&api).await;
    // All records are on the first shard.
    let numbers: Vec<SequenceNumber> = (0..1_000).map(|n| api.append("k", Some(0), format!("{n}"))).collect();
    let stream = fan_out(&api);
    let one = ReadLimit { records: 1, bytes: 1 };
    let mut from = ReadFrom::Start;
    let mut read = 0;
    while read < 200 {
        let batch = stream.read(&shard(0), from, one).await.unwrap();
        read += batch.records.len();
        from = batch.records.last().map_or(from, |last| ReadFrom::After(last.position));
        let pulled: usize = api.subscriptions().iter().map(|s| s.records).sum();
        assert!(pulled <= read + 20, "at most one event is at hand: {pulled} pulled, {read} read");
    }
    // A shard that waits: nothing is pulled, however long it takes, and other shards go on.
    let pulled = |n| -> usize { api.subscriptions().iter().filter(|s| s.shard == shard(n)).map(|s| s.events).sum() };
    let before = pulled(0);
    for _ in 0..30 {
        api.time.pass(Duration::from_secs(1));
        stream.read(&shard(1), ReadFrom::Start, ALL).await.unwrap();
    }
    assert_eq!(pulled(0), before);
    assert!(pulled(1) > 0);
    // Its subscription was given up meanwhile. A new one goes on after what was pulled.
    let subscriptions = |n| api.subscriptions().into_iter().filter(|s| s.shard == shard(n)).collect::<Vec<_>>();
    assert_eq!(subscriptions(0).len(), 1);
    let rest = read_n(&stream, 0, from, 800).await;
    let got: Vec<SequenceNumber> = rest.iter().map(|r| r.position.sequence).collect();
    assert_eq!(got, numbers[200..]);
    assert_eq!(subscriptions(0).len(), 2);
    assert_eq!(subscriptions(0).iter().map(|s| s.records).sum::<usize>(), 1_000, "nothing came twice");
}

#[tokio::test]
async fn what_retention_took_is_told_as_a_gap_by_subscriptions_too() {
    for faults in [SUBSCRIPTIONS_ONLY, Faults::default()] {
        let api = fake(1, faults, 4);
        registered(&api).await;
        let numbers: Vec<SequenceNumber> = (0..10).map(|n| api.append("U1", None, format!("{n}"))).collect();
        let after = |n: usize| ReadFrom::After(Position { sequence: numbers[n], sub_sequence: 0 });
        api.trim(0, 4);
        // The record itself is still there, so nothing is missing.
        assert_eq!(read_n(&fan_out(&api), 0, after(4), 5).await.len(), 5);
        api.time.pass(Duration::from_secs(5));
        let stream = fan_out(&api);
        let (mut from, mut gaps, mut records) = (after(1), Vec::new(), 0);
        while records < 6 {
            let batch = stream.read(&shard(0), from, ALL).await.unwrap();
            gaps.extend(batch.gap);
            records += batch.records.len();
            from = batch.records.last().map_or(from, |last| ReadFrom::After(last.position));
        }
        assert_eq!((records, gaps), (6, vec![Gap { records: None }]));
    }
    // Everything is gone: a read that reaches the tip reports it.
    let api = fake(1, Faults::default(), 4);
    registered(&api).await;
    let sequence = api.append("U1", None, "x");
    api.trim(0, 1);
    let stream = fan_out(&api);
    let after = ReadFrom::After(Position { sequence, sub_sequence: 0 });
    for _ in 0..20 {
        let batch = stream.read(&shard(0), after, ALL).await.unwrap();
        assert_eq!(batch.gap.is_some(), batch.at_tip);
    }
    api.append("U1", None, "new");
    let (records, gaps, _) = read_on(&stream, 0, after, ALL).await;
    assert_eq!((records.len(), gaps.len()), (1, 1));
}

#[tokio::test]
async fn shards_end_with_their_children_across_splits_and_merges() {
    for seed in 0..seeds().min(50) {
        let faults = Faults { break_off: [0.0, 0.2][(seed % 2) as usize], ..SUBSCRIPTIONS_ONLY };
        let api = fake(2, faults, seed);
        registered(&api).await;
        let stream = fan_out(&api);
        let mut expected = fill(&api, seed, 30);
        // 0 -> 2, 3; then 3 and 1 -> 4; a shard without records is split at once: 4 -> 5, 6.
        api.split(0);
        expected.extend(fill(&api, seed + 1, 30));
        api.merge(3, 1);
        api.split(4);
        expected.extend(fill(&api, seed + 2, 30));
        let ends = [(0, true), (1, true), (2, false), (3, true), (4, true), (5, false), (6, false)];
        let mut found = BTreeMap::new();
        for (n, ends) in ends {
            let count = |api: &FakeKinesis| {
                let of = |p: &&(Position, bytes::Bytes)| {
                    api.stored().iter().any(|(s, r)| s.id == shard(n) && r.sequence == p.0.sequence)
                };
                expected.iter().filter(of).count()
            };
            let records = read_n(&stream, n, ReadFrom::Start, count(&api)).await;
            let from = records.last().map_or(ReadFrom::Start, |last| ReadFrom::After(last.position));
            found.extend(records.into_iter().map(|r| (r.position, r.payload)));
            if ends {
                let mut reads = 0;
                while !stream.read(&shard(n), from, ALL).await.unwrap().at_end {
                    reads += 1;
                    assert!(reads < 10_000, "shard {n} ends");
                }
            }
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "seed {seed}");
    }
}

#[tokio::test]
async fn a_quiet_shard_knows_its_tip_for_one_call_a_second() {
    let api = fake(1, Faults::default(), 7);
    registered(&api).await;
    let expected = fill(&api, 7, 30);
    let stream = fan_out(&api);
    let from = ReadFrom::After(expected.last().unwrap().0);
    read_on(&stream, 0, ReadFrom::Start, ALL).await;
    let (gets, begun) = (api.calls("get"), api.time.monotonic());
    let mut tips = 0;
    while api.time.monotonic() - begun < Duration::from_secs(100) {
        let now = api.time.now();
        let batch = stream.read(&shard(0), from, ALL).await.unwrap();
        assert!(batch.records.is_empty() && batch.clock >= Some(now));
        tips += u64::from(batch.at_tip);
    }
    let gets = api.calls("get") - gets;
    assert!((90..=101).contains(&gets) && tips >= 90, "{gets} calls, {tips} tips");
    assert_eq!(api.subscriptions().len(), 1);
}

/// To be at the tip means that nothing was there when the read began. An event that was on its way at that time does not say so.
#[tokio::test]
async fn a_subscription_alone_never_claims_the_tip() {
    let api = fake(1, SUBSCRIPTIONS_ONLY, 7);
    registered(&api).await;
    let expected = fill(&api, 7, 30);
    let stream = fan_out(&api);
    read_n(&stream, 0, ReadFrom::Start, expected.len()).await;
    for _ in 0..100 {
        let batch = stream.read(&shard(0), ReadFrom::After(expected.last().unwrap().0), ALL).await.unwrap();
        assert!(!batch.at_tip);
    }
}

#[tokio::test]
async fn a_silent_subscription_is_given_up() {
    let api = fake(1, Faults { mute: true, ..Faults::default() }, 7);
    registered(&api).await;
    let mut from = ReadFrom::Start;
    let stream = fan_out(&api);
    let begun = api.time.monotonic();
    while api.time.monotonic() - begun < Duration::from_secs(100) {
        let batch = stream.read(&shard(0), from, ALL).await.unwrap();
        from = batch.records.last().map_or(from, |last| ReadFrom::After(last.position));
    }
    assert!(api.subscriptions().len() >= 2, "{:?}", api.subscriptions());
    *api.faults.lock().unwrap() = SUBSCRIPTIONS_ONLY;
    let expected = fill(&api, 7, 30);
    assert_eq!(places(&read_n(&stream, 0, from, expected.len()).await), expected);
}

#[tokio::test]
async fn there_are_so_many_subscriptions_at_once_and_the_rest_is_polled() {
    let api = fake(100, Faults::default(), 7);
    registered(&api).await;
    let stream = fan_out(&api);
    let expected = fill(&api, 7, 400);
    let mut found = BTreeMap::new();
    let mut most = 0;
    for _ in 0..6 {
        for n in 0..100 {
            let batch = stream.read(&shard(n), ReadFrom::Start, ALL).await.unwrap();
            found.extend(batch.records.into_iter().map(|r| (r.position, r.payload)));
        }
        most = most.max(api.live());
    }
    assert_eq!(most, 64);
    for n in 0..100 {
        let (records, ..) = read_on(&stream, n, ReadFrom::Start, ALL).await;
        found.extend(records.into_iter().map(|r| (r.position, r.payload)));
    }
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn what_is_not_allowed_ends_the_read_and_is_named() {
    let api = fake(1, Faults { forbidden: true, ..Faults::default() }, 7);
    registered(&api).await;
    let stream = fan_out(&api);
    let error = loop {
        if let Err(error) = stream.read(&shard(0), ReadFrom::Start, ALL).await {
            break error;
        }
    };
    assert!(matches!(&error, StreamError::Storage { retry: false, .. }), "{error}");
    assert!(error.to_string().contains("kinesis:SubscribeToShard"), "{error}");
    assert!(matches!(stream.read(&shard(9), ReadFrom::Start, ALL).await, Err(StreamError::NotFound { .. })));
}
