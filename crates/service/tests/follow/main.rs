//! Followers: what a follower keeps equals what the lake says, no matter who is killed when, what is folded, gathered or cleaned, and how
//! long the follower was away. And maintenance keeps what a follower lacks, for as long as it should.

#[path = "../../../lake/tests/lake/common/mod.rs"]
#[allow(dead_code, reason = "the lake's tests use the rest")]
mod common;
mod counts;
#[path = "../../../lake/tests/lake/maintain/world.rs"]
#[allow(dead_code, reason = "the tests of maintenance use the rest")]
mod world;

use async_trait::async_trait;
use authpulse_event::time::{DAY, HOUR};
use authpulse_event::{ProcessingTime, ShardId, Span, Tick};
use authpulse_journal::env::{Clock, Ids, Work};
use authpulse_journal::error::Result;
use authpulse_journal::sink::NoSink;
use authpulse_journal::{ConsumerError, Env};
use authpulse_lake::fault::{Faults, Step};
use authpulse_lake::followers;
use authpulse_lake::maintain::{Kept, Memory};
use authpulse_lake::{
    CommitIds, CommitSettings, EntryFiles, Journal, MaintainSettings, ObjectStore, SoleCommitter, Table,
};
use authpulse_service::committer::commit_all;
use authpulse_service::follow::{Follower, Registered, Round, TableFollower, apply, next};
use counts::{Counts, Kill, counted};
use futures::executor::block_on;
use futures::future::BoxFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use world::{SetIds, TIDY, World};

/// The world's clock.
struct WorldClock(Arc<SetIds>);

#[async_trait]
impl Clock for WorldClock {
    fn now(&self) -> ProcessingTime {
        ProcessingTime::from_micros(self.0.now_ms() * 1_000)
    }
    fn ticks(&self) -> Tick {
        Tick::from_micros(self.now().micros())
    }
    async fn sleep(&self, _: Duration) {}
}

struct CountingIds(AtomicU64);

impl Ids for CountingIds {
    fn commit_id(&self) -> String {
        self.0.fetch_add(1, Ordering::Relaxed).to_string()
    }
}

struct InPlace;

impl Work for InPlace {
    fn start(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        work
    }
}

fn env(world: &World) -> Env {
    Env {
        store: world.store.clone(),
        journal: world.journal.clone(),
        lake: Arc::new(world.lake.clone()),
        committer: Arc::new(SoleCommitter),
        clock: Arc::new(WorldClock(world.ids.clone())),
        ids: Arc::new(CountingIds(AtomicU64::new(1))),
        work: Arc::new(InPlace),
        sink: Arc::new(NoSink),
        probe: Arc::new(|_, _| {}),
        inspect: None,
    }
}

/// A lake that gathers the small files of each commit.
fn gathering() -> World {
    let mut world = World::new();
    let settings = CommitSettings { keep_snapshots: 6, manifests_max: 8, attempts: 20, gather_below: 1 << 20 };
    world.lake = world.lake.clone().with_settings(settings);
    world.spills = true;
    world
}

/// Stores the next entry of each of two shards.
fn store_both(world: &mut World) {
    for shard in ["a", "b"] {
        world.store_entry(shard);
    }
}

/// A place for a follower's database, and processes of it.
struct FollowerDir(TempDir);

impl FollowerDir {
    fn new() -> FollowerDir {
        FollowerDir(tempfile::tempdir().unwrap())
    }
    fn start(&self, world: &World) -> Registered<Counts> {
        self.start_with(world, Arc::new(|_| Ok(())))
    }
    fn start_with(&self, world: &World, kill: Kill) -> Registered<Counts> {
        Registered::new(env(world), Counts::open(&self.0.path().join("counts.db"), kill)).unwrap()
    }
}

fn rebuilt(of: &Registered<Counts>) -> usize {
    of.follower().rebuilt.load(Ordering::Relaxed)
}

/// The follower goes on to the end; then it has the same as the tables once they are there as well.
fn agrees(world: &World, follower: &mut Registered<Counts>, what: &str) {
    block_on(commit_all(&env(world))).unwrap();
    block_on(follower.catch_up()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(follower.follower().users(), block_on(counted(&env(world))), "{what}");
}

/// The entries behind `n`, their files and their spills are there.
fn keeps_from(world: &World, shard: &str, n: u64, what: &str) {
    for entry in world.journaled.iter().filter(|entry| entry.shard == shard && entry.n > n) {
        let stored = block_on(world.journal.get(&ShardId::new(shard), entry.n)).unwrap();
        assert!(stored.is_some(), "entry {} of {shard} is gone, {what}", entry.n);
        let files = entry.files.iter().map(|file| &file.path).chain(entry.spill_file.iter().map(|spill| &spill.path));
        for path in files {
            assert!(block_on(world.store.size(path)).unwrap().is_some(), "{path} is gone, {what}");
        }
    }
    if let Some((through, _)) = block_on(world.journal.checkpoint(&ShardId::new(shard))).unwrap() {
        assert!(through <= n, "{shard} is folded through {through}, {what}");
    }
}

fn gone(world: &World, shard: &str, n: u64) -> bool {
    block_on(world.journal.get(&ShardId::new(shard), n)).unwrap().is_none()
}

#[test]
fn one_that_keeps_up_is_never_rebuilt_while_all_is_folded_gathered_and_cleaned() {
    let (mut world, place, mut memory) = (gathering(), FollowerDir::new(), Memory::default());
    let mut follower = place.start(&world);
    let (mut folded, mut removed, mut merged) = (0, 0, 0);
    for n in 1..=60u64 {
        for shard in ["a", "b", "c"] {
            // One shard begins later, and one ends.
            if (shard != "b" || n > 20) && (shard != "c" || n < 40) {
                world.store_entry(shard);
            }
        }
        if n % 4 == 0 {
            world.commit();
        }
        if n % 3 == 0 {
            block_on(follower.catch_up()).unwrap();
        }
        world.pass(HOUR);
        if n % 5 == 0 {
            let report = world.maintain(&TIDY, &mut memory);
            assert!(report.is_complete(), "{report:?}");
            folded += report.folded.entries;
            removed += report.folded.removed;
            merged += report.cleaned.removed.files;
        }
    }
    agrees(&world, &mut follower, "at the end");
    assert_eq!(rebuilt(&follower), 0);
    assert!(folded > 100 && removed > 80 && merged > 50, "{folded} folded, {removed} removed, {merged} files cleaned");
    assert!(gone(&world, "a", 1) && gone(&world, "b", 1) && gone(&world, "c", 1));
    assert_eq!(follower.follower().spills.load(Ordering::Relaxed), 60 + 40 + 39, "each entry once");
    // It registered while it went on, once in ten seconds at most; three of those registrations are left.
    assert_eq!(block_on(followers::read(world.journal.followers())).unwrap().len(), 1);
}

#[test]
fn what_one_lacks_is_kept_for_a_week_and_then_it_is_rebuilt() {
    let (mut world, place) = (gathering(), FollowerDir::new());
    for _ in 1..=10 {
        store_both(&mut world);
        world.commit();
        world.pass(HOUR);
    }
    let mut follower = place.start(&world);
    assert_eq!(block_on(follower.catch_up()).unwrap(), Round { entries: 20, rows: 40 });
    // Its registration is from the beginning of a round, so it goes on once more.
    world.pass(HOUR);
    assert_eq!(block_on(follower.catch_up()).unwrap(), Round::default());
    let left = world.now();
    let mut held = 0;
    while world.now() < left + 6 * DAY {
        store_both(&mut world);
        world.commit();
        world.pass(3 * HOUR);
        // A new process, which remembers nothing.
        let report = world.maintain(&TIDY, &mut Memory::default());
        assert!(report.is_complete(), "{report:?}");
        held = report.cleaned.held.files;
        let told = &report.followers[0];
        assert_eq!((told.name.as_str(), told.kept), ("counts", Kept::Yes));
        for shard in ["a", "b"] {
            keeps_from(&world, shard, 10, "while it is kept for");
        }
    }
    let report = world.maintain(&TIDY, &mut Memory::default());
    let told = report.followers[0].words().unwrap();
    assert!(
        held > 50 && told.contains("follower counts lacks 96 entries, the oldest entry 11 of shard a"),
        "{held}, {told}"
    );
    assert!(told.contains("94 entries are not folded for its sake"), "{told}");
    // A dry run would remove as little.
    let dry =
        block_on(authpulse_lake::maintain(&world.lake, world.journal.as_ref(), &TIDY, true, &mut Memory::default()));
    assert_eq!((dry.folded.entries, dry.cleaned.held), (report.folded.entries, report.cleaned.held));

    // It comes back in time and goes on as if nothing had happened. Another follower, which stays away, is one too many.
    let away = FollowerDir::new();
    std::fs::copy(place.0.path().join("counts.db"), away.0.path().join("counts.db")).unwrap();
    agrees(&world, &mut follower, "after six days");
    assert_eq!(rebuilt(&follower), 0);

    // The other comes back after ten days, when its entries are folded.
    drop(follower);
    block_on(world.journal.followers().forget(&followers::FollowerName::new("counts").unwrap())).unwrap();
    let mut away = away.start(&world);
    world.pass(HOUR);
    block_on(world.journal.followers().registered()).unwrap();
    let lagging = followers::Registration::new(
        &followers::FollowerName::new("counts").unwrap(),
        world.now(),
        &block_on(away.follower().applied()).unwrap(),
    );
    block_on(followers::put(world.journal.followers(), &followers::FollowerName::new("counts").unwrap(), &lagging, 0))
        .unwrap();
    world.pass(2 * DAY);
    let report = world.maintain(&TIDY, &mut Memory::default());
    let told = report.followers[0].words().unwrap();
    assert!(report.followers[0].kept == Kept::Overdue && told.contains("nothing is kept for it any more"), "{told}");
    world.pass(3 * HOUR);
    world.maintain(&TIDY, &mut Memory::default());
    assert!(gone(&world, "a", 11) && gone(&world, "b", 11), "its entries are folded and gone");
    assert_eq!(world.maintain(&TIDY, &mut Memory::default()).followers[0].kept, Kept::Folded);
    agrees(&world, &mut away, "after more than a week");
    assert_eq!(rebuilt(&away), 1);
    // And from there it follows again.
    for _ in 0..5 {
        world.store_entry("b");
        world.pass(HOUR);
        agrees(&world, &mut away, "after it was rebuilt");
        assert!(world.maintain(&TIDY, &mut Memory::default()).is_complete());
    }
    assert_eq!(rebuilt(&away), 1);
}

#[test]
fn one_that_was_given_up_is_kept_for_until_it_is_forgotten() {
    let (mut world, place) = (gathering(), FollowerDir::new());
    world.store_entry("a");
    block_on(place.start(&world).round()).unwrap();
    for _ in 0..20 {
        world.store_entry("a");
        world.commit();
        world.pass(HOUR);
    }
    assert_eq!(world.maintain(&TIDY, &mut Memory::default()).folded.entries, 0);
    keeps_from(&world, "a", 0, "as the registration is from before the first batch");
    let name = followers::FollowerName::new("counts").unwrap();
    assert!(block_on(world.journal.followers().forget(&name)).unwrap());
    let report = world.maintain(&TIDY, &mut Memory::default());
    assert_eq!((report.folded.entries, report.followers.len(), report.cleaned.held.files), (20, 0, 0));
}

/// A registry that cannot be read may name a follower: nothing is removed.
#[test]
fn without_the_registry_nothing_is_folded_or_cleaned() {
    let mut world = gathering();
    for _ in 0..12 {
        world.store_entry("a");
        world.commit();
        world.pass(HOUR);
    }
    let name = followers::FollowerName::new("counts").unwrap();
    let before = block_on(world.store.list("")).unwrap().into_iter().filter(|f| f.path.contains("/data/")).count();
    block_on(world.journal.followers().register(&name, 1, bytes::Bytes::from_static(b"{\"format\":2}"))).unwrap();
    let report = world.maintain(&MaintainSettings { min_files: 1_000, ..TIDY }, &mut Memory::default());
    let told = report.cleaned.stopped.unwrap_or_default() + &report.folded.failed.unwrap_or_default();
    assert!(told.contains("registration 1 of follower counts") && told.contains("run a newer version"), "{told}");
    assert!(block_on(world.journal.checkpoint(&ShardId::new("a"))).unwrap().is_none());
    let after = block_on(world.store.list("")).unwrap().into_iter().filter(|f| f.path.contains("/data/")).count();
    assert_eq!(after, before);
}

/// The files of its entries were gathered and cleaned before it came; the entries are still there.
#[test]
fn one_that_finds_a_file_gone_is_rebuilt() {
    let (mut world, place) = (gathering(), FollowerDir::new());
    for _ in 0..12 {
        store_both(&mut world);
        store_both(&mut world);
        world.commit();
    }
    world.pass(2 * DAY);
    let unfolded = MaintainSettings { fold_entries: 1_000, ..TIDY };
    let report = world.maintain(&unfolded, &mut Memory::default());
    assert!(report.is_complete() && report.folded.entries == 0 && report.cleaned.removed.files > 10, "{report:?}");
    let mut follower = place.start(&world);
    let Err(ConsumerError::Behind { shard, through }) = block_on(shared_round(&world, follower.follower())) else {
        panic!("its first files are gone")
    };
    assert_eq!((shard.as_str(), through), ("a", 1));
    agrees(&world, &mut follower, "after its files were cleaned");
    assert_eq!(rebuilt(&follower), 1);
}

/// The round that all followers share, which rebuilds none.
async fn shared_round(world: &World, follower: &Counts) -> Result<()> {
    let env = env(world);
    apply(&next(&env, &[follower]).await?, &[follower]).await.map(drop)
}

/// Entries that are gone and that the tables lack as well cannot be made good.
#[test]
fn a_file_that_is_lost_for_good_is_told_and_nothing_changes() {
    let (mut world, place) = (World::new(), FollowerDir::new());
    world.store_entry("a");
    let mut follower = place.start(&world);
    block_on(follower.catch_up()).unwrap();
    world.store_entry("a");
    let lost = world.journaled[1].files.iter().find(|file| file.table == Table::CURATED).unwrap().path.clone();
    block_on(world.store.delete(&lost)).unwrap();
    let before = follower.follower().users();
    let told = block_on(follower.catch_up()).unwrap_err().to_string();
    assert!(told.contains("what entry 2 of shard a names is gone") && told.contains("up to 0 only"), "{told}");
    assert_eq!((follower.follower().users(), rebuilt(&follower)), (before, 0));
}

/// Each table is committed by itself: a version has the rows of all entries, even for a table that is behind.
#[test]
fn a_version_is_whole_where_tables_stand_apart() {
    let (mut world, place) = (World::new(), FollowerDir::new());
    for n in 1..=9 {
        store_both(&mut world);
        let views: Vec<EntryFiles<'_>> = world.entries.iter().map(common::Entry::view).collect();
        for table in Table::FIRST {
            if table != Table::CURATED || n <= 4 {
                block_on(world.lake.commit(table, &views)).unwrap();
            }
        }
    }
    world.pass(HOUR);
    assert_eq!(
        world
            .maintain(&MaintainSettings { fold_entries: 1, entry_age: Span::ZERO, ..TIDY }, &mut Memory::default())
            .folded
            .entries,
        8
    );
    let mut follower = place.start(&world);
    block_on(follower.catch_up()).unwrap();
    assert_eq!(rebuilt(&follower), 1);
    assert_eq!(follower.follower().spills.load(Ordering::Relaxed), 0, "all of it is in the version");
    assert_eq!(follower.follower().users().len(), 36, "two shards of nine entries with two rows each");
    agrees(&world, &mut follower, "once the table has followed");
}

#[test]
fn each_table_goes_on_from_its_own_position_and_a_gap_is_refused() {
    let mut world = World::new();
    for n in 1..=450u64 {
        world.store_entry("a");
        if n == 3 || n == 5 {
            let views: Vec<EntryFiles<'_>> = world.entries.iter().map(common::Entry::view).collect();
            block_on(world.lake.commit(if n == 3 { Table::DAILY } else { Table::CURATED }, &views)).unwrap();
        }
    }
    let env = env(&world);
    let tables = block_on(TableFollower::load_all(&env)).unwrap();
    let tables: Vec<&dyn Follower> = tables.iter().map(|table| table as &dyn Follower).collect();
    // Some hundred entries at a time from each shard.
    let batch = block_on(next(&env, &tables)).unwrap();
    let (first, is_last) = block_on(apply(&batch, &tables)).unwrap();
    assert_eq!((first.entries, is_last), (200, false));
    assert!(world.applied().values().all(|applied| applied[&ShardId::new("a")] == 200));
    assert_eq!(block_on(commit_all(&env)).unwrap().entries, 250);
    world.check(&world.applied(), "after the committer");
    // A journal that has lost an entry.
    let (place, lame) = (FollowerDir::new(), World::new());
    for entry in world.journaled.iter().filter(|entry| entry.n != 2).take(3) {
        block_on(lame.journal.put(&ShardId::new("a"), entry.n, entry.encode())).unwrap();
    }
    let told = block_on(place.start(&lame).catch_up()).unwrap_err().to_string();
    assert!(told.contains("entry 2 of shard a") && told.contains("missing from the journal"), "{told}");
}

#[test]
fn a_follower_with_a_name_that_is_none_is_refused() {
    struct Nameless;
    #[async_trait]
    impl Follower for Nameless {
        fn name(&self) -> &str {
            "a/b"
        }
        async fn applied(&self) -> Result<authpulse_service::follow::Applied> {
            Ok(Default::default())
        }
        async fn apply(&self, _: &authpulse_service::follow::Batch<'_>) -> Result<u64> {
            Ok(0)
        }
        async fn rebuild(&self, _: &authpulse_service::follow::Version) -> Result<()> {
            Ok(())
        }
    }
    let told = Registered::new(env(&World::new()), Nameless).err().unwrap().to_string();
    assert!(told.contains("\"a/b\" is no name of a follower"), "{told}");
}

/// Fails at the `nth` moment and at every later one: the process is gone.
fn dies_at(nth: usize) -> (Faults, Kill, Arc<AtomicUsize>) {
    let moments = Arc::new(AtomicUsize::new(0));
    let step = {
        let moments = moments.clone();
        move || if moments.fetch_add(1, Ordering::Relaxed) >= nth { Err("killed".to_owned()) } else { Ok(()) }
    };
    let kill = step.clone();
    (Faults::new(move |_: &Step<'_>| step()), Arc::new(move |_: &str| kill()), moments)
}

/// A follower that has to be rebuilt and then goes on. It is ended at each of its effects, one after the other, the ends of its own
/// transactions included; another process goes on each time.
#[test]
fn killed_at_any_effect_it_keeps_what_the_lake_says() {
    let (mut world, behind) = (gathering(), FollowerDir::new());
    let name = followers::FollowerName::new("counts").unwrap();
    for n in 0..12 {
        store_both(&mut world);
        world.commit();
        world.pass(HOUR);
        if n == 2 {
            block_on(behind.start(&world).round()).unwrap();
            block_on(world.journal.followers().forget(&name)).unwrap();
        }
    }
    for _ in 0..3 {
        assert!(
            world.maintain(&MaintainSettings { entry_age: Span::ZERO, ..TIDY }, &mut Memory::default()).is_complete()
        );
        world.pass(2 * HOUR);
    }
    // Some more entries, behind those that the tables have.
    store_both(&mut world);
    assert!(gone(&world, "a", 4));
    let all: counts::Users =
        common::expected_users(&world.entries, world::ROWS).into_iter().map(|user| (user, 1)).collect();
    let mut nth = 0;
    loop {
        let place = FollowerDir::new();
        std::fs::copy(behind.0.path().join("counts.db"), place.0.path().join("counts.db")).unwrap();
        let (faults, kill, moments) = dies_at(nth);
        let mut dying = place.start_with(&world, kill);
        world.set_faults(&faults);
        let died = block_on(dying.catch_up()).is_err();
        world.set_faults(&Faults::none());
        assert_eq!(died, moments.load(Ordering::Relaxed) > nth);
        let was_rebuilt = rebuilt(&dying);
        drop(dying);
        let mut follower = place.start(&world);
        block_on(follower.catch_up()).unwrap();
        assert_eq!(follower.follower().users(), all, "killed at moment {nth}");
        if !died {
            assert_eq!((was_rebuilt, rebuilt(&follower)), (1, 0));
            break;
        }
        nth += 1;
    }
    assert!(nth > 100, "{nth} moments");
}

/// Random orders of everything that happens to a lake and a follower, which has two processes at times.
#[test]
fn any_order_of_events_leaves_what_the_lake_says() {
    let (mut rebuilds, mut kills, mut kept) = (0, 0, 0);
    for seed in 0..10u64 {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut below = |n: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) % n
        };
        let (mut world, place, mut memory) = (gathering(), FollowerDir::new(), Memory::default());
        let settings = MaintainSettings { follower_keep: Span::hours(6), ..TIDY };
        let mut running: Vec<Registered<Counts>> = Vec::new();
        for event in 0..120 {
            let what = format!("seed {seed}, event {event}");
            match below(20) {
                0..=7 => {
                    let shards = if event < 40 { 2 } else { 4 };
                    world.store_entry(["a", "b", "c", "d"][below(shards) as usize]);
                }
                8..=9 => world.commit(),
                10..=13 => {
                    if running.len() < 2 && below(3) == 0 || running.is_empty() {
                        running.push(place.start(&world));
                    }
                    let at = below(running.len() as u64) as usize;
                    block_on(running[at].round()).unwrap_or_else(|error| panic!("{what}: {error}"));
                }
                14 => {
                    let (faults, kill, _) = dies_at(below(120) as usize);
                    let mut dying = place.start_with(&world, kill);
                    world.set_faults(&faults);
                    kills += usize::from(block_on(dying.catch_up()).is_err());
                    world.set_faults(&Faults::none());
                    rebuilds += rebuilt(&dying);
                }
                15..=16 => world.pass(below(8) as i64 * HOUR),
                17 if below(2) == 0 => world.pass(30 * HOUR),
                18 if below(4) == 0 => {
                    rebuilds += running.iter().map(rebuilt).sum::<usize>();
                    running.clear();
                }
                _ => {
                    let lost = below(2) == 0;
                    let mut none = Memory::default();
                    let report = world.maintain(&settings, if lost { &mut none } else { &mut memory });
                    assert!(report.is_complete(), "{what}: {report:?}");
                    let known = block_on(followers::read(world.journal.followers())).unwrap();
                    for told in report.followers.iter().filter(|told| told.kept == Kept::Yes) {
                        let (_, registration) = known.iter().find(|(name, _)| name.as_str() == told.name).unwrap();
                        kept += usize::from(told.holds > 0);
                        for shard in block_on(world.journal.shards()).unwrap() {
                            keeps_from(&world, shard.as_str(), registration.of(&shard), &what);
                        }
                    }
                }
            }
        }
        let mut last = place.start(&world);
        agrees(&world, &mut last, &format!("seed {seed}"));
        for follower in &mut running {
            agrees(&world, follower, &format!("seed {seed}, another process"));
        }
        // A follower that begins only now, beside those.
        let elsewhere = FollowerDir::new();
        let mut late = elsewhere.start(&world);
        agrees(&world, &mut late, &format!("seed {seed}, begun at the end"));
        rebuilds += rebuilt(&last) + rebuilt(&late) + running.iter().map(rebuilt).sum::<usize>();
    }
    assert!(rebuilds > 5 && kills > 10 && kept > 5, "{rebuilds} rebuilds, {kills} kills, kept for {kept} times");
}
