//! Subscriptions over real connections: what the AWS SDK makes of event streams, and what the reader makes of that. Emulators neither end
//! a subscription at a reshard nor break one off; the server here does.

use crate::client::aws;
use crate::support::wire::{self, Answer, Next};
use crate::support::{ALL, ARN, FakeKinesis, Faults, fill, places, shard};
use authpulse_event::{Position, SequenceNumber, ShardId};
use authpulse_kinesis::api::{Api, ApiError, Event, IteratorAt};
use authpulse_kinesis::{Address, AwsKinesis, KinesisStream, StartAt, Time};
use authpulse_stream::{ReadFrom, ReadLimit, Record, Stream, StreamError};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How many times as fast as time the clock goes: a subscription lasts 6 seconds.
const TIMES: u32 = 50;

async fn kinesis(endpoint: &str) -> AwsKinesis {
    AwsKinesis::open(&aws(endpoint).await, &Address::parse(ARN).unwrap()).await.unwrap()
}

/// A Kinesis in memory behind a server on the wire.
async fn served(shards: u32, faults: Faults, seed: u64) -> (Arc<FakeKinesis>, Arc<AwsKinesis>) {
    let fake = Arc::new(FakeKinesis::new(shards, faults, seed).going(TIMES));
    let aws = Arc::new(kinesis(&wire::serve_api(fake.clone())).await);
    (fake, aws)
}

fn fan_out(fake: &FakeKinesis, aws: &Arc<AwsKinesis>) -> KinesisStream {
    KinesisStream::new(aws.clone(), fake.time.clone(), StartAt::TrimHorizon, "kinesis:auth", 5).with_fan_out("app")
}

/// Reads this many records, or to the end of the shard.
async fn read(stream: &KinesisStream, n: usize, mut from: ReadFrom, count: Option<usize>) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    while count.is_none_or(|count| records.len() < count) {
        match stream.read(&shard(n), from, ALL).await {
            Ok(batch) => {
                assert_eq!(batch.gap, None);
                from = batch.records.last().map_or(from, |last| ReadFrom::After(last.position));
                records.extend(batch.records);
                if batch.at_end {
                    break;
                }
            }
            Err(StreamError::Storage { retry: true, .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    records
}

#[tokio::test]
async fn every_record_comes_over_the_wire_across_a_split_and_a_merge() {
    for seed in 0..8 {
        let faults = Faults {
            no_polling: seed % 2 == 0,
            break_off: [0.0, 0.1][(seed / 2 % 2) as usize],
            refuse: [0.0, 0.2][(seed / 4 % 2) as usize],
            ..Faults::default()
        };
        let (fake, aws) = served(2, faults, seed).await;
        let stream = fan_out(&fake, &aws);
        let mut expected = fill(&fake, seed, 40);
        let first = |n: usize, all: &[(Position, Bytes)]| {
            let of = |p: &&(Position, Bytes)| {
                fake.stored().iter().any(|(s, r)| s.id == shard(n) && r.sequence == p.0.sequence)
            };
            all.iter().filter(of).cloned().collect::<Vec<_>>()
        };
        // One shard is being read while it is split: 0 -> 2, 3; then 3 and 1 -> 4.
        let begun = read(&stream, 0, ReadFrom::Start, Some(first(0, &expected).len())).await;
        assert_eq!(places(&begun), first(0, &expected), "seed {seed}");
        expected.extend(fill(&fake, seed + 100, 20));
        fake.split(0);
        expected.extend(fill(&fake, seed + 200, 20));
        fake.merge(3, 1);
        expected.extend(fill(&fake, seed + 300, 40));
        let from = begun.last().map_or(ReadFrom::Start, |last| ReadFrom::After(last.position));
        let rest = read(&stream, 0, from, None).await;
        assert_eq!([places(&begun), places(&rest)].concat(), first(0, &expected), "seed {seed}");
        for (n, ends) in [(1, true), (2, false), (3, true), (4, false)] {
            let all = first(n, &expected);
            let records = read(&stream, n, ReadFrom::Start, (!ends).then_some(all.len())).await;
            assert_eq!(places(&records), all, "seed {seed}, shard {n}");
        }
        if faults.no_polling {
            assert!(fake.subscriptions().iter().map(|s| s.records).sum::<usize>() >= fake.stored().len());
        }
    }
}

#[tokio::test]
async fn a_subscription_over_the_wire_is_renewed_before_it_ends() {
    let (fake, aws) = served(1, Faults { no_polling: true, ..Faults::default() }, 3).await;
    let stream = fan_out(&fake, &aws);
    let begun = fake.time.monotonic();
    let (mut from, mut count) = (ReadFrom::Start, 0);
    while fake.time.monotonic() - begun < Duration::from_secs(700) {
        let sequence = fake.append("U1", None, format!("{count}"));
        let records = read(&stream, 0, from, Some(1)).await;
        assert_eq!(records[0].position.sequence, sequence);
        (from, count) = (ReadFrom::After(records[0].position), count + 1);
        fake.time.sleep(Duration::from_secs(1)).await;
    }
    let all = fake.subscriptions();
    assert!((3..=4).contains(&all.len()), "{all:?}");
    assert!(all[1..].iter().all(|one| matches!(one.at, IteratorAt::After(_))), "{all:?}");
    assert!(count > 100 && all.iter().map(|one| one.records).sum::<usize>() >= count);
}

#[tokio::test]
async fn a_reader_that_does_not_read_stops_the_sender_over_the_wire() {
    const RECORDS: usize = 400;
    let (fake, aws) = served(2, Faults { no_polling: true, ..Faults::default() }, 3).await;
    let numbers: Vec<SequenceNumber> =
        (0..RECORDS).map(|_| fake.append("k", Some(0), Bytes::from(vec![7; 200_000]))).collect();
    let stream = fan_out(&fake, &aws);
    let one = ReadLimit { records: 1, bytes: 1 };
    let (mut from, mut read_first) = (ReadFrom::Start, 0);
    while read_first == 0 {
        let batch = stream.read(&shard(0), from, one).await.unwrap();
        read_first = batch.records.len();
        from = batch.records.last().map_or(from, |last| ReadFrom::After(last.position));
    }
    // Long enough for all records to arrive, if the reader took them. Another shard is read meanwhile, and goes on.
    let begun = fake.time.monotonic();
    while fake.time.monotonic() - begun < Duration::from_secs(100) {
        stream.read(&shard(1), ReadFrom::Start, ALL).await.unwrap();
    }
    let pulled: usize = fake.subscriptions().iter().map(|s| s.records).sum();
    assert!(pulled < RECORDS / 2, "{pulled} records of 200 kB were sent to somebody who read one");
    assert!(fake.subscriptions().iter().any(|s| s.shard == shard(1) && s.events > 0));
    let rest = read(&stream, 0, from, Some(RECORDS - 1)).await;
    let got: Vec<SequenceNumber> = rest.iter().map(|r| r.position.sequence).collect();
    assert_eq!(got, numbers[1..]);
}

/// Whether an error is the expected one.
type Is = fn(&ApiError) -> bool;

/// How an error in the middle of a subscription is understood.
#[tokio::test]
async fn each_exception_in_a_stream_is_understood() {
    let cases: [(&str, Is); 10] = [
        ("ResourceInUseException", |e| matches!(e, ApiError::InUse(_))),
        ("ResourceNotFoundException", |e| matches!(e, ApiError::NotFound(_))),
        ("KMSThrottlingException", |e| matches!(e, ApiError::Throttled(_))),
        ("KMSDisabledException", |e| matches!(e, ApiError::Unclear(_))),
        ("KMSInvalidStateException", |e| matches!(e, ApiError::Unclear(_))),
        ("KMSAccessDeniedException", |e| matches!(e, ApiError::Unclear(_))),
        ("KMSNotFoundException", |e| matches!(e, ApiError::Unclear(_))),
        ("KMSOptInRequired", |e| matches!(e, ApiError::Unclear(_))),
        ("InternalFailureException", |e| matches!(e, ApiError::Unclear(_))),
        ("SomethingNewException", |e| matches!(e, ApiError::Unclear(_))),
    ];
    for (code, is_right) in cases {
        let mut messages = vec![
            Next::Message(wire::exception(code)),
            // A message of an unknown kind is skipped.
            Next::Message(wire::event("SomethingNewEvent", &json!({}))),
            Next::Message(wire::told(&Event {
                continuation: Some(SequenceNumber::from(7)),
                behind: Duration::from_millis(1_500),
                ..Event::default()
            })),
        ];
        let messages = std::sync::Mutex::new(Some(move || messages.pop().unwrap_or(Next::End)));
        let endpoint = wire::start(move |operation, asked| {
            assert_eq!((operation, asked["ConsumerARN"].as_str()), ("subscribetoshard", Some("arn:app")));
            assert_eq!(asked["StartingPosition"], json!({"Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": "5"}));
            Answer::Stream(Box::new(messages.lock().unwrap().take().unwrap()))
        });
        let at = IteratorAt::After(SequenceNumber::from(5));
        let mut events = kinesis(&endpoint).await.subscribe("arn:app", &ShardId::new("s"), at).await.unwrap();
        let told = events.next().await.unwrap().unwrap();
        assert_eq!((told.continuation, told.behind), (Some(SequenceNumber::from(7)), Duration::from_millis(1_500)));
        let error = events.next().await.unwrap().unwrap_err();
        assert!(is_right(&error) && error.to_string().contains("told so"), "{code}: {error:?}");
    }
}

/// How an error at the beginning is understood, and how a consumer is described.
#[tokio::test]
async fn each_refusal_of_a_subscription_is_understood() {
    let cases: [(u16, &str, Is); 9] = [
        (400, "LimitExceededException", |e| matches!(e, ApiError::Throttled(_))),
        (400, "ResourceInUseException", |e| matches!(e, ApiError::InUse(_))),
        (400, "ResourceNotFoundException", |e| matches!(e, ApiError::NotFound(_))),
        (400, "InvalidArgumentException", |e| matches!(e, ApiError::InvalidArgument(_))),
        (400, "AccessDeniedException", |e| matches!(e, ApiError::Refused(_))),
        (400, "UnknownOperationException", |e| matches!(e, ApiError::Refused(_))),
        (400, "KMSDisabledException", |e| matches!(e, ApiError::Key(_))),
        (400, "KMSThrottlingException", |e| matches!(e, ApiError::Key(_))),
        (500, "InternalFailureException", |e| matches!(e, ApiError::Unclear(_))),
    ];
    for (status, code, is_right) in cases {
        let endpoint = wire::start(move |_, _| Answer::Json(status, json!({"__type": code, "message": "told so"})));
        let aws = kinesis(&endpoint).await;
        let error = aws.subscribe("arn:app", &ShardId::new("s"), IteratorAt::Oldest).await.err().unwrap();
        assert!(is_right(&error), "{code}: {error:?}");
        assert!(is_right(&aws.consumer("app").await.unwrap_err()), "{code}");
        assert!(is_right(&aws.register("app").await.unwrap_err()), "{code}");
    }
}
