//! What seeds have found, each as a case of its own: once anything about a run changes, the same seed finds something else.

use crate::journals;
use crate::kinesis::Reading;
use crate::simulate::Simulation;
use crate::world::Sabotage;
use authpulse_event::time::{HOUR, SECOND};
use authpulse_event::{ShardId, Span};
use authpulse_journal::ConsumerError;
use authpulse_journal::log::{Taken, take_over};
use authpulse_journal::open::journal_key;
use authpulse_lake::entry::Entry;
use authpulse_service::service::{Mode, Service};
use authpulse_stream::{Stream, StreamWriter};
use authpulse_worker::worker::{Phase, StepOutcome};
use futures::executor::block_on;
use std::collections::BTreeSet;
use std::sync::Arc;

/// A run in which nothing goes wrong.
pub fn calm() -> Simulation {
    let mut sim = Simulation::new(1, Sabotage::None);
    sim.fate.on = false;
    sim.world.reading = Reading::Embedded;
    sim
}

pub fn entries(sim: &Simulation, key: &ShardId) -> Vec<Entry> {
    let stored = block_on(sim.world.outside.journal.list(key, 1, usize::MAX)).unwrap();
    stored
        .into_iter()
        .map(|(n, body)| Entry::decode(key, n, &body, sim.world.outside.lake.sections()).unwrap())
        .collect()
}

fn received(sim: &Simulation) -> u64 {
    let shards = block_on(sim.world.outside.journal.shards()).unwrap();
    shards.iter().flat_map(|key| entries(sim, key)).map(|entry| entry.counts.received).sum()
}

#[test]
fn a_clock_that_is_set_back_keeps_no_entry_from_being_stored() {
    let mut sim = calm();
    let options = Arc::get_mut(&mut sim.options).unwrap();
    (options.entry_age, options.poll_interval) = (20 * SECOND, SECOND);
    sim.start_consumer();
    sim.steps(300).unwrap();
    sim.put_record("U1");
    run_for(&mut sim, 30 * SECOND);
    assert_eq!(received(&sim), 1);
    sim.put_record("U1");
    // The record is read, and its entry is begun, but the entry is stored only when it is older.
    run_for(&mut sim, 8 * SECOND);
    assert_eq!(received(&sim), 1);
    sim.world.gate.time.set(Some(1), -20 * HOUR, 20 * HOUR);
    run_for(&mut sim, 40 * SECOND);
    assert_eq!(received(&sim), 2, "an entry waits for a clock that was set back");
}

pub fn run_for(sim: &mut Simulation, span: Span) {
    let until = sim.world.gate.time.ticks() + span;
    while sim.world.gate.time.ticks() < until {
        sim.steps(1).unwrap();
    }
}

/// A consumer is about to store a shard's end, and another looked before it did.
#[test]
fn an_end_that_another_has_stored_is_respected_and_heard_of() {
    let mut sim = calm();
    sim.start_consumer();
    sim.put_records();
    sim.steps(400).unwrap();
    let description = block_on(sim.world.stream.describe()).unwrap();
    let shard = block_on(sim.world.stream.shards()).unwrap().swap_remove(0);
    let key = journal_key(&description, &shard.id);
    let middle = shard.range.first + (shard.range.last - shard.range.first) / 2 + 1;
    block_on(sim.world.stream.split(&shard.id, middle)).unwrap();
    let (env, stream) = (sim.world.outside.clone(), sim.world.stream.clone());
    let mut early = block_on(Service::open(env.clone(), sim.options.clone(), stream, Mode::Run)).unwrap();
    while !entries(&sim, &key).last().is_some_and(|tail| tail.end) {
        assert!(sim.fate.seen.is_empty() && !early.has_ended(&key));
        sim.steps(1).unwrap();
    }
    let stored = entries(&sim, &key);
    let [.., before, end] = stored.as_slice() else { panic!("an end has something before it") };

    // Records after an end would belong to the shard and to its children at once.
    let taken = block_on(take_over(&env, &key, before.clone())).unwrap();
    assert!(matches!(taken, Taken::Ended(found) if found.n == end.n));
    assert_eq!(entries(&sim, &key), stored);

    // While a worker holds a shard's lease, it does not hear what others report of the shard. It must see the end itself, or the children
    // would wait for ever.
    let held = BTreeSet::from([key.to_string()]);
    assert!(block_on(early.start_next(&held)).unwrap().is_none());
    assert!(early.has_ended(&key));
}

/// A consumer learns of a shard's end before it has seen the shard's children.
#[test]
fn the_end_of_all_known_shards_is_not_the_end_of_an_open_stream() {
    let mut sim = calm();
    sim.start_consumer();
    sim.put_records();
    sim.steps(400).unwrap();
    let (env, stream) = (sim.world.outside.clone(), sim.world.stream.clone());
    let mut early = block_on(Service::open(env, sim.options.clone(), stream, Mode::Run)).unwrap();
    let shards = block_on(sim.world.stream.shards()).unwrap();
    let keys: Vec<_> = shards.iter().map(|shard| journal_key(early.description(), &shard.id)).collect();
    for shard in &shards {
        let middle = shard.range.first + (shard.range.last - shard.range.first) / 2 + 1;
        block_on(sim.world.stream.split(&shard.id, middle)).unwrap();
    }
    while !keys.iter().all(|key| entries(&sim, key).last().is_some_and(|tail| tail.end)) {
        sim.steps(1).unwrap();
    }
    let nobody = BTreeSet::new();
    block_on(early.follow(|_| false)).unwrap();
    assert!(keys.iter().all(|key| early.has_ended(key)));
    assert!(!early.is_complete(&nobody), "the heirs are still to come");
    block_on(early.refresh()).unwrap();
    assert!(!early.is_complete(&nobody));
}

/// A worker that has read everything and waits for others stores nothing, and so cannot learn by storing that it was replaced.
#[tokio::test]
async fn a_worker_that_waits_hears_that_another_has_its_shard() {
    let mut sim = calm();
    sim.put_records();
    let stream = sim.world.stream.clone();
    stream.close().await.unwrap();
    let env = sim.world.outside.clone();
    let mut service = Service::open(env.clone(), sim.options.clone(), stream.clone(), Mode::Run).await.unwrap();
    let first = stream.shards().await.unwrap().into_iter().find(|shard| shard.parents.is_empty()).unwrap();
    let key = service.key(&first.id);
    let mut worker = service.start_next(&BTreeSet::from([key.to_string()])).await.unwrap().unwrap();
    while worker.step().await.unwrap() != StepOutcome::Idle || worker.phase() != Phase::Ended {}
    let last = worker.last_entry().clone();
    assert!(last.read_to_end && !last.flushed, "the other shards are still to be read");

    let Taken::Over(taken) = take_over(&env, &key, last).await.unwrap() else { panic!("it has not ended") };
    assert_eq!(worker.step().await.unwrap(), StepOutcome::Idle);
    service.follow(|_| true).await.unwrap();
    let told = worker.step().await;
    assert!(matches!(&told, Err(ConsumerError::Fenced { n, .. }) if *n == taken.n), "{told:?}");
}

/// Sealed shards stay sealed when a worker with an older view of them gets their leases. They are worked on again if another worker has
/// taken them over meanwhile.
#[test]
fn a_sealed_shard_is_taken_over_by_nobody_and_begun_anew_where_it_was() {
    let mut sim = calm();
    sim.put_records();
    let (env, stream) = (sim.world.outside.clone(), sim.world.stream.clone());
    let mut early = block_on(Service::open(env.clone(), sim.options.clone(), stream.clone(), Mode::Run)).unwrap();
    block_on(stream.close()).unwrap();
    sim.start_consumer();
    let shard = block_on(stream.shards()).unwrap().swap_remove(0);
    let key = early.key(&shard.id);
    while !block_on(journals::is_complete(&sim.world)).unwrap() {
        sim.steps(1).unwrap();
    }
    let sealed = entries(&sim, &key);
    let held = BTreeSet::from([key.to_string()]);
    block_on(early.refresh()).unwrap();
    assert!(block_on(early.start_next(&held)).unwrap().is_none());
    assert_eq!(entries(&sim, &key), sealed);

    let tail = sealed.last().unwrap().clone();
    assert!(matches!(block_on(take_over(&env, &key, tail)).unwrap(), Taken::Over(_)));
    assert!(block_on(early.start_next(&held)).unwrap().is_none(), "nobody has told it yet");
    block_on(early.follow(|_| false)).unwrap();
    assert!(block_on(early.start_next(&held)).unwrap().is_some());
}
