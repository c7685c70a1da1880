//! Folded journals: a lake looks the same from a checkpoint as from its first entry, and what is wrong with a checkpoint, or with what it
//! stands for, is named.

use crate::small_lake::audit::{expect, report};
use crate::small_lake::{SmallLake, edit, options};
use authpulse_audit::status::status;
use authpulse_event::time::{HOUR, MICROSECOND};
use authpulse_event::{EventTime, ShardId, Span};
use authpulse_journal::Env;
use authpulse_journal::open::open_lake;
use authpulse_journal::registry::ShardView;
use authpulse_lake::entry::Spill;
use authpulse_lake::maintain::Memory;
use authpulse_lake::{Checkpoint, Journal, MaintainSettings, MemoryJournal, SectionList, Table, maintain};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Folds everything that it can and removes it at once; files stay as they are.
pub const FOLD: MaintainSettings = MaintainSettings {
    target_bytes: 1 << 20,
    min_files: 1_000,
    manifests_max: 1_000,
    snapshots_max: 1_000,
    snapshot_age: Span::MAX,
    orphan_age: HOUR,
    fold_entries: 1,
    entry_age: Span::ZERO,
    follower_keep: Span::ZERO,
};

async fn keep_in_shape(env: &Env, settings: &MaintainSettings) -> u64 {
    let report = maintain(&env.lake, env.journal.as_ref(), settings, false, &mut Memory::default()).await;
    assert!(report.is_complete(), "{report:?}");
    report.folded.removed
}

async fn checkpoint(lake: &SmallLake) -> Checkpoint {
    let shard = ShardId::file();
    let (n, body) = lake.env.journal.checkpoint(&shard).await.unwrap().expect("something is folded");
    Checkpoint::decode(&shard, n, &body, &SectionList::default()).unwrap()
}

/// The same lake, over a journal in memory with another checkpoint.
async fn with_checkpoint(lake: &SmallLake, checkpoint: &Checkpoint) -> Env {
    let journal = MemoryJournal::new();
    let shard = ShardId::file();
    for (n, body) in lake.env.journal.list(&shard, checkpoint.through + 1, 10_000).await.unwrap() {
        journal.put(&shard, n, body).await.unwrap();
    }
    journal.put_checkpoint(&shard, checkpoint.through, checkpoint.encode()).await.unwrap();
    Env { journal: Arc::new(journal), ..lake.env.clone() }
}

fn shown(view: &ShardView) -> String {
    format!("{view:?}")
}

#[tokio::test]
async fn a_lake_looks_the_same_from_a_checkpoint() {
    let lake = SmallLake::backfilled(true).await;
    let before = report(&lake.env).await;
    let opened = open_lake(&lake.env, &options()).await.unwrap();
    let seen = status(&lake.env, None, None).await.unwrap();
    let days = opened.registry.complete_days(None);
    let entries = lake.entries("file").await;
    assert!(keep_in_shape(&lake.env, &FOLD).await > 0, "entries below the second snapshot of state go");
    assert_eq!(checkpoint(&lake).await.through, entries.len() as u64 - 1);
    assert_ne!(lake.entries("file").await.first().unwrap().n, 1);
    let after = report(&lake.env).await;
    assert_eq!(after, before);
    let again = open_lake(&lake.env, &options()).await.unwrap();
    let views = |opened: &authpulse_journal::open::OpenedLake| -> Vec<String> {
        opened.registry.views().values().map(shown).collect()
    };
    assert_eq!(views(&again), views(&opened));
    assert_eq!(again.tails, opened.tails);
    assert_eq!(again.registry.complete_days(None), days);
    let now = status(&lake.env, None, None).await.unwrap();
    assert_eq!((now.shards.len(), &now.shards[0].gaps, now.tables), (1, &seen.shards[0].gaps, seen.tables));
}

#[tokio::test]
async fn replaced_files_and_past_days_are_compared_by_number() {
    let lake = SmallLake::backfilled(true).await;
    let before = report(&lake.env).await;
    let tidy = MaintainSettings { min_files: 2, manifests_max: 1, snapshots_max: 1, snapshot_age: Span::ZERO, ..FOLD };
    keep_in_shape(&lake.env, &tidy).await;
    let mut folded = checkpoint(&lake).await;
    let files = folded.files.len();
    let after = report(&lake.env).await;
    assert_eq!((after.difference.clone(), after.totals()), (None, before.totals()), "{after}");
    assert!(after.notes.iter().any(|note| note.contains("folded entries")), "{after}");
    // All files replaced, and all days past.
    folded.shrink(&BTreeSet::new(), Some(authpulse_event::Day(i32::MAX)));
    assert!(folded.files.is_empty() && files < 100 && folded.past.len() >= 3);
    assert!(folded.spill().daily_counts.iter().all(|counts| counts.days.is_empty()));
    assert_eq!(report(&with_checkpoint(&lake, &folded).await).await.difference, None);
    folded.past.values_mut().next().unwrap().logons += 1;
    expect(&with_checkpoint(&lake, &folded).await, &["what shards published of a day", "logons"]).await;
}

#[tokio::test]
async fn a_changed_checkpoint_is_named() {
    let lake = SmallLake::backfilled(true).await;
    keep_in_shape(&lake.env, &FOLD).await;
    let whole = checkpoint(&lake).await;
    let changed = async |change: fn(&mut Checkpoint), words: &[&str]| {
        let mut checkpoint = whole.clone();
        change(&mut checkpoint);
        expect(&with_checkpoint(&lake, &checkpoint).await, words).await;
    };
    changed(|b| b.curated += 1, &["counts of folded entries do not add up", "shard file"]).await;
    changed(|b| (b.curated, b.received) = (b.curated + 1, b.received + 1), &["curated files of folded entries"]).await;
    changed(
        |b| {
            let n = b.rejected.remove("late").unwrap();
            *b.rejected.get_mut("duplicate").unwrap() += n;
        },
        &["dead letters are not as many"],
    )
    .await;
    changed(|b| b.files[0].file.rows += 1, &["folded entries"]).await;
    changed(|b| b.files[0].file.sha256 = "0".repeat(64), &["edited", "SHA-256"]).await;
    changed(|b| b.raw.values_mut().next().unwrap().files += 1, &["raw zone", "folded entries"]).await;
    changed(|b| b.daily_counts[0].days[0].computers[0].1 += 1, &["what shards published of a day"]).await;
    changed(|b| b.last.to.sequence = "1".to_owned(), &["not contiguous"]).await;
    changed(|b| b.last.watermark = Some(EventTime::MAX), &["watermark falls"]).await;
    changed(|b| b.last.time_rules.settle += MICROSECOND, &["settings"]).await;
    // Without the checkpoint the entries that it stands for are missing.
    let shard = ShardId::file();
    let journal = MemoryJournal::new();
    for (n, body) in lake.env.journal.list(&shard, 1, 10_000).await.unwrap() {
        journal.put(&shard, n, body).await.unwrap();
    }
    let env = Env { journal: Arc::new(journal), ..lake.env.clone() };
    expect(&env, &["missing from the journal", "entry 1"]).await;
}

#[tokio::test]
async fn what_a_checkpoint_stands_for_is_looked_at() {
    let lake = SmallLake::backfilled(true).await;
    keep_in_shape(&lake.env, &FOLD).await;
    let raw = lake.files("raw/").await;
    let path = lake.path(&raw[0]);
    let kept = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    expect(&lake.env, &["raw zone does not hold", "folded entries of shard file"]).await;
    std::fs::write(&path, &kept).unwrap();
    let copy = lake.path(&raw[0].replace("-0.parquet", "-9.parquet"));
    std::fs::write(&copy, &kept).unwrap();
    expect(&lake.env, &["raw zone does not hold", "folded entries of shard file"]).await;
    std::fs::remove_file(&copy).unwrap();
    assert_eq!(report(&lake.env).await.difference, None);
    for table in Table::FIRST {
        let file = lake.files(&format!("{}/data/", table.location())).await.remove(0);
        let path = lake.path(&file);
        let kept = std::fs::read(&path).unwrap();
        edit(&path, |bytes| bytes[9] ^= 1);
        expect(&lake.env, &["edited", &file, "SHA-256"]).await;
        std::fs::write(&path, kept).unwrap();
    }
}

#[test]
fn a_checkpoint_is_that_of_its_entries_however_they_are_folded() {
    futures::executor::block_on(async {
        let lake = SmallLake::backfilled(true).await;
        let entries = lake.entries("file").await;
        let build = |from: Option<Checkpoint>, through: usize| {
            let mut checkpoint = from;
            let begun = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.through as usize);
            for entry in &entries[begun..through] {
                let spill = if entry.takes_over { Spill::default() } else { entry.spill.clone() };
                match &mut checkpoint {
                    Some(checkpoint) => checkpoint.add(entry.clone(), &spill),
                    None => checkpoint = Some(Checkpoint::new(entry.clone(), &spill)),
                }
            }
            checkpoint
        };
        let all = entries.len() - 1;
        for part in 1..all {
            assert_eq!(build(build(None, part), all), build(None, all));
        }
        let checkpoint = build(None, all).unwrap();
        let known = &SectionList::default();
        let shard = ShardId::file();
        assert_eq!(Checkpoint::decode(&shard, all as u64, &checkpoint.encode(), known).unwrap(), checkpoint);
        assert!(
            Checkpoint::decode(&shard, 1, &checkpoint.encode(), known).unwrap_err().to_string().contains("says it is")
        );
        let newer = Checkpoint { format: authpulse_lake::checkpoint::FORMAT + 1, ..checkpoint.clone() };
        assert!(
            Checkpoint::decode(&shard, all as u64, &newer.encode(), known)
                .unwrap_err()
                .to_string()
                .contains("newer version")
        );
        let cut = &checkpoint.encode()[..40];
        assert!(Checkpoint::decode(&shard, all as u64, cut, known).unwrap_err().to_string().contains("damaged"));
        // Spans that follow each other become one, so a checkpoint does not grow with the number of entries.
        assert!(
            checkpoint.daily_counts.len() == 1 && checkpoint.scores.len() == 1,
            "{:?}",
            checkpoint.daily_counts.len()
        );
    });
}
