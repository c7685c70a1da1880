//! Sections that a program does not know. Those that it may pass over stay with what holds them, through new entries, take-overs,
//! children and folding. Those that it must understand keep it from going on, and it says so.

use super::small_lake::{SmallLake, options};
use authpulse_audit::status::status;
use authpulse_audit::verify::{VerifyOptions, verify};
use authpulse_event::time::SECOND;
use authpulse_event::{ArrivalTime, HashRange, ShardId, Span};
use authpulse_files::Source;
use authpulse_journal::log::{Taken, take_over};
use authpulse_journal::open::open_lake;
use authpulse_journal::{ConsumerError, Env};
use authpulse_lake::entry::{Entry, FORMAT, PLAIN_FORMAT};
use authpulse_lake::maintain::Memory;
use authpulse_lake::section_list::{Holder, SectionDef, SectionList};
use authpulse_lake::sections::{Body, Section};
use authpulse_lake::{Checkpoint, Lake, MaintainSettings, checkpoint, maintain};
use authpulse_service::backfill::{BackfillRequest, prepare};
use authpulse_service::service::Mode;
use authpulse_stream::memory::MemoryStream;
use authpulse_stream::{CreateOptions, PutRecord, Stream, StreamWriter};
use authpulse_worker::worker::StepOutcome;
use bytes::Bytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Folds everything that it can, and removes nothing.
const FOLD: MaintainSettings =
    MaintainSettings { entry_age: Span::MAX, follower_keep: Span::MAX, ..super::verify_folded::FOLD };

/// What a newer program writes: the section `notes` in some things; its body is the number of the entry before.
fn newer(must: bool, carry: bool, into: &'static [Holder]) -> SectionList {
    let writes = move |holder: Holder, last: &Entry| {
        into.contains(&holder).then(|| Section { must, carry, body: Body::new(&last.n).unwrap(), also: Vec::new() })
    };
    SectionList::new(vec![SectionDef { name: "notes".to_owned(), writes: Some(Arc::new(writes)) }])
}

/// The lake as seen by a program that knows these sections.
fn of(lake: &SmallLake, sections: SectionList) -> Env {
    let tables = Lake::clone(&lake.env.lake).with_sections(sections);
    Env { lake: Arc::new(tables), ..lake.env.clone() }
}

fn events(from: u32, n: u32) -> Vec<String> {
    (from..from + n).map(|n| format!("{n},U{},C{}\n", n % 7, n % 5)).collect()
}

/// Loads a file and leaves the lake open.
async fn load(lake: &SmallLake, env: &Env, file: PathBuf) -> Result<(), ConsumerError> {
    let request = BackfillRequest { keep_open: true, ..BackfillRequest::new(vec![Source::File(file)]) };
    let mut run = prepare(env, options(), &request).await?;
    while run.worker.step().await? != StepOutcome::Done {
        lake.clock.0.fetch_add((SECOND / 10).micros(), Ordering::Relaxed);
    }
    Ok(())
}

async fn entries(env: &Env, shard: &ShardId) -> Vec<Entry> {
    let stored = env.journal.list(shard, 1, 10_000).await.unwrap();
    let known = SectionList::new(vec![SectionDef::read_only("notes")]);
    stored.into_iter().map(|(n, body)| Entry::decode(shard, n, &body, &known).unwrap()).collect()
}

/// The body of an entry's section.
fn notes(entry: &Entry) -> Option<&str> {
    entry.sections.get("notes").map(|section| section.body.text())
}

async fn checkpoint_of(env: &Env, shard: &ShardId) -> Checkpoint {
    let (n, body) = env.journal.checkpoint(shard).await.unwrap().expect("something is folded");
    Checkpoint::decode(shard, n, &body, env.lake.sections()).unwrap()
}

async fn fold(env: &Env) -> u64 {
    let report = maintain(&env.lake, env.journal.as_ref(), &FOLD, false, &mut Memory::default()).await;
    assert!(report.is_complete(), "{report:?}");
    report.folded.entries
}

#[tokio::test]
async fn what_is_carried_goes_through_entries_take_overs_children_and_folding() {
    let lake = SmallLake::new();
    let file = ShardId::file();
    let env = of(&lake, newer(false, true, &[Holder::Entry, Holder::Checkpoint]));
    load(&lake, &env, lake.write_input("a.txt", &events(1, 40))).await.unwrap();
    let last = entries(&env, &file).await.pop().unwrap();
    let said = notes(&last).unwrap().to_owned();
    assert_eq!(last.format, FORMAT);

    // From here on it is a program that knows no section.
    let env = lake.env.clone();
    let Taken::Over(taken) = take_over(&env, &file, last).await.unwrap() else { panic!("it has not ended") };
    assert_eq!((notes(&taken), taken.format), (Some(said.as_str()), FORMAT));
    load(&lake, &env, lake.write_input("b.txt", &events(50, 40))).await.unwrap();
    let behind: Vec<Entry> = entries(&env, &file).await.into_iter().filter(|entry| entry.n > taken.n).collect();
    assert!(behind.iter().any(|entry| entry.counts.received > 0));
    assert!(behind.iter().all(|entry| notes(entry) == Some(said.as_str()) && entry.format == FORMAT));

    // The checkpoint keeps its last entry as it was stored, and its own sections.
    authpulse_service::committer::commit_all(&env).await.unwrap();
    assert!(fold(&of(&lake, newer(false, true, &[Holder::Checkpoint]))).await > 0);
    let folded = checkpoint_of(&env, &file).await;
    let of_checkpoint = folded.sections.clone();
    assert_eq!(
        (notes(&folded.last), folded.format, of_checkpoint.is_empty()),
        (Some(said.as_str()), checkpoint::FORMAT, false)
    );
    load(&lake, &env, lake.write_input("c.txt", &events(100, 40))).await.unwrap();
    authpulse_service::committer::commit_all(&env).await.unwrap();
    assert!(fold(&env).await > 0);
    let again = checkpoint_of(&env, &file).await;
    assert!(again.through > folded.through && again.sections == of_checkpoint);
    assert_eq!(notes(&again.last), Some(said.as_str()));

    // The first shards of a stream inherit the section from the files, and children of a split from their parent.
    let clock = lake.clock.clone();
    let clock = Arc::new(move || ArrivalTime::from_micros(clock.0.load(Ordering::Relaxed)));
    let stream = Arc::new(MemoryStream::new(CreateOptions { shards: 1, clock, ..CreateOptions::default() }).unwrap());
    let record = |n: u32| PutRecord {
        payload: Bytes::from(format!(r#"{{"time":{},"user":"U{}","computer":"C1"}}"#, 200 + n, n % 9)),
        partition_key: Bytes::from(format!("U{}", n % 9)),
    };
    stream.put((0..40).map(record).collect(), None).await.unwrap();
    let parent = stream.shards().await.unwrap().remove(0);
    stream.split(&parent.id, HashRange::FULL.last / 2 + 1).await.unwrap();
    stream.put((40..80).map(record).collect(), None).await.unwrap();
    stream.close().await.unwrap();
    lake.serve(&env, &stream, Mode::Run).await;
    let shards = env.journal.shards().await.unwrap();
    assert_eq!(shards.len(), 4, "the files, the first shard and its heirs");
    for shard in shards.iter().filter(|shard| **shard != file) {
        let entries = entries(&env, shard).await;
        assert!(!entries[0].inherits.is_empty());
        assert!(entries.iter().all(|entry| notes(entry) == Some(said.as_str()) && entry.format == FORMAT), "{shard}");
    }
    let report = verify(&env, &VerifyOptions::default()).await.unwrap();
    assert_eq!(report.difference, None, "{report}");
    let status = status(&env, None, None).await.unwrap();
    assert!(!status.formats.older_can_go_on && status.formats.too_new.is_empty());
    assert_eq!(status.formats.shards.keys().collect::<Vec<_>>(), [&FORMAT]);
}

#[tokio::test]
async fn what_is_not_carried_ends_with_its_entry_and_the_shard_stays_newer() {
    let lake = SmallLake::new();
    let file = ShardId::file();
    for into in [&[Holder::Entry][..], &[Holder::Spill], &[Holder::Piece]] {
        let into: &'static [Holder] = Box::leak(into.into());
        let env = of(&lake, newer(false, false, into));
        let begun = entries(&env, &file).await.len();
        let from = 1 + 5_000 * begun as u32;
        load(&lake, &env, lake.write_input(&format!("{begun}.txt"), &events(from, 3_000))).await.unwrap();
        let written = entries(&env, &file).await.split_off(begun);
        let holds = |entry: &Entry| {
            !entry.sections.is_empty()
                || !entry.spill.sections.is_empty()
                || entry.snapshot.iter().any(|piece| !piece.sections.is_empty())
        };
        assert!(written.iter().any(holds), "{into:?}");
        load(&lake, &lake.env, lake.write_input(&format!("{begun}-b.txt"), &events(from + 3_000, 40))).await.unwrap();
        let last = entries(&env, &file).await.pop().unwrap();
        assert!(last.sections.is_empty() && last.format == FORMAT, "{into:?}");
    }
}

/// Both commands on the lake as a whole, and what `status` can still say.
async fn expect_too_new(lake: &SmallLake, what: &str) {
    let env = &lake.env;
    let Err(opened) = open_lake(env, &options()).await else { panic!("it is too new") };
    let loaded = load(lake, env, lake.write_input("later.txt", &events(90_000, 3))).await.unwrap_err();
    let Err(verified) = verify(env, &VerifyOptions::default()).await else { panic!("it is too new") };
    for error in [opened, loaded, verified] {
        let words = error.to_string();
        assert!(error.is_too_new() && words.contains(what) && words.contains("run a newer version"), "{words}");
    }
    let report = maintain(&env.lake, env.journal.as_ref(), &FOLD, false, &mut Memory::default()).await;
    let stopped = report.cleaned.stopped.expect("maintenance cannot judge");
    assert!(stopped.contains("run a newer version"), "{stopped}");
    let status = status(env, None, None).await.unwrap();
    assert!(status.shards.is_empty() && status.formats.too_new[0].name == "file");
    let shown = status.to_string();
    assert!(shown.contains("file: too new for this program") && shown.contains("cannot go on"), "{shown}");
}

#[tokio::test]
async fn what_must_be_understood_is_refused_in_whatever_it_stands() {
    for (into, what) in [
        (&[Holder::Entry], "of shard file holds the section 'notes'"),
        (&[Holder::Spill], "holds the section 'notes'"),
        (&[Holder::Piece], ".apst.zst of the snapshot of entry"),
        (&[Holder::Checkpoint], "the base of entries up to"),
    ] {
        let lake = SmallLake::new();
        let env = of(&lake, newer(true, false, into));
        load(&lake, &env, lake.write_input("a.txt", &events(1, 3_000))).await.unwrap();
        if into.contains(&Holder::Checkpoint) {
            authpulse_service::committer::commit_all(&env).await.unwrap();
            assert!(fold(&env).await > 0);
        }
        expect_too_new(&lake, what).await;
        // A program that knows the section goes on.
        load(&lake, &env, lake.write_input("b.txt", &events(50_000, 40))).await.unwrap();
    }
}

#[tokio::test]
async fn a_lake_in_which_nothing_is_new_is_in_the_old_format_and_may_go_back() {
    let lake = SmallLake::backfilled(true).await;
    let entries = lake.entries("file").await;
    fold(&lake.env).await;
    assert!(entries.iter().all(|entry| entry.format == PLAIN_FORMAT));
    assert_eq!(checkpoint_of(&lake.env, &ShardId::file()).await.format, checkpoint::PLAIN_FORMAT);
    let status = status(&lake.env, None, None).await.unwrap();
    assert!(status.formats.older_can_go_on);
    assert!(status.to_string().contains("older programs can go on with this lake"));
    // An older format in a later entry: a program that did not understand the section wrote to the shard.
    let mut entries = entries;
    entries[1].format = FORMAT;
    let back = lake.with_entries(&entries).await;
    let difference = verify(&back, &VerifyOptions::default()).await.unwrap().difference.unwrap().to_string();
    assert!(difference.contains("of an older format than the one before it"), "{difference}");
}
