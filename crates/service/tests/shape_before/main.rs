//! Lakes as the program at `shape-before` wrote them (`tests/data/shape-before`), in memory: they are sound, they continue as they did
//! then, and the same records make the same bytes.
//!
//! Nothing here runs in tokio, which lets a task pause at moments that differ from run to run.
//!
//! `AUTHPULSE_MAKE=1` writes the fixtures instead of comparing with them: that is how the program of that commit made them.

mod archive;
#[path = "../../../lake/tests/lake/common/created_by.rs"]
mod created_by;
mod lakes;
mod normal;
mod rows;
mod traffic;
mod world;

use archive::Dump;
use authpulse_audit::verify::{VerifyOptions, VerifyReport, verify};
use authpulse_event::ShardId;
use authpulse_lake::entry::{Entry, Spill};
use authpulse_lake::{Checkpoint, SectionList};
use futures::executor::block_on;
use lakes::{NAMES, fold, go_on, is_child, made, options};
use normal::{normal, unpacked};
use rows::{Digests, digests};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use world::World;

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/shape-before").join(file)
}

fn stored(name: &str) -> Dump {
    Dump::unpack(&std::fs::read(data(&format!("{name}.lake.zst"))).unwrap())
}

fn is_making() -> bool {
    std::env::var("AUTHPULSE_MAKE").is_ok()
}

async fn sound(world: &World, name: &str) -> VerifyReport {
    let report = verify(&world.env, &VerifyOptions::default()).await.unwrap();
    assert_eq!(report.difference, None, "{name}: {report}");
    report
}

/// All entries of the journals.
async fn stored_entries(world: &World) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (shard, n, body) in world.dump().await.entries {
        entries.push(Entry::decode(&ShardId::new(&shard), n, &body, &SectionList::default()).unwrap());
    }
    entries
}

/// The same records, admitted now, leave the same bytes as then: files, entries, spills, checkpoints, pieces of snapshots, and the
/// tables' metadata.
#[test]
fn the_same_records_make_the_same_lake() {
    block_on(make_and_compare());
}

async fn make_and_compare() {
    let mut expected = BTreeMap::new();
    for name in NAMES {
        let begun = std::time::Instant::now();
        let mut world = made(name).await;
        println!("{name}: {:?}", begun.elapsed());
        let dump = world.dump().await;
        if is_making() {
            std::fs::write(data(&format!("{name}.lake.zst")), dump.pack()).unwrap();
            go_on(&mut world, name).await;
            expected.insert(name, digests(&world.env.lake).await);
            continue;
        }
        let (then, now) = (normal(&stored(name)), normal(&dump));
        for (what, then) in &then {
            let now = now.get(what).unwrap_or_else(|| panic!("{name} has no longer {what}"));
            let differs = then.iter().zip(now).position(|(a, b)| a != b).or((then.len() != now.len()).then_some(0));
            if let Some(at) = differs {
                let show = |bytes: &[u8]| {
                    String::from_utf8_lossy(&bytes[at.saturating_sub(80)..(at + 80).min(bytes.len())]).into_owned()
                };
                panic!("{name}: {what} differs at byte {at}\nthen: {}\nnow:  {}", show(then), show(now));
            }
        }
        let more: Vec<_> = now.keys().filter(|what| !then.contains_key(*what)).collect();
        assert!(more.is_empty(), "{name} has more than then: {more:?}");
    }
    if is_making() {
        std::fs::write(data("lakes.json"), serde_json::to_string_pretty(&expected).unwrap() + "\n").unwrap();
    }
}

/// A fixture that lacked the things it is made for would keep every test below green.
#[test]
fn the_lakes_hold_what_they_were_made_for() {
    let mut met: BTreeMap<&str, usize> = BTreeMap::new();
    for name in NAMES {
        let dump = stored(name);
        let mut count = |what: &'static str, is: bool| *met.entry(what).or_default() += usize::from(is);
        let mut last = BTreeMap::new();
        for (shard, n, body) in &dump.entries {
            let entry = Entry::decode(&ShardId::new(shard), *n, body, &SectionList::default()).unwrap();
            count("side within an entry", !entry.spill.is_empty());
            count("side file", entry.spill_file.is_some());
            count("heir", !entry.inherits.is_empty());
            count("end of a shard", entry.end);
            count("snapshot of an heir", !entry.snapshot.is_empty() && name == "split" && is_child(&entry.shard));
            count("snapshot of one piece", entry.snapshot.len() == 1);
            count("snapshot of several pieces", entry.snapshot.len() > 1);
            count("raw file", !entry.raw.is_empty());
            count("take-over", entry.takes_over);
            last.insert(shard.clone(), entry);
        }
        for entry in last.values() {
            count("events that wait", !entry.waiting.is_empty());
            count("events without a score", entry.counts.unscored > 0);
            count("unfinished backfill", entry.backfill.as_ref().is_some_and(|backfill| !backfill.finished));
            count("sealed", entry.sealed.is_some());
        }
        for reason in ["invalid", "misrouted", "future", "late", "duplicate"] {
            let has = |entry: &Entry| entry.counts.rejected.contains_key(reason);
            count(
                reason,
                dump.entries.iter().any(|(shard, n, body)| {
                    has(&Entry::decode(&ShardId::new(shard), *n, body, &SectionList::default()).unwrap())
                }),
            );
        }
        for (shard, ..) in &dump.checkpoints {
            count("base", true);
            count("removed entries", !dump.entries.iter().any(|(of, n, _)| of == shard && *n == 1));
        }
        for (path, _, body) in dump.files.iter().filter(|(path, ..)| path.ends_with(".apst.zst")) {
            let piece = unpacked(body);
            assert_eq!(&piece[..5], b"APST\x02", "{path}");
            let has_own_ids = (0..60).any(|n| has(&piece, format!("e{n}").as_bytes()));
            count("piece with own ids", has_own_ids);
            count("piece without own ids", !has_own_ids && piece.len() > 300);
        }
    }
    for (what, n) in &met {
        assert!(*n > 0, "no lake has: {what}; they have {met:?}");
    }
    assert_eq!(met.len(), 22);
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|at| at == part)
}

#[test]
fn lakes_of_then_go_on_as_they_did_then() {
    block_on(load_and_go_on());
}

async fn load_and_go_on() {
    let expected = std::fs::read(data("lakes.json")).unwrap();
    let expected: BTreeMap<String, Digests> = serde_json::from_slice(&expected).unwrap();
    for name in NAMES {
        let dump = stored(name);
        let mut world = World::restore(&dump, options(name)).await;
        assert_eq!(world.dump().await, dump, "{name} is not what was packed");
        let before = sound(&world, name).await.totals();
        go_on(&mut world, name).await;
        let after = sound(&world, name).await.totals();
        assert!(after.received > before.received, "{name}: nothing was left to read");
        assert_eq!(&digests(&world.env.lake).await, &expected[name], "rows of {name}");
        fold(&mut world).await;
        sound(&world, name).await;
        assert_eq!(&digests(&world.env.lake).await, &expected[name], "rows of {name} after maintenance");
        // The former program can still read what is written now.
        let now = world.dump().await;
        for (shard, n, body) in &now.checkpoints {
            let checkpoint: Value = serde_json::from_slice(&unpacked(body)).unwrap();
            assert_eq!(
                (&checkpoint["format"], &checkpoint["last"]["format"]),
                (&1.into(), &2.into()),
                "{name}: base {n} of {shard}"
            );
        }
        assert!(
            now.checkpoints.iter().any(|checkpoint| !dump.checkpoints.contains(checkpoint)),
            "{name}: nothing was folded"
        );
        let mut written = 0;
        for (shard, n, body) in &now.entries {
            let entry: Value = serde_json::from_slice(&unpacked(body)).unwrap();
            assert_eq!(entry["format"], 2, "{name}: entry {n} of {shard}");
            written += usize::from(!dump.entries.iter().any(|(of, number, _)| of == shard && number == n));
        }
        assert!(written > 3, "{name}: {written} entries");
        for (path, _, body) in now.files.iter().filter(|(path, ..)| path.ends_with(".apst.zst")) {
            assert_eq!(&unpacked(body)[..5], b"APST\x02", "{name}: {path}");
        }
    }
}

/// What was stored then means the same to today's program, word by word, and is folded into checkpoints of the former format.
#[test]
fn what_is_read_of_then_is_written_as_it_was() {
    let (mut spills, mut checkpoints) = (0, 0);
    for name in NAMES {
        let dump = stored(name);
        let same = |what: String, then: &[u8], now: &[u8]| {
            let text = |bytes| String::from_utf8(unpacked(bytes)).unwrap();
            assert_eq!(text(now), text(then), "{name}: {what}");
        };
        for (shard, n, body) in &dump.entries {
            let entry = Entry::decode(&ShardId::new(shard), *n, body, &SectionList::default()).unwrap();
            same(format!("entry {n} of {shard}"), body, &entry.encode());
        }
        for (shard, n, body) in &dump.checkpoints {
            let checkpoint = Checkpoint::decode(&ShardId::new(shard), *n, body, &SectionList::default()).unwrap();
            assert_eq!(checkpoint.format, 1);
            same(format!("base {n} of {shard}"), body, &checkpoint.encode());
            checkpoints += 1;
        }
        for (path, _, body) in dump.files.iter().filter(|(path, ..)| path.ends_with(".side.json.zst")) {
            same(path.clone(), body, &Spill::decode(path, body, &SectionList::default()).unwrap().encode());
            spills += 1;
        }
    }
    assert!(spills > 0 && checkpoints > 3, "{spills} sides, {checkpoints} bases");
}
