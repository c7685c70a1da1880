//! Dead letters that are put again are stored as if they had come under the right key at once.

use crate::small_lake::{SmallLake, options};
use authpulse_engine::rows::Reason;
use authpulse_event::time::{DEFAULT_BASE, MICROSECOND, SECOND, format_rfc3339};
use authpulse_event::{Day, EventTime, ProcessingTime};
use authpulse_journal::Env;
use authpulse_journal::env::SystemClock;
use authpulse_lake::Table;
use authpulse_lease::{Fleet, MemoryLeases};
use authpulse_service::drive::{Ended, run_service};
use authpulse_service::redrive::{RedriveOptions, Redriven, redrive};
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::memory::{Moment, Operation};
use authpulse_stream::{
    CreateOptions, MemoryStream, PutRecord, ReadFrom, ReadLimit, Stream, StreamError, StreamWriter,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::watch;

const USERS: usize = 40;
/// How many of the records are too long for a dead letter to hold them whole.
const LONG: usize = 2;

fn record(user: usize, key: &str, filling: usize) -> PutRecord {
    let now = SystemClockNow::get();
    let payload = format!(
        "{{\"time\":\"{}\",\"user\":\"U{user}\",\"computer\":\"C1\",\"more\":\"{}\"}}",
        format_rfc3339(now + user as i64 * MICROSECOND),
        "x".repeat(filling)
    );
    PutRecord { payload: payload.into(), partition_key: bytes::Bytes::copy_from_slice(key.as_bytes()) }
}

/// One time for all events of a test, so that none is late.
struct SystemClockNow;

impl SystemClockNow {
    fn get() -> ProcessingTime {
        static NOW: std::sync::OnceLock<ProcessingTime> = std::sync::OnceLock::new();
        *NOW.get_or_init(|| authpulse_journal::env::Clock::now(&SystemClock) - 10 * SECOND)
    }
}

/// Loses the answer to every second put.
fn losing() -> MemoryStream {
    let puts = AtomicU32::new(0);
    let faults = move |operation: &Operation, moment: Moment| {
        let is_put = matches!(operation, Operation::Put { .. }) && moment == Moment::After;
        (is_put && puts.fetch_add(1, Ordering::SeqCst) % 2 == 1).then(|| StreamError::Storage {
            stream: "memory".to_owned(),
            action: "put",
            cause: "the answer was lost".to_owned(),
            retry: true,
        })
    };
    let stream = MemoryStream::new(CreateOptions { shards: 4, ..CreateOptions::default() }).unwrap();
    stream.with_faults(Arc::new(faults))
}

async fn consume(env: &Env, stream: &Arc<MemoryStream>, mode: Mode) {
    let options: Arc<Options> = options();
    let service = Service::open(env.clone(), options.clone(), stream.clone(), mode).await.unwrap();
    let fleet = Fleet::new(Arc::new(MemoryLeases::new()), "w1", options.leases);
    let (_send, stop) = watch::channel(false);
    assert_eq!(run_service(service, env, &options, fleet, stop).await.unwrap(), Ended::Complete);
}

fn wanted(dry_run: bool) -> RedriveOptions {
    RedriveOptions { reasons: vec![Reason::Misrouted], since: None, until: None, dry_run, base: DEFAULT_BASE }
}

async fn put_again(env: &Env, stream: &MemoryStream, options: &RedriveOptions) -> Redriven {
    let (_send, stop) = watch::channel(false);
    redrive(env, stream, options, &stop).await.unwrap()
}

async fn records(stream: &MemoryStream) -> usize {
    let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
    let mut count = 0;
    for shard in stream.shards().await.unwrap() {
        count += stream.read(&shard.id, ReadFrom::Start, limit).await.unwrap().records.len();
    }
    count
}

/// Users of the curated table, and the number of dead letters by reason.
async fn stored_rows(env: &Env) -> (Vec<String>, BTreeMap<String, u64>) {
    let (mut users, mut letters) = (Vec::new(), BTreeMap::new());
    for file in env.lake.live_files(Table::CURATED).await.unwrap().files {
        for batch in env.lake.read_curated(&file, None).await.unwrap() {
            users.extend(batch.unwrap().iter().map(|row| row.user_id.to_owned()));
        }
    }
    for file in env.lake.live_files(Table::REJECTED).await.unwrap().files {
        for batch in env.lake.read_rejected(&file, None).await.unwrap() {
            batch.unwrap().iter().for_each(|row| *letters.entry(row.reason.to_owned()).or_default() += 1);
        }
    }
    users.sort();
    (users, letters)
}

#[tokio::test(flavor = "multi_thread")]
async fn misrouted_letters_are_stored_once_under_the_right_key() {
    let lake = SmallLake::new();
    let env = Env { clock: Arc::new(SystemClock), ..lake.env.clone() };
    let stream = Arc::new(losing());
    // A foreign producer puts every event under one key. Events whose user belongs to that shard are accepted all the same.
    let batch = (0..USERS).map(|user| record(user, "all", if user < LONG { 70_000 } else { 0 })).collect();
    let _ = stream.put(batch, None).await;
    consume(&env, &stream, Mode::UntilCaughtUp).await;
    let misrouted = stored_rows(&env).await.1["misrouted"];
    assert!((10..USERS as u64 - 2).contains(&misrouted), "{misrouted}");
    let dry = put_again(&env, &stream, &wanted(true)).await;
    assert_eq!((dry.found["misrouted"], dry.sent_before), (misrouted, 0));
    assert_eq!(dry.sent + dry.shortened, misrouted);
    assert!(dry.shortened > 0 && dry.named.len() as u64 == dry.shortened, "{dry:?}");
    assert_eq!(records(&stream).await, USERS, "a dry run puts nothing");
    // Letters of another day do not count.
    let today = Day::of_arrival(SystemClockNow::get().as_arrival_bound());
    let past = RedriveOptions { until: Some(Day(today.0 - 2)), ..wanted(false) };
    assert_eq!(put_again(&env, &stream, &past).await, Redriven::default());
    let (_send, stop) = watch::channel(true);
    let stopped = redrive(&env, &*stream, &wanted(false), &stop).await.unwrap();
    assert_eq!(stopped, Redriven { stopped: true, ..Redriven::default() });
    let done = put_again(&env, &stream, &wanted(false)).await;
    assert_eq!(Redriven { named: dry.named.clone(), ..dry.clone() }, done);
    assert_eq!(records(&stream).await as u64, USERS as u64 + done.sent, "an answer that is lost doubles nothing");
    let again = put_again(&env, &stream, &wanted(false)).await;
    assert_eq!((again.sent, again.sent_before, again.shortened), (0, done.sent, done.shortened));
    consume(&env, &stream, Mode::Seal).await;
    let (users, letters) = stored_rows(&env).await;
    let shortened: Vec<String> = (0..LONG).map(|user| format!("U{user}")).filter(|u| !users.contains(u)).collect();
    assert_eq!(shortened.len() as u64, done.shortened);
    let mut expected: Vec<String> = (0..USERS).map(|user| format!("U{user}")).collect();
    expected.retain(|user| !shortened.contains(user));
    expected.sort();
    assert_eq!(users, expected, "each once");
    assert_eq!(letters, BTreeMap::from([("misrouted".to_owned(), misrouted)]), "letters stay, and none is added");
    assert_eq!(put_again(&env, &stream, &wanted(false)).await.sent, 0);
}

/// An earlier base stands for an earlier version: what was beyond the year 9999 is an event with another base.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_letters_that_are_events_by_now_are_put_once_and_the_others_are_counted() {
    let lake = SmallLake::new();
    let env = Env { clock: Arc::new(SystemClock), ..lake.env.clone() };
    let stream = Arc::new(losing());
    let beyond = |user: usize| format!("{{\"time\":252000000000,\"user\":\"U{user}\",\"computer\":\"C1\"}}");
    let payloads = (0..6).map(|n| if n % 3 == 0 { "junk".to_owned() } else { beyond(n) });
    let batch = payloads.map(|payload| PutRecord { payload: payload.into(), partition_key: "all".into() }).collect();
    let _ = stream.put(batch, None).await;
    consume(&env, &stream, Mode::UntilCaughtUp).await;
    let invalid = RedriveOptions { reasons: vec![Reason::Invalid], ..wanted(false) };
    let now = put_again(&env, &stream, &invalid).await;
    assert_eq!((now.found["invalid"], now.sent, now.no_event, now.named.len()), (6, 0, 6, 6));
    assert!(now.named.iter().any(|name| name.ends_with("time lies beyond the year 9999")), "{:?}", now.named);
    let by_then = RedriveOptions { base: EventTime::default(), ..invalid };
    let first = put_again(&env, &stream, &by_then).await;
    assert_eq!((first.sent, first.sent_before, first.no_event), (4, 0, 2));
    let again = put_again(&env, &stream, &by_then).await;
    assert_eq!((again.sent, again.sent_before, again.no_event), (0, 4, 2));
    assert_eq!(records(&stream).await, 6 + 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lake_without_letters_has_nothing_to_put() {
    let lake = SmallLake::new();
    assert_eq!(put_again(&lake.env, &losing(), &wanted(false)).await, Redriven::default());
}
