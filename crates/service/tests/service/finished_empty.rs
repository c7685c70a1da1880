//! A bounded input of which nothing is accepted: it is finished, nothing is sealed, and later input goes on.

use crate::small_lake::{SmallLake, options};
use authpulse_audit::status::{State, status};
use authpulse_audit::verify::{VerifyOptions, verify};
use authpulse_event::ArrivalTime;
use authpulse_files::Source;
use authpulse_journal::ConsumerError;
use authpulse_lake::Seal;
use authpulse_service::backfill::{BackfillRequest, nothing_accepted, prepare};
use authpulse_service::service::Mode;
use authpulse_stream::memory::MemoryStream;
use authpulse_stream::{CreateOptions, PutRecord, StreamWriter};
use authpulse_worker::worker::StepOutcome;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The content of a file or stream of which nothing is accepted.
const NOTHING: [(&str, &[&str]); 3] =
    [("empty", &[]), ("blank", &["\n", "\n"]), ("invalid", &["no event\n", "nor this\n", "1,U1\n"])];

fn events(from: u32) -> Vec<String> {
    (from..from + 40).map(|n| format!("{n},U{},C{}\n", n % 7, n % 5)).collect()
}

async fn stream(lake: &SmallLake, name: &str, shards: u32, lines: &[String]) -> Arc<MemoryStream> {
    let clock = lake.clock.clone();
    let clock = Arc::new(move || ArrivalTime::from_micros(clock.0.load(Ordering::Relaxed)));
    let options = CreateOptions { name: name.to_owned(), shards, clock, ..CreateOptions::default() };
    let stream = Arc::new(MemoryStream::new(options).unwrap());
    let record = |line: &String| {
        let fields: Vec<&str> = line.trim().split(',').collect();
        let payload = match fields[..] {
            [time, user, computer] => format!(r#"{{"time":{time},"user":"{user}","computer":"{computer}"}}"#),
            _ => line.trim().to_owned(),
        };
        let key = fields.get(1).unwrap_or(&"nobody").to_string();
        PutRecord { payload: Bytes::from(payload), partition_key: Bytes::from(key) }
    };
    stream.put(lines.iter().map(record).collect(), None).await.unwrap();
    stream
}

/// The lake is sound, and its living shards are in this state.
async fn expect(lake: &SmallLake, state: State, what: &str) {
    let report = verify(&lake.env, &VerifyOptions::default()).await.unwrap();
    assert_eq!(report.difference, None, "{what}: {report}");
    let status = status(&lake.env, None, None).await.unwrap();
    let text = status.to_string();
    let living: Vec<_> = status.shards.iter().filter(|shard| shard.state != State::Ended).collect();
    assert!(!living.is_empty() && living.iter().all(|shard| shard.state == state), "{what}: {text}");
    let json = serde_json::to_string(&status).unwrap();
    assert!(!text.contains("0001-01-01") && !json.contains("0001-01-01"), "{what}: {text}\n{json}");
    if state == State::FinishedEmpty {
        assert!(living.iter().all(|shard| shard.sealed.is_none()), "{what}: {json}");
        assert!(
            text.contains("nothing was accepted") && json.contains(r#""state":"finished_empty""#),
            "{what}: {text}"
        );
    }
}

fn lines(of: &[&str]) -> Vec<String> {
    of.iter().map(|line| (*line).to_owned()).collect()
}

#[tokio::test]
async fn a_file_without_an_accepted_event_leaves_the_lake_to_a_later_file() {
    for (name, content) in NOTHING {
        let lake = SmallLake::new();
        let file = lake.write_input("nothing.txt", &lines(content));
        lake.backfill(&[file], &options(), false).await;
        expect(&lake, State::FinishedEmpty, name).await;
        assert_eq!(lake.entries("file").await.last().unwrap().seal(), Some(Seal::Nothing), "{name}");
        let file = lake.write_input("later.txt", &events(1));
        lake.backfill(&[file], &options(), false).await;
        expect(&lake, State::Sealed, name).await;
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_a_file_or_a_stream_without_an_accepted_event() {
    for (name, content) in NOTHING {
        for first in ["file", "closed stream", "stream that is sealed"] {
            let (what, lake) = (format!("{name}: {first}"), SmallLake::new());
            if first == "file" {
                let file = lake.write_input("nothing.txt", &lines(content));
                lake.backfill(&[file], &options(), false).await;
            } else {
                let records: Vec<String> = lines(content).into_iter().filter(|line| !line.trim().is_empty()).collect();
                let stream = stream(&lake, "first", 2, &records).await;
                if first == "closed stream" {
                    stream.close().await.unwrap();
                    lake.serve(&lake.env, &stream, Mode::Run).await;
                } else {
                    lake.serve(&lake.env, &stream, Mode::Seal).await;
                }
            }
            expect(&lake, State::FinishedEmpty, &what).await;
            let stream = stream(&lake, "second", 3, &events(1)).await;
            stream.close().await.unwrap();
            lake.serve(&lake.env, &stream, Mode::Run).await;
            expect(&lake, State::Sealed, &what).await;
        }
    }
}

/// One shard has accepted something: then all are sealed, even those that have not.
#[tokio::test]
async fn shards_without_an_event_are_sealed_with_those_that_have_some() {
    let lake = SmallLake::new();
    let one_user = vec!["1,U1,C1\n".to_owned(), "2,U1,C2\n".to_owned()];
    let stream = stream(&lake, "one", 4, &one_user).await;
    stream.close().await.unwrap();
    lake.serve(&lake.env, &stream, Mode::Run).await;
    expect(&lake, State::Sealed, "one user, four shards").await;
}

/// A stream that was sealed without any event, and then gets some, goes on.
#[tokio::test]
async fn a_stream_goes_on_after_its_own_empty_seal() {
    let lake = SmallLake::new();
    let stream = stream(&lake, "one", 2, &[]).await;
    lake.serve(&lake.env, &stream, Mode::Seal).await;
    expect(&lake, State::FinishedEmpty, "empty").await;
    let record = |n: u32| PutRecord {
        payload: Bytes::from(format!(r#"{{"time":{n},"user":"U{}","computer":"C1"}}"#, n % 9)),
        partition_key: Bytes::from(format!("U{}", n % 9)),
    };
    stream.put((1..50).map(record).collect(), None).await.unwrap();
    lake.serve(&lake.env, &stream, Mode::Seal).await;
    expect(&lake, State::Sealed, "after more").await;
}

/// A mark that says that nothing was accepted, although something was, is a difference.
#[tokio::test]
async fn an_untrue_mark_is_found() {
    let lake = SmallLake::new();
    let file = lake.write_input("events.txt", &events(1));
    lake.backfill(&[file], &options(), false).await;
    let mut entries = lake.entries("file").await;
    entries.last_mut().unwrap().sealed = Some(Seal::Nothing.mark());
    let report = verify(&lake.with_entries(&entries).await, &VerifyOptions::default()).await.unwrap();
    let difference = report.difference.expect("the mark is untrue");
    assert!(difference.to_string().contains("marked as one of which none was"), "{difference}");
}

/// The same bytes are in the lake already, under whatever name; but a file without lines leaves nothing there.
#[tokio::test]
async fn only_what_the_lake_holds_is_said_to_be_in_it() {
    let answer = async |lake: &SmallLake, name: &str, content: &[String]| {
        let files = vec![Source::File(lake.write_input(name, content))];
        match prepare(&lake.env, options(), &BackfillRequest::new(files)).await {
            Ok(mut run) => {
                while run.worker.step().await.unwrap() != StepOutcome::Done {}
                "loaded".to_owned()
            }
            Err(error @ (ConsumerError::Refused(_) | ConsumerError::NothingToDo(_))) => error.to_string(),
            Err(error) => panic!("{error}"),
        }
    };
    let lake = SmallLake::new();
    for name in ["a.txt", "a.txt", "b.txt"] {
        assert_eq!(answer(&lake, name, &[]).await, "loaded", "{name}: an empty file is in no lake");
    }
    assert_eq!(answer(&lake, "c.txt", &events(1)).await, "loaded");
    assert_eq!(answer(&lake, "c.txt", &events(1)).await, "c.txt is in the lake already; nothing to do");
    assert_eq!(
        answer(&lake, "d.txt", &events(1)).await,
        "d.txt (loaded as c.txt) is in the lake already; nothing to do"
    );
}

/// It is known that all of a run is rejected even if an earlier process has stored a part of it, and each file counts by itself.
#[tokio::test]
async fn a_run_tells_of_each_file_and_whether_anything_was_accepted() {
    let bad = || vec!["no event\n".to_owned(); 3];
    for (what, files, accepted) in [
        ("all rejected", [bad(), bad(), bad()], false),
        ("one event in the first part", [events(1), bad(), bad()], true),
        ("one event in the last part", [bad(), bad(), events(1)], true),
        ("no line", [vec![], vec![], vec![]], true),
    ] {
        let lake = SmallLake::new();
        let names = ["a.txt", "b.txt", "c.txt"];
        let files = names.iter().zip(&files).map(|(name, lines)| Source::File(lake.write_input(name, lines))).collect();
        let request = BackfillRequest::new(files);
        for interrupted in [true, false] {
            let mut run = prepare(&lake.env, options(), &request).await.unwrap();
            let stored_before = run.lines_stored;
            assert!(
                interrupted || stored_before > 0 || what == "no line",
                "{what}: an earlier attempt has stored lines"
            );
            while run.worker.step().await.unwrap() != StepOutcome::Done {
                if interrupted && run.worker.last_entry().n > 0 && what != "no line" {
                    break;
                }
            }
            let warnings = run.tally.lock().unwrap().warnings();
            assert!(warnings.iter().all(|words| words.contains("3 of 3 records (100 %) are rejected as invalid")));
            if !interrupted && what != "no line" {
                assert!(
                    !warnings.is_empty() && !warnings.iter().any(|words| words.contains("a.txt")),
                    "{what}: {warnings:?}"
                );
                assert_eq!(warnings.iter().any(|words| words.contains("c.txt")), what != "one event in the last part");
                let nothing = nothing_accepted(&lake.env).await.unwrap();
                assert_eq!(nothing, !accepted, "{what}: {warnings:?}");
            } else if what == "no line" {
                assert!(!nothing_accepted(&lake.env).await.unwrap(), "nothing was rejected");
                break;
            }
        }
    }
}

/// An id that names a kind of event is reported, for files and streams alike, and changes nothing.
#[tokio::test]
async fn ids_that_repeat_are_told_of() {
    let lake = SmallLake::new();
    let line =
        |n: u32| format!("{{\"time\":{n},\"user\":\"U{}\",\"computer\":\"C{n}\",\"event_id\":\"4624\"}}\n", n % 9);
    let files = vec![Source::File(lake.write_input("windows.json", &(1..200).map(line).collect::<Vec<_>>()))];
    let mut run = prepare(&lake.env, options(), &BackfillRequest::new(files)).await.unwrap();
    while run.worker.step().await.unwrap() != StepOutcome::Done {}
    let warnings = run.tally.lock().unwrap().warnings();
    assert!(warnings.iter().any(|words| words.contains("event_id '4624' stands in 199 of 199 events")), "{warnings:?}");
}
