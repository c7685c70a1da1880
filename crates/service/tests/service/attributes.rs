//! Attributes of events, from a file to the decision: over kills, and whatever event model a worker's settings name.

use crate::small_lake::{SmallLake, options};
use authpulse_audit::status::status;
use authpulse_engine::settings::UNSCORED_BYTES_MAX;
use authpulse_event::time::{DAY, DEFAULT_BASE, SECOND};
use authpulse_event::{EventModel, HashRange, ShardId, Span};
use authpulse_files::Source as File;
use authpulse_journal::Env;
use authpulse_journal::open::{entry_zero, event_model};
use authpulse_journal::sink::{Decision, DecisionSink};
use authpulse_lake::entry::{Entry, Source};
use authpulse_lake::maintain::Memory;
use authpulse_lake::{MaintainSettings, maintain};
use authpulse_service::backfill::{BackfillRequest, prepare};
use authpulse_service::committer::commit_all;
use authpulse_settings::Options;
use authpulse_worker::worker::StepOutcome;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Notes the attributes of each scored event, by the second of its time.
#[derive(Default)]
struct Noted(Mutex<BTreeMap<i64, String>>);

impl DecisionSink for Noted {
    fn min_score(&self) -> u8 {
        0
    }
    fn decided(&self, decision: Decision<'_>) {
        let event = &decision.scored.event;
        let second = (event.event_time - DEFAULT_BASE) / SECOND;
        let shown = format!("{:?}", event.attributes);
        // A worker that scores it again after a kill must find the same.
        let mut noted = self.0.lock().unwrap();
        assert_eq!(*noted.entry(second).or_insert_with(|| shown.clone()), shown, "second {second}");
    }
}

fn of_model(event_model: EventModel) -> Arc<Options> {
    let mut options = Options { entry_bytes: 1, ..(*options()).clone() };
    options.engine.time.event_model = event_model;
    Arc::new(options)
}

/// Seconds of events over three days. An entry is stored after 1,024 of them. So the first events of the second day wait, and events of a
/// day are scored only once an entry holds the counts of the day before.
fn seconds() -> impl Iterator<Item = i64> {
    [(0, 1_022), (1, 1_500), (2, 1_500)]
        .into_iter()
        .flat_map(|(day, n)| (0..n).map(move |n| day * 86_400 + 70_000 + n * 10))
}

/// Two events in three have attributes; one of those two has one that is dropped.
fn members(second: i64) -> (String, String, u64) {
    match second / 10 % 3 {
        0 => (
            format!(r#","session":"s{second}","mfa":true"#),
            format!(r#"{{"mfa": Int(1), "session": Text("s{second}")}}"#),
            0,
        ),
        1 => (
            r#","source_ip":"::ffff:10.0.0.1","lat":95,"site":3"#.to_owned(),
            r#"{"source_ip": Text("10.0.0.1")}"#.to_owned(),
            2,
        ),
        _ => (String::new(), "{}".to_owned(), 0),
    }
}

fn input(lake: &SmallLake) -> PathBuf {
    let line = |second: i64| {
        let (user, computer, members) = (second / 10 % 7, second / 10 % 5, members(second).0);
        format!("{{\"time\":{second},\"user\":\"U{user}\",\"computer\":\"C{computer}\"{members}}}\n")
    };
    lake.write_input("events.json", &seconds().map(line).collect::<Vec<_>>())
}

fn request(file: &Path) -> BackfillRequest {
    BackfillRequest::new(vec![File::File(file.to_owned())])
}

/// Steps a run this many times and drops it, as a kill does; returns whether it was done.
async fn steps(env: &Env, options: Arc<Options>, file: &Path, steps: u32) -> bool {
    let mut run = prepare(env, options, &request(file)).await.unwrap();
    for _ in 0..steps {
        if run.worker.step().await.unwrap() == StepOutcome::Done {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn what_events_carry_comes_to_the_row_over_kills_and_without_them() {
    let lake = SmallLake::new();
    let (file, noted) = (input(&lake), Arc::new(Noted::default()));
    let env = Env { sink: noted.clone(), ..lake.env.clone() };
    // The run that begins the lake sets its model; those that go on take it from the lake.
    assert!(!steps(&env, of_model(EventModel::Attributes), &file, 2).await);
    // Each run gets a little further, so that one of them comes to the end.
    let mut last = 2;
    while !steps(&env, of_model(EventModel::ThreeFields), &file, last).await {
        last += 1;
    }
    assert!(last > 3, "{last}");
    let entries = lake.entries("file").await;
    let stored = |what: fn(&Entry) -> u64| entries.iter().map(what).sum::<u64>();
    assert!(stored(|e| e.counts.unscored) > 100 && stored(|e| e.counts.waiting) > 0, "entries carried events on");
    let text = serde_json::to_string(&entries).unwrap();
    assert!(text.contains(r#""attributes":{"source_ip":"10.0.0.1"}"#), "and what these carry");
    assert!(entries.iter().all(|entry| entry.event_model() == Ok(EventModel::Attributes)));
    let expected: BTreeMap<i64, String> = seconds().map(|second| (second, members(second).1)).collect();
    assert_eq!(*noted.0.lock().unwrap(), expected);
    let dropped = seconds().map(|second| members(second).2).sum::<u64>();
    assert_eq!(stored(|e| e.counts.fields_dropped), dropped);
    // An operator sees it as well, also for folded entries.
    commit_all(&env).await.unwrap();
    for folded in [false, true] {
        let seen = status(&env, None, None).await.unwrap();
        assert_eq!(seen.shards[0].fields_dropped, dropped, "folded: {folded}");
        assert!(seen.to_string().contains(&format!("left out      {dropped} attributes without a value")), "{seen}");
        let fold = MaintainSettings {
            fold_entries: 1,
            entry_age: Span::ZERO,
            min_files: 1_000,
            ..MaintainSettings::default()
        };
        let report = maintain(&env.lake, &*env.journal, &fold, false, &mut Memory::default()).await;
        assert!(folded || report.folded.entries > 0, "{report:?}");
    }
}

#[tokio::test]
async fn a_lake_of_the_first_model_stays_that_whatever_it_is_asked_for() {
    let lake = SmallLake::new();
    let (file, noted) = (input(&lake), Arc::new(Noted::default()));
    let env = Env { sink: noted.clone(), ..lake.env.clone() };
    assert!(!steps(&env, of_model(EventModel::ThreeFields), &file, 2).await);
    assert!(steps(&env, of_model(EventModel::Attributes), &file, u32::MAX).await);
    assert!(noted.0.lock().unwrap().values().all(|carried| carried == "{}"));
    let text = serde_json::to_string(&lake.entries("file").await).unwrap();
    for word in ["\"attributes\"", "event_model", "fields_dropped"] {
        assert!(!text.contains(word), "{word}");
    }
}

#[test]
fn shards_of_two_models_are_no_lake() {
    let first = |shard: &str, model| entry_zero(&ShardId::new(shard), Source::File, HashRange::FULL, &of_model(model));
    let (one, other) = (first("s1", EventModel::Attributes), first("s2", EventModel::Attributes));
    assert_eq!(event_model([].into_iter()).unwrap(), None);
    assert_eq!(event_model([&one, &other].into_iter()).unwrap(), Some(EventModel::Attributes));
    let other = first("s2", EventModel::ThreeFields);
    let told = event_model([&one, &other].into_iter()).unwrap_err().to_string();
    assert!(["s1", "model 2", "s2", "model 1"].iter().all(|words| told.contains(words)), "{told}");
}

/// Scoring waits for a day's counts, which nobody publishes for now: reading stops before the waiting events take up too much.
#[tokio::test]
async fn reading_stops_before_what_is_not_scored_takes_up_too_much() {
    let lake = SmallLake::new();
    let keys = ["app", "device", "session", "site", "role", "country", "source"];
    let long = keys.map(|key| format!(",\"{key}\":\"{}\"", "a".repeat(256))).concat();
    let line = |n: i64| format!("{{\"time\":{},\"user\":\"U1\",\"computer\":\"C1\"{long}}}\n", 10 + n);
    let file = lake.write_input("long.json", &(0..34_000).map(line).collect::<Vec<_>>());
    let mut options = Options { entry_bytes: u64::MAX, entry_rows: u64::MAX, raw: false, ..(*options()).clone() };
    options.entry_age = DAY;
    options.engine.time.event_model = EventModel::Attributes;
    let mut run = prepare(&lake.env, Arc::new(options), &request(&file)).await.unwrap();
    let mut most = 0;
    while run.worker.step().await.unwrap() != StepOutcome::Done {
        most = most.max(run.worker.shard().unscored_bytes());
    }
    assert!((UNSCORED_BYTES_MAX * 9 / 10..=UNSCORED_BYTES_MAX).contains(&most), "{most}");
}

/// Rows with many attributes fill an entry, as many rows would.
#[tokio::test]
async fn what_rows_carry_counts_as_memory_of_their_entry() {
    let entries = |distinct: bool| async move {
        let lake = SmallLake::new();
        let line = |n: i64| {
            let session = if distinct { format!("{n:0>200}") } else { "0".repeat(200) };
            format!("{{\"time\":{},\"user\":\"U1\",\"computer\":\"C1\",\"session\":\"{session}\"}}\n", 10_000 + n)
        };
        // What is needed to score the rest is stored with the first entry.
        let [first, rest] = [("first", 0..20), ("rest", 20..12_000)]
            .map(|(name, lines)| lake.write_input(name, &lines.map(line).collect::<Vec<_>>()));
        let mut options = Options { entry_bytes: u64::MAX, raw: false, memory: 4 << 20, ..(*options()).clone() };
        (options.entry_age, options.entry_rows) = (DAY, u64::MAX);
        options.engine.time.event_model = EventModel::Attributes;
        let options = Arc::new(options);
        lake.backfill(&[first], &options, true).await;
        let before = lake.entries("file").await.len();
        assert!(steps(&lake.env, options, &rest, u32::MAX).await);
        let rows = lake.entries("file").await.into_iter().skip(before).map(|entry| entry.counts.curated);
        rows.filter(|rows| *rows > 0).count()
    };
    let (different, equal) = (entries(true).await, entries(false).await);
    assert!(equal == 1 && different > 1, "{different} entries of rows that differ, {equal} of rows that share");
}
