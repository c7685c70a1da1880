//! The lakes of the fixtures: how each is made, and how it is continued.

use crate::archive::StreamChange;
use crate::traffic::Traffic;
use crate::world::World;
use authpulse_event::time::{DAY, DEFAULT_BASE, HOUR, SECOND};
use authpulse_event::{ProcessingTime, ShardId, Span};
use authpulse_files::Source;
use authpulse_lake::MaintainSettings;
use authpulse_service::backfill::{BackfillRequest, prepare};
use authpulse_service::service::Mode;
use authpulse_settings::Options;
use authpulse_stream::StreamWriter;
use authpulse_worker::worker::StepOutcome;

/// All of them.
pub const NAMES: [&str; 5] = ["folded", "ahead", "split", "unfinished", "sealed"];

/// The time at which they begin.
const BEGIN: ProcessingTime = ProcessingTime::from_micros(DEFAULT_BASE.after(Span::days(60)).micros());
/// In this many steps all of a stream must be stored.
const STEPS: u64 = 200_000;

/// Small entries, so that there are many, and rules that fire now and then.
pub fn options(name: &str) -> Options {
    let mut options = Options {
        entry_rows: 80,
        entry_age: 8 * SECOND,
        chunk_rows: 50,
        read_records: 30,
        snapshot_rows: if name == "folded" { 30 } else { 120 },
        snapshot_piece_bytes: 1_500,
        idle_after: 40 * SECOND,
        raw: name != "ahead",
        // Files of a commit are merged on the way, or stay as the entries name them.
        gather_below: if name == "folded" { 1 << 20 } else { 0 },
        ..Options::default()
    };
    options.engine.time.lookback_days = 3;
    for (key, value) in [("min_hosts", 3), ("burst_over", 4), ("lateral_from", 3)] {
        options.engine.rules.set_threshold(key, value).unwrap();
    }
    options
}

/// Folds everything that it can, merges small files, and removes at once what folded entries do not need.
const FOLD: MaintainSettings = MaintainSettings {
    target_bytes: 1 << 20,
    min_files: 3,
    manifests_max: 5,
    snapshots_max: 6,
    snapshot_age: DAY,
    orphan_age: Span::hours(2),
    fold_entries: 3,
    entry_age: HOUR,
    follower_keep: DAY,
};

/// A round of maintenance, some hours later.
pub async fn fold(world: &mut World) {
    world.pass(3 * HOUR);
    world.maintain(&FOLD).await;
}

/// Makes a lake up to the point at which its fixture was taken.
pub async fn made(name: &str) -> World {
    match name {
        "folded" => folded().await,
        "ahead" => ahead().await,
        "split" => split().await,
        "unfinished" => unfinished().await,
        "sealed" => sealed().await,
        other => panic!("no lake is named {other}"),
    }
}

fn created(world: &World, shards: u32) -> StreamChange {
    StreamChange::Create { at: (world.now() + SECOND).micros(), name: "logons".to_owned(), shards }
}

async fn put(world: &mut World, traffic: &mut Traffic, records: usize) {
    for _ in 0..records {
        world.put(traffic.record()).await;
    }
}

/// A history in files, then a stream of two shards over a split and a merge, with maintenance on the way. It leaves journals that are
/// little more than checkpoints, snapshots, events that wait or are not scored yet. At the end the stream has more than was read.
async fn folded() -> World {
    let mut world = World::new(options("folded"), BEGIN, 1);
    let mut traffic = Traffic::new(11, true);
    for file in ["history-1.txt", "history-2.txt"] {
        world.inputs.insert(file.to_owned(), traffic.lines(200));
    }
    backfill(&mut world, None, true).await;
    world.pass(HOUR);
    let create = created(&world, 2);
    world.change_stream(create).await;
    for part in 0..6 {
        put(&mut world, &mut traffic, 220).await;
        match part {
            1 => world.reshard(true).await,
            3 => world.reshard(false).await,
            _ => {}
        }
        world.serve(Mode::Run, 250, part % 2 == 0).await;
        world.commit().await;
        fold(&mut world).await;
    }
    put(&mut world, &mut traffic, 150).await;
    world
}

/// Two shards, one of which is not read for long: the events of the other are accepted but not scored, and lie in spill files.
async fn ahead() -> World {
    let mut world = World::new(options("ahead"), BEGIN, 2);
    let mut traffic = Traffic::new(22, true);
    let create = created(&world, 2);
    world.change_stream(create).await;
    put(&mut world, &mut traffic, 150).await;
    world.serve(Mode::Run, 150, false).await;
    put(&mut world, &mut traffic, 1_100).await;
    world.at_work = 1;
    world.serve(Mode::Run, 300, false).await;
    world.at_work = usize::MAX;
    world
}

/// A shard that was split. It is read to its end, its children have begun, and one of them has a snapshot of its own.
async fn split() -> World {
    let mut world = World::new(options("split"), BEGIN, 3);
    let mut traffic = Traffic::new(33, false);
    let create = created(&world, 1);
    world.change_stream(create).await;
    put(&mut world, &mut traffic, 300).await;
    world.serve(Mode::Run, 60, false).await;
    world.reshard(true).await;
    for _ in 0..5 {
        put(&mut world, &mut traffic, 350).await;
        world.serve(Mode::Run, 120, false).await;
        if has_child_with_snapshot(&world).await {
            put(&mut world, &mut traffic, 70).await;
            return world;
        }
    }
    panic!("no heir of the split has a snapshot");
}

/// Whether it is one of the shards into which the first was split.
pub fn is_child(shard: &str) -> bool {
    ["shardId-000000000001", "shardId-000000000002"].iter().any(|id| shard.starts_with(id))
}

async fn has_child_with_snapshot(world: &World) -> bool {
    let entries = crate::stored_entries(world).await;
    entries.iter().any(|entry| !entry.snapshot.is_empty() && is_child(&entry.shard))
}

/// A backfill that was ended in the middle of its second file, before everything it had stored was committed.
async fn unfinished() -> World {
    let mut world = World::new(options("unfinished"), BEGIN, 4);
    let mut traffic = Traffic::new(44, true);
    for (file, lines) in [180, 4_500, 180].into_iter().enumerate() {
        world.inputs.insert(format!("auth-{file}.txt"), traffic.lines(lines));
    }
    backfill(&mut world, Some(1), false).await;
    world.commit().await;
    backfill(&mut world, Some(3), false).await;
    world
}

/// A backfill that is finished and sealed, its tables merged, its journal folded: a stream goes on behind it.
async fn sealed() -> World {
    let mut world = World::new(options("sealed"), BEGIN, 5);
    let mut traffic = Traffic::new(55, false);
    for file in 1..=3 {
        world.inputs.insert(format!("auth-{file}.txt"), traffic.lines(150));
    }
    backfill(&mut world, None, false).await;
    world.commit().await;
    for _ in 0..2 {
        fold(&mut world).await;
    }
    let create = created(&world, 1);
    world.change_stream(create).await;
    traffic.time += 5 * 86_400;
    put(&mut world, &mut traffic, 200).await;
    world
}

/// Loads the files of a world; ends behind this entry, as by a kill.
async fn backfill(world: &mut World, entries: Option<u64>, keep_open: bool) {
    let dir = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for (name, content) in &world.inputs {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        files.push(Source::File(path));
    }
    let request = BackfillRequest { keep_open, ..BackfillRequest::new(files) };
    let mut run = prepare(&world.env, world.options.clone(), &request).await.unwrap();
    loop {
        if entries.is_some() && world.env.journal.tail(&ShardId::file()).await.unwrap() >= entries {
            return;
        }
        world.pass(SECOND / 10);
        if run.worker.step().await.unwrap() == StepOutcome::Done {
            return;
        }
    }
}

/// Continues a lake until all its input is stored.
pub async fn go_on(world: &mut World, name: &str) {
    if name == "unfinished" {
        backfill(world, None, false).await;
    } else {
        world.stream().close().await.unwrap();
        assert!(world.serve(Mode::Run, STEPS, false).await, "{name}: not all has landed");
    }
    world.commit().await;
}
