//! The machine step by step, as a worker carries it out, without a world.

use super::*;
use crate::entry_builder::{Closed, Closing};
use crate::input::{Batch, ReadStatus};
use crate::poison::Poison;
use authpulse_engine::{Settings, SourceKind};
use authpulse_event::time::{DEFAULT_BASE, SECOND};
use authpulse_event::{ArrivalTime, HashRange, Span};
use authpulse_journal::error::ConsumerError;
use authpulse_journal::open::entry_zero;
use authpulse_journal::registry::{Registry, WorkerSlot};
use authpulse_lake::entry::{Source, Spill, StoredDailyCounts, spans};
use authpulse_stream::{Gap, Record};
use std::collections::BTreeMap;

/// A machine over the one shard of a stream, and what it has stored.
struct World {
    registry: Registry,
    _slot: WorkerSlot,
    machine: Machine,
    now: Tick,
    stored: Vec<Closed>,
    decisions: usize,
}

impl World {
    fn new(goal: Goal) -> World {
        let key = ShardId::new("shard");
        let registry = Registry::new(30);
        registry.set_topology(BTreeMap::from([(key.clone(), Vec::new())]), true);
        let options = Arc::new(Options { entry_age: 10 * SECOND, idle_after: 60 * SECOND, ..Options::default() });
        let shard = Shard::new(Settings::default(), SourceKind::Stream, HashRange::FULL);
        let begin = Begin {
            last: entry_zero(&key, Source::File, HashRange::FULL, &options),
            engine: Engine::new(key.clone(), shard, Arc::<Poison>::default(), None, Arc::new(|_, _| {})),
            input_tally: InputTally::new(registry.columns_said().clone()),
            key,
            options,
            goal,
            inherits: Vec::new(),
            arrival_of_lines: None,
        };
        World {
            _slot: registry.enter(),
            machine: Machine::new(begin, Tick::default()).unwrap(),
            registry,
            now: Tick::default(),
            stored: Vec::new(),
            decisions: 0,
        }
    }

    /// Runs a step that begins with this news. Returns what has to be read, or how the step ends. Entries are stored at once.
    fn hear(&mut self, news: News) -> Act {
        let mut act = Act::Hear(news);
        loop {
            let news = match act {
                Act::Hear(news) | Act::Peek(Some(news)) => news,
                Act::Store(reason) => News::Stored(reason),
                act => return act,
            };
            let look = Look { now: self.now, others: &self.registry, entry_under_way: false, waits_for_columns: false };
            let mut effects = Effects::default();
            act = self.machine.step(news, &look, &mut effects).unwrap();
            self.decisions += effects.decisions(self.machine.rows_at_hand()).len();
            if let Some(closed) = effects.closed {
                self.store(closed);
            }
        }
    }

    /// Stores those parts of an entry that the other shards and the machine itself use.
    fn store(&mut self, closed: Closed) {
        let last = self.machine.last();
        let Closed { cut, closing, .. } = &closed;
        let entry = Entry {
            n: last.n + 1,
            to: closing.to.into(),
            watermark: cut.watermark,
            newest_accepted: cut.newest_accepted,
            counts_through: cut.counts_through.map(|day| day.0),
            score_spans: spans(&cut.score_spans),
            daily_through: closing.days.1,
            read_to_end: closing.read_to_end,
            flushed: closing.flushed,
            end: closing.end,
            sealed: closing.sealed,
            ..last.clone()
        };
        let spill = Spill {
            daily_counts: cut.daily_counts.iter().map(StoredDailyCounts::from).collect(),
            scores: cut.scores.iter().map(StoredDailyCounts::from).collect(),
            ..Spill::default()
        };
        self.registry.stored(&entry, &spill).unwrap();
        self.machine.stored(entry);
        self.stored.push(closed);
    }

    /// Reads the `n`-th record, whose time is `n` seconds after noon on the first day.
    fn read(&mut self, n: u32, found: ReadStatus) -> Act {
        let second = NOON + i64::from(n);
        let payload = format!(r#"{{"time":{second},"user":"U1","computer":"C1"}}"#).into();
        let position = Position { sequence: u64::from(n).into(), sub_sequence: 0 };
        let arrival = ArrivalTime::from_micros(DEFAULT_BASE.micros()) + Span::seconds(second);
        let record = Record { payload, partition_key: "U1".into(), position, arrival };
        self.hear(News::Read(Batch::Records(vec![record].into_iter()), found))
    }
}

/// In seconds from the beginning of the first day.
const NOON: i64 = 43_200;

fn at_tip() -> ReadStatus {
    ReadStatus { at_tip: true, ..ReadStatus::default() }
}

fn at_end() -> ReadStatus {
    ReadStatus { at_end: true, ..at_tip() }
}

#[test]
fn a_shard_without_records_is_read_and_then_idle() {
    let mut world = World::new(Goal::Forever);
    assert!(matches!(world.hear(News::Tick), Act::Read { due_in: None, .. }));
    assert!(matches!(world.hear(News::Read(Batch::Empty, at_tip())), Act::Return(StepOutcome::Idle)));
    assert!(world.stored.is_empty());
}

#[test]
fn what_was_admitted_is_stored_when_it_is_due() {
    let mut world = World::new(Goal::Forever);
    assert!(matches!(world.read(7, at_tip()), Act::Return(StepOutcome::Worked)));
    world.now = Tick::default() + 4 * SECOND;
    let Act::Read { due_in: Some(due_in), .. } = world.hear(News::Tick) else { panic!("it reads on") };
    assert_eq!(due_in, 6 * SECOND);
    world.now = Tick::default() + 10 * SECOND;
    assert!(matches!(world.hear(News::Late), Act::Return(StepOutcome::Worked)));
    assert_eq!(world.stored.len(), 1);
    assert_eq!(world.stored[0].builder.counts.received, 1);
}

/// Popularity is that of the days before. The first entry says that nothing happened on them.
#[test]
fn an_event_is_scored_once_the_days_before_it_are_stored_and_handed_over_at_once() {
    let mut world = World::new(Goal::Forever);
    world.read(7, at_tip());
    assert_eq!(world.decisions, 0);
    assert!(matches!(world.hear(News::Late), Act::Return(StepOutcome::Worked)), "it stores what it waits for itself");
    assert_eq!((world.stored.len(), world.decisions), (1, 0));
    world.hear(News::Tick);
    assert_eq!((world.stored.len(), world.decisions), (1, 1));
}

#[test]
fn a_stop_stores_what_is_decided_and_nothing_where_there_is_nothing() {
    for records in 0..2 {
        let mut world = World::new(Goal::Forever);
        for n in 0..records {
            world.read(7 + n, at_tip());
        }
        assert!(matches!(world.hear(News::Stop), Act::Return(StepOutcome::Done)));
        assert_eq!(world.stored.len(), records as usize);
        assert_eq!(world.machine.phase(), Phase::Done);
        assert!(matches!(world.hear(News::Tick), Act::Return(StepOutcome::Done)));
    }
}

#[test]
fn a_goal_is_reached_at_its_position_and_leaves_open_what_is_open() {
    let tip = Position { sequence: 8.into(), sub_sequence: 0 };
    let mut world = World::new(Goal::Until(tip));
    assert!(matches!(world.read(7, ReadStatus::default()), Act::Return(StepOutcome::Worked)));
    assert!(matches!(world.read(8, at_tip()), Act::Return(StepOutcome::Done)));
    let [closed] = &world.stored[..] else { panic!("one entry") };
    assert!(!closed.closing.read_to_end && closed.closing.sealed.is_none());
}

#[test]
fn a_leaf_goes_from_its_end_through_all_phases_to_its_seal() {
    let mut world = World::new(Goal::Forever);
    world.read(7, at_end());
    assert_eq!(world.machine.phase(), Phase::Ended);
    let mut phases = vec![world.machine.phase()];
    for _ in 0..10 {
        let act = world.hear(News::Tick);
        phases.push(world.machine.phase());
        if matches!(act, Act::Return(StepOutcome::Done)) {
            break;
        }
    }
    assert_eq!(phases, [Phase::Ended, Phase::Flushed, Phase::Advanced, Phase::Done]);
    let marks = world.stored.iter().map(|closed| {
        let Closing { read_to_end, flushed, end, sealed, .. } = closed.closing;
        (read_to_end, flushed, end, sealed)
    });
    let day = Some(Day::of(DEFAULT_BASE).end());
    let expected =
        [(true, false, false, None), (true, true, false, None), (true, true, false, None), (true, true, false, day)];
    assert_eq!(marks.collect::<Vec<_>>(), expected, "its end, settled, risen, sealed");
}

#[test]
fn a_parent_waits_for_the_other_parents_of_its_child_shard() {
    let mut world = World::new(Goal::Forever);
    let [shard, other, child] = ["shard", "other", "child"].map(ShardId::new);
    let children = vec![child.clone()];
    let topology = BTreeMap::from([(shard, children.clone()), (other.clone(), children), (child, Vec::new())]);
    world.registry.set_topology(topology, true);
    world.read(7, at_end());
    assert_eq!(world.machine.phase(), Phase::Parent);
    assert!(matches!(world.hear(News::Tick), Act::Return(StepOutcome::Idle)));
    let zero = entry_zero(&other, Source::File, HashRange::FULL, &Options::default());
    world.registry.stored(&Entry { n: 1, read_to_end: true, ..zero }, &Spill::default()).unwrap();
    assert!(matches!(world.hear(News::Tick), Act::Return(StepOutcome::Done)));
    assert_eq!(world.stored.iter().map(|closed| closed.closing.end).collect::<Vec<_>>(), [false, true]);
}

#[test]
fn a_gap_is_stored_with_what_follows_it() {
    let mut world = World::new(Goal::Forever);
    let gap = Some(Gap { records: Some(2) });
    world.read(7, ReadStatus { gap, ..at_tip() });
    world.hear(News::Stop);
    assert_eq!(world.stored[0].builder.gaps.len(), 1);
}

#[test]
fn a_worker_that_lost_its_shard_hears_of_it_while_it_rests() {
    let mut world = World::new(Goal::Forever);
    let other = Entry { n: 1, ..world.machine.last().clone() };
    world.registry.stored(&other, &Spill::default()).unwrap();
    let look = Look { now: Tick::default(), others: &world.registry, entry_under_way: false, waits_for_columns: false };
    let fenced = world.machine.step(News::AtTip, &look, &mut Effects::default());
    assert!(matches!(fenced, Err(ConsumerError::Fenced { n: 1, .. })));
}
