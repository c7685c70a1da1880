//! What each answer of Kinesis and DynamoDB leads to, and what no answer leads to: over real connections to a server that answers as the
//! test wants.

use crate::client::aws;
use crate::server::{Reply, Request, Server};
use async_trait::async_trait;
use authpulse_event::{ArrivalTime, HashRange, Position, SequenceNumber, ShardId, Span};
use authpulse_kinesis::api::{Api, ApiError, Entry, IteratorAt, Put};
use authpulse_kinesis::{Address, AwsKinesis, Control, DynamoDbLeases, NewStream, Time};
use authpulse_lease::{Checkpoint, Lease, LeaseStore};
use authpulse_stream::{ReadBatch, ReadFrom, ReadLimit, ShardDescription, Stream, StreamDescription, StreamError};
use std::sync::Arc;

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/auth";

async fn kinesis(server: &Server) -> AwsKinesis {
    AwsKinesis::open(&aws(&server.endpoint).await, &Address::parse(ARN).unwrap()).await.unwrap()
}

fn say(body: impl Into<String>) -> Reply {
    Reply::Say(200, vec![("content-type", "application/x-amz-json-1.1".to_owned())], body.into())
}

fn entry(key: &str) -> Entry {
    Entry { partition_key: key.to_owned(), explicit_hash_key: None, data: "x".into() }
}

#[tokio::test]
async fn an_answer_tells_of_each_entry_and_no_call_is_repeated_unseen() {
    let server = Server::start(|all: &[Request]| match all.len() {
        1 => say(r#"{"FailedRecordCount":2,"Records":[
                {"SequenceNumber":"49590338271490256608559692538361571095921575989136588898","ShardId":"shardId-000000000001"},
                {"ErrorCode":"ProvisionedThroughputExceededException","ErrorMessage":"slow down"},
                {"ErrorCode":"InternalFailure","ErrorMessage":"Internal service failure."}]}"#),
        2 => Reply::json(400, "ProvisionedThroughputExceededException"),
        3 => Reply::json(500, "InternalFailure"),
        4 => Reply::HangUp,
        5 => Reply::json(400, "AccessDeniedException"),
        6 => Reply::json(400, "KMSDisabledException"),
        7 => Reply::json(400, "KMSThrottlingException"),
        _ => say(r#"{"FailedRecordCount":0,"Records":[]}"#),
    });
    let kinesis = kinesis(&server).await;
    let entries = [entry("a"), entry("b"), entry("c")];
    let puts = kinesis.put(&entries).await.unwrap();
    let sequence: SequenceNumber = "49590338271490256608559692538361571095921575989136588898".parse().unwrap();
    assert_eq!(puts[0], Put::Stored { shard: ShardId::new("shardId-000000000001"), sequence });
    assert_eq!(puts[1], Put::Throttled);
    assert!(matches!(&puts[2], Put::Failed(text) if text.contains("InternalFailure")), "{puts:?}");
    assert!(matches!(kinesis.put(&entries).await, Err(ApiError::Throttled(_))));
    assert!(matches!(kinesis.put(&entries).await, Err(ApiError::Unclear(_))));
    assert!(matches!(kinesis.put(&entries).await, Err(ApiError::Unclear(_))));
    let denied = kinesis.put(&entries).await;
    assert!(matches!(&denied, Err(ApiError::Refused(text)) if text.contains("kinesis:PutRecords")), "{denied:?}");
    assert!(matches!(kinesis.put(&entries).await, Err(ApiError::Key(_))), "somebody may enable the key again");
    assert!(matches!(kinesis.put(&entries).await, Err(ApiError::Throttled(_))));
    assert!(matches!(kinesis.put(&entries).await, Err(ApiError::Unclear(_))), "fewer results than entries");
    assert_eq!(server.operations(), vec!["PutRecords"; 8]);
}

#[tokio::test]
async fn iterators_and_records_are_understood() {
    let server = Server::start(|all: &[Request]| match all.len() {
        1 => say(r#"{"ShardIterator":"one"}"#),
        2 => say(
            r#"{"Records":[{"SequenceNumber":"7","ApproximateArrivalTimestamp":1800000000.123,"Data":"eA==","PartitionKey":"U1"}],
                "NextShardIterator":"two","MillisBehindLatest":1500}"#,
        ),
        3 => say(r#"{"Records":[],"MillisBehindLatest":0,"ChildShards":[{"ShardId":"shardId-000000000002",
                "ParentShards":["shardId-000000000001"],"HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"}}]}"#),
        4 => Reply::json(400, "ExpiredIteratorException"),
        5 => Reply::json(400, "InvalidArgumentException"),
        6 => Reply::json(400, "ResourceNotFoundException"),
        _ => Reply::json(400, "LimitExceededException"),
    });
    let kinesis = kinesis(&server).await;
    let shard = ShardId::new("shardId-000000000001");
    assert_eq!(kinesis.iterator(&shard, IteratorAt::Oldest).await.unwrap(), "one");
    let page = kinesis.get("one", 10_000).await.unwrap();
    assert_eq!(
        (page.records[0].arrival, &page.records[0].data[..]),
        (ArrivalTime::from_micros(1_800_000_000_123_000), &b"x"[..])
    );
    assert_eq!((page.next.as_deref(), page.behind.as_millis(), page.has_children), (Some("two"), 1_500, false));
    let page = kinesis.get("two", 10_000).await.unwrap();
    assert_eq!((page.next, page.has_children), (None, true));
    assert_eq!(kinesis.get("two", 10_000).await, Err(ApiError::ExpiredIterator));
    assert!(matches!(kinesis.iterator(&shard, IteratorAt::After(7.into())).await, Err(ApiError::InvalidArgument(_))));
    let gone = kinesis.get("two", 10_000).await;
    assert!(matches!(&gone, Err(ApiError::NotFound(text)) if text.contains("authpulse stream create")), "{gone:?}");
    assert!(matches!(kinesis.shards().await, Err(ApiError::Throttled(_))));
}

/// With a clock that is ahead, what arrives next would be late, and `--start latest` would pass over what arrives meanwhile.
#[tokio::test]
async fn the_time_of_day_is_that_of_kinesis() {
    let server = Server::start(|all: &[Request]| {
        let date = ["Sun, 06 Nov 1994 08:49:37 GMT", "some time", "Fri, 31 Dec 2100 23:59:59 GMT"][all.len() - 1];
        let headers = vec![("content-type", "application/x-amz-json-1.1".to_owned()), ("date", date.to_owned())];
        Reply::Say(200, headers, r#"{"ShardIterator":"one"}"#.to_owned())
    });
    let kinesis = kinesis(&server).await;
    let times = kinesis.times();
    assert!(
        (1_700_000_000_000_000..4_000_000_000_000_000).contains(&times.now().micros()),
        "the host's until there is an answer"
    );
    for second in [784_111_777, 784_111_777, 4_133_980_799] {
        kinesis.iterator(&ShardId::new("shardId-000000000001"), IteratorAt::Oldest).await.unwrap();
        let since = times.now().micros() - second * 1_000_000;
        assert!((0..60_000_000).contains(&since), "{since} microseconds after it was {second}");
    }
}

#[tokio::test]
async fn shards_come_in_pages_and_an_expired_page_begins_anew() {
    let shard = |n: u32, more: &str| {
        format!(
            r#"{{"ShardId":"shardId-{n:012}","HashKeyRange":{{"StartingHashKey":"0","EndingHashKey":"340282366920938463463374607431768211455"}},
                "SequenceNumberRange":{{"StartingSequenceNumber":"1"{more}}}}}"#
        )
    };
    let closed = shard(0, r#","EndingSequenceNumber":"9""#);
    let child = shard(1, "").replacen("{", r#"{"ParentShardId":"shardId-000000000000","#, 1);
    let server = Server::start(move |all: &[Request]| match all.len() {
        1 | 3 => say(format!(r#"{{"Shards":[{closed}],"NextToken":"more"}}"#)),
        2 => Reply::json(400, "ExpiredNextTokenException"),
        _ => say(format!(r#"{{"Shards":[{child}]}}"#)),
    });
    let shards = kinesis(&server).await.shards().await.unwrap();
    let described = |n: u32, parents: Vec<ShardId>, closed| ShardDescription {
        id: ShardId::new(format!("shardId-{n:012}")),
        range: HashRange::FULL,
        parents,
        closed,
    };
    assert_eq!(shards, [described(0, vec![], true), described(1, vec![ShardId::new("shardId-000000000000")], false)]);
}

/// A stream of one shard that was split.
struct Split;

#[async_trait]
impl Stream for Split {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        Ok(StreamDescription {
            name: ARN.to_owned(),
            created: ArrivalTime::from_micros(5),
            retention: Span::from_micros(1),
            closed: false,
        })
    }
    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        let shard = |n: u32, parents: &[&str]| ShardDescription {
            id: ShardId::new(format!("shard-{n}")),
            range: HashRange::FULL,
            parents: parents.iter().map(ShardId::new).collect(),
            closed: parents.is_empty(),
        };
        Ok(vec![shard(0, &[]), shard(1, &["shard-0"]), shard(2, &["shard-0"])])
    }
    async fn read(&self, _: &ShardId, _: ReadFrom, _: ReadLimit) -> Result<ReadBatch, StreamError> {
        Ok(ReadBatch::default())
    }
    async fn tip(&self, _: &ShardId) -> Result<Position, StreamError> {
        Ok(Position::START)
    }
}

fn key(shard: u32) -> String {
    format!("shard-{shard}@{ARN}.5")
}

/// Opens leases: the table is active and has no leader. The script answers what follows.
async fn leases(script: impl Fn(usize) -> Reply + Send + Sync + 'static) -> (Server, DynamoDbLeases) {
    let server = Server::start(move |all: &[Request]| {
        let operation = all.last().map(Request::operation).unwrap_or_default();
        match (all.len(), operation.as_str()) {
            (1, "DescribeTable") => {
                say(r#"{"Table":{"TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"leaseKey","KeyType":"HASH"}]}}"#)
            }
            (2, _) => say("{}"),
            (3, _) => Reply::json(400, "ResourceNotFoundException"),
            (n, _) => script(n - 3),
        }
    });
    let stream = Arc::new(Split);
    let description = stream.describe().await.unwrap();
    let leases = DynamoDbLeases::open(&aws(&server.endpoint).await, "some-app", &description, stream).await;
    let leases = leases.unwrap_or_else(|error| panic!("{error}"));
    (server, leases)
}

fn item(counter: u32, more: &str) -> String {
    format!(r#"{{"leaseKey":{{"S":"shard-0"}},"leaseCounter":{{"N":"{counter}"}}{more}}}"#)
}

fn found(counter: u32, more: &str) -> Reply {
    say(format!(r#"{{"Item":{}}}"#, item(counter, more)))
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_looked_up() {
    let mine = || Lease { owner: Some("me".to_owned()), counter: 7, ..Lease::new(key(0)) };
    for (reply, expected) in [
        ((|| found(8, r#","leaseOwner":{"S":"me"}"#)) as fn() -> Reply, Some(true)),
        (|| found(8, r#","leaseOwner":{"S":"you"}"#), Some(false)),
        (|| found(9, r#","leaseOwner":{"S":"me"}"#), Some(false)),
        (|| say("{}"), Some(false)),
        // As far as can be seen, nothing happened: the outcome is unknown.
        (|| found(7, r#","leaseOwner":{"S":"you"}"#), None),
    ] {
        let (server, leases) = leases(move |n| if n == 1 { Reply::HangUp } else { reply() }).await;
        assert_eq!(leases.update(&mine()).await.ok(), expected);
        assert_eq!(server.operations()[3..], ["UpdateItem", "GetItem"], "one write, never repeated unseen");
    }
    let (server, leases) = leases(|_| Reply::json(400, "ConditionalCheckFailedException")).await;
    assert!(!leases.update(&mine()).await.unwrap());
    assert_eq!(server.operations()[3..], ["UpdateItem"]);
}

#[tokio::test]
async fn an_end_comes_after_the_leases_of_the_children() {
    let (server, leases) =
        leases(|n| if n == 2 { Reply::json(400, "ConditionalCheckFailedException") } else { say("{}") }).await;
    let ended = Lease { ended: true, counter: 3, ..Lease::new(key(0)) };
    assert!(leases.update(&ended).await.unwrap());
    assert_eq!(server.operations()[3..], ["PutItem", "PutItem", "UpdateItem"], "also where one is there already");
}

#[tokio::test]
async fn what_is_no_lease_is_passed_over_and_owners_are_those_of_the_kcl() {
    let (_server, leases) = leases(|_| {
        let items = [
            item(4, r#","leaseOwner":{"S":"w1"},"checkpoint":{"S":"4968"},"checkpointSubSequenceNumber":{"N":"6"}"#),
            item(5, r#","leaseOwner":{"S":"next"},"checkpointOwner":{"S":"w1"},"checkpoint":{"S":"TRIM_HORIZON"}"#)
                .replace("shard-0", "shard-1"),
            item(6, r#","checkpoint":{"S":"SHARD_END"},"entityType":{"S":"LEASE"}"#).replace("shard-0", "shard-2"),
            r#"{"leaseKey":{"S":"Leader"},"entityType":{"S":"LEADER"},"ownerName":{"S":"w8"}}"#.to_owned(),
            r#"{"leaseKey":{"S":"w8"},"entityType":{"S":"WORKER_METRIC_STATS"},"lut":{"N":"1"},"leaseCounter":{"N":"1"}}"#.to_owned(),
            r#"{"leaseKey":{"S":"odd"}}"#.to_owned(),
        ];
        say(format!(r#"{{"Items":[{}]}}"#, items.join(",")))
    })
    .await;
    let w1 = || Some("w1".to_owned());
    let at = Checkpoint { sequence: "4968".to_owned(), sub_sequence: 6 };
    assert_eq!(
        leases.list().await.unwrap(),
        [
            Lease { owner: w1(), counter: 4, checkpoint: Some(at), ..Lease::new(key(0)) },
            Lease { owner: w1(), next_owner: Some("next".to_owned()), counter: 5, ..Lease::new(key(1)) },
            Lease { counter: 6, ended: true, ..Lease::new(key(2)) },
        ]
    );
    assert!(leases.get("shard-0@another.stream").await.is_err());
}

#[tokio::test]
async fn a_lease_is_removed_only_as_it_was_seen() {
    let (server, leases) = leases(|n| match n {
        1 => say("{}"),
        2 => Reply::json(400, "ConditionalCheckFailedException"),
        // Three lost answers: the lease is gone; it is as before; it has changed.
        3 | 5 | 7 => Reply::HangUp,
        4 => say("{}"),
        6 => found(7, ""),
        _ => found(8, ""),
    })
    .await;
    let seen = Lease { counter: 7, ..Lease::new(key(0)) };
    assert!(leases.remove(&seen).await.unwrap());
    assert!(!leases.remove(&seen).await.unwrap());
    assert!(leases.remove(&seen).await.unwrap());
    assert!(leases.remove(&seen).await.is_err(), "whether it happens yet is unknown");
    assert!(!leases.remove(&seen).await.unwrap());
    let operations = server.operations();
    let expected =
        ["DeleteItem", "DeleteItem", "DeleteItem", "GetItem", "DeleteItem", "GetItem", "DeleteItem", "GetItem"];
    assert_eq!(operations[3..], expected, "no write is repeated unseen");
    let sent = server.seen.lock().unwrap()[3].body.clone();
    assert!(sent.contains("#counter = :known") && sent.contains(r#"":known":{"N":"7"}"#), "{sent}");
}

/// KCL 3.0 to 3.4 keep the leader's lock in a table beside that of the leases. If it cannot be read, leases are not opened, except under
/// policies that are older than that table.
#[tokio::test]
async fn a_leader_of_an_earlier_kcl_3_is_looked_for_in_its_own_table() {
    let open = async |answer: fn(usize) -> Reply| {
        let server = Server::start(move |all: &[Request]| {
            let last = all.last().expect("a request came");
            match last.operation().as_str() {
                "DescribeTable" => say(
                    r#"{"Table":{"TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"leaseKey","KeyType":"HASH"}]}}"#,
                ),
                "GetItem" if last.body.contains("some-app-CoordinatorState") => answer(all.len()),
                _ => say("{}"),
            }
        });
        let stream = Arc::new(Split);
        let description = stream.describe().await.unwrap();
        DynamoDbLeases::open(&aws(&server.endpoint).await, "some-app", &description, stream)
            .await
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    // Its record has another version at each look, so it lives.
    let living = open(|n| {
        say(format!(
            r#"{{"Item":{{"key":{{"S":"Leader"}},"ownerName":{{"S":"w7"}},"recordVersionNumber":{{"S":"{n}"}}}}}}"#
        ))
    });
    let refused = living.await.unwrap_err();
    assert!(refused.contains("w7") && refused.contains("stop the KCL application first"), "{refused}");
    assert_eq!(open(|_| Reply::json(400, "ResourceNotFoundException")).await, Ok(()));
    assert_eq!(open(|_| Reply::json(400, "AccessDeniedException")).await, Ok(()));
    let unknown = open(|_| Reply::json(400, "ValidationException")).await.unwrap_err();
    assert!(unknown.contains("looking for a KCL"), "{unknown}");
}

#[tokio::test]
async fn an_operator_makes_no_table() {
    let server = Server::start(|_: &[Request]| Reply::json(400, "ResourceNotFoundException"));
    let stream = Arc::new(Split);
    let description = stream.describe().await.unwrap();
    let looked = DynamoDbLeases::look(&aws(&server.endpoint).await, "some-app", &description, stream).await;
    let told = looked.err().unwrap().to_string();
    assert!(told.contains("some-app") && told.contains("no worker of this --app has run yet"), "{told}");
    assert_eq!(server.operations(), ["DescribeTable"]);
}

/// How the reader has to understand each error of GetRecords.
#[tokio::test]
async fn every_error_of_a_read_is_what_the_reader_makes_of_it() {
    type Is = fn(&ApiError) -> bool;
    let throttled: Is = |error| matches!(error, ApiError::Throttled(_));
    let unclear: Is = |error| matches!(error, ApiError::Unclear(_));
    let refused: Is = |error| matches!(error, ApiError::Refused(_));
    let key: Is = |error| matches!(error, ApiError::Key(_));
    for (status, code, is, named) in [
        (400, "ProvisionedThroughputExceededException", throttled, "told so"),
        (400, "LimitExceededException", throttled, "told so"),
        (400, "ExpiredIteratorException", (|error| *error == ApiError::ExpiredIterator) as Is, "has expired"),
        (400, "InvalidArgumentException", |error| matches!(error, ApiError::InvalidArgument(_)), "told so"),
        (400, "ResourceNotFoundException", |error| matches!(error, ApiError::NotFound(_)), "no such stream or shard"),
        (400, "ResourceInUseException", |error| matches!(error, ApiError::InUse(_)), "told so"),
        (400, "AccessDeniedException", refused, "kinesis:GetRecords"),
        (500, "InternalFailure", unclear, "told so"),
        (500, "InternalFailureException", unclear, "told so"),
        (503, "", unclear, "503"),
        (400, "KMSThrottlingException", key, "a quota of KMS"),
        (400, "KMSDisabledException", key, "check that it exists, is enabled"),
        (400, "KMSInvalidStateException", key, "check that it exists, is enabled"),
        (400, "KMSNotFoundException", key, "check that it exists, is enabled"),
        (400, "KMSOptInRequired", key, "KMSOptInRequired"),
        (400, "KMSAccessDeniedException", key, "kms:Decrypt"),
    ] {
        let server = Server::start(move |_: &[Request]| Reply::json(status, code));
        let error = kinesis(&server).await.get("one", 10_000).await.unwrap_err();
        assert!(is(&error) && error.to_string().contains(named), "{code}: {error:?}");
        if code.starts_with("KMS") {
            assert!(error.to_string().contains("told so"), "KMS names the key: {error}");
            assert!(error.may_pass());
        }
        assert_eq!(server.operations(), ["GetRecords"], "no call is repeated unseen");
    }
}

/// A stream of another account in another region: every call names it by its ARN, and none by a name that would be looked up here.
#[tokio::test]
async fn a_stream_of_another_account_is_named_by_its_arn() {
    const THEIRS: &str = "arn:aws:kinesis:eu-central-1:999999999999:stream/theirs";
    let server = Server::start(|all: &[Request]| match all.last().map(Request::operation).as_deref() {
        Some("GetShardIterator") => say(r#"{"ShardIterator":"one"}"#),
        Some("GetRecords") => say(r#"{"Records":[],"NextShardIterator":"two","MillisBehindLatest":0}"#),
        Some("ListShards") => say(r#"{"Shards":[]}"#),
        Some("PutRecords") => {
            say(r#"{"FailedRecordCount":0,"Records":[{"SequenceNumber":"7","ShardId":"shardId-000000000001"}]}"#)
        }
        Some("DescribeStreamSummary") => say(format!(
            r#"{{"StreamDescriptionSummary":{{"StreamName":"theirs","StreamARN":"{THEIRS}","StreamStatus":"ACTIVE",
                "RetentionPeriodHours":24,"StreamCreationTimestamp":1800000000.0,"EnhancedMonitoring":[],"OpenShardCount":1,
                "MaxRecordSizeInKiB":10240}}}}"#
        )),
        _ => say("{}"),
    });
    let address = Address::parse(THEIRS).unwrap();
    let kinesis = AwsKinesis::open(&aws(&server.endpoint).await, &address).await.unwrap();
    let shard = ShardId::new("shardId-000000000001");
    let summary = kinesis.summary().await.unwrap();
    assert_eq!((summary.arn.as_str(), summary.max_record_bytes), (THEIRS, 10 << 20));
    kinesis.shards().await.unwrap();
    kinesis.iterator(&shard, IteratorAt::Oldest).await.unwrap();
    kinesis.get("one", 10_000).await.unwrap();
    kinesis.put(&[entry("a")]).await.unwrap();
    let control = Control::new(&aws(&server.endpoint).await, address);
    control.split(&shard, 5).await.unwrap();
    control.merge(&shard, &shard).await.unwrap();
    let told = control.create(NewStream::OnDemand).await.unwrap_err().to_string();
    assert!(told.contains("kinesis:theirs"), "an account makes its own streams: {told}");
    let seen = server.seen.lock().unwrap().clone();
    assert!(seen.len() >= 9);
    for request in seen {
        assert!(request.body.contains(THEIRS) && !request.body.contains("StreamName"), "{}", request.body);
        let region = request.header("authorization").contains("/eu-central-1/kinesis/");
        assert!(region, "signed for the region of the ARN: {}", request.operation());
    }
}
