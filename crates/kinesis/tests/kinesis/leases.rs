//! Leases over a table that loses answers or requests, or gets a request twice: a worker must then believe what the table has.

use async_trait::async_trait;
use authpulse_event::ShardId;
use authpulse_kinesis::DynamoDbLeases;
use authpulse_kinesis::table::{Change, LeaseTable, MemoryTable, Row, Rows, TableError, Value};
use authpulse_lease::{Checkpoint, Fleet, Lease, LeaseSettings, LeaseStore, Ticks};
use authpulse_stream::memory::MemoryStream;
use authpulse_stream::{CreateOptions, Stream, StreamWriter};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

const SECOND: Ticks = 1_000_000;

/// What happens to a request.
enum Fault {
    /// The request is lost.
    NotDone,
    /// The request is lost, and before the worker looks, another one changes the row.
    NotDoneThen(Change),
    /// The answer is lost.
    Done,
    /// The answer is lost, and before the worker looks, another one changes the row.
    DoneThen(Change),
    /// The request arrives twice; the answer is that to the second.
    Twice,
    Throttled,
}

/// A worker's connection to the table, with a script of faults: each is for the next call of that name, in order.
struct Scripted {
    table: Arc<MemoryTable>,
    script: Arc<Mutex<VecDeque<(&'static str, Fault)>>>,
}

fn lost<T>() -> Result<T, TableError> {
    Err(TableError::Unclear("no answer".to_owned()))
}

impl Scripted {
    async fn call<T, F>(&self, name: &'static str, call: impl Fn() -> F) -> Result<T, TableError>
    where
        F: Future<Output = Result<T, TableError>>,
    {
        let fault = {
            let mut script = self.script.lock().unwrap();
            let is_next = script.front().is_some_and(|(of, _)| *of == name);
            if is_next { script.pop_front().map(|(_, fault)| fault) } else { None }
        };
        match fault {
            None => call().await,
            Some(Fault::NotDone) => lost(),
            Some(Fault::Done) => call().await.and_then(|_| lost()),
            Some(Fault::NotDoneThen(change)) => {
                assert!(self.table.change(&change).await?);
                lost()
            }
            Some(Fault::DoneThen(change)) => {
                call().await?;
                assert!(self.table.change(&change).await?);
                lost()
            }
            Some(Fault::Twice) => {
                call().await?;
                call().await
            }
            Some(Fault::Throttled) => Err(TableError::Throttled("told to slow down".to_owned())),
        }
    }
}

#[async_trait]
impl LeaseTable for Scripted {
    fn place(&self) -> String {
        "the script".to_owned()
    }
    async fn scan(&self, after: Option<&str>) -> Result<Rows, TableError> {
        self.call("scan", || self.table.scan(after)).await
    }
    async fn get(&self, key: &str) -> Result<Option<Row>, TableError> {
        self.call("get", || self.table.get(key)).await
    }
    async fn put_new(&self, row: &Row) -> Result<bool, TableError> {
        self.call("put_new", || self.table.put_new(row)).await
    }
    async fn change(&self, change: &Change) -> Result<bool, TableError> {
        self.call("change", || self.table.change(change)).await
    }
    async fn remove(&self, key: &str, known: u64) -> Result<bool, TableError> {
        self.call("remove", || self.table.remove(key, known)).await
    }
}

/// A stream of one shard, its table of leases, and the workers on it.
struct World {
    stream: Arc<MemoryStream>,
    table: Arc<MemoryTable>,
}

/// A worker's leases, and the script of faults for its requests.
struct Worker {
    leases: Arc<DynamoDbLeases<Scripted>>,
    script: Arc<Mutex<VecDeque<(&'static str, Fault)>>>,
}

impl Worker {
    fn next(&self, call: &'static str, fault: Fault) {
        self.script.lock().unwrap().push_back((call, fault));
    }
    fn fleet(&self, name: &str) -> Fleet {
        Fleet::new(self.leases.clone(), name, LeaseSettings::default())
    }
    /// The lease, as a list of all leases has it. The script must be over by then.
    async fn lease(&self, key: &str) -> Lease {
        assert!(self.script.lock().unwrap().is_empty(), "a fault that never happened");
        let listed = self.leases.list().await.unwrap();
        let found = listed.into_iter().find(|lease| lease.key == key).unwrap();
        assert_eq!(self.leases.get(key).await.unwrap().as_ref(), Some(&found));
        found
    }
}

impl World {
    fn new() -> World {
        let options = CreateOptions { name: "auth".to_owned(), shards: 1, ..CreateOptions::default() };
        // Pages of one row, so that a list takes several.
        World { stream: Arc::new(MemoryStream::new(options).unwrap()), table: Arc::new(MemoryTable::new(1)) }
    }
    async fn worker(&self) -> Worker {
        let script = Arc::default();
        let table = Scripted { table: self.table.clone(), script: Arc::clone(&script) };
        let description = self.stream.describe().await.unwrap();
        Worker { leases: Arc::new(DynamoDbLeases::over(table, &description, self.stream.clone())), script }
    }
    async fn shard(&self) -> ShardId {
        self.stream.shards().await.unwrap()[0].id.clone()
    }
    async fn key(&self) -> String {
        let description = self.stream.describe().await.unwrap();
        format!("{}@{}.{}", self.shard().await, description.name, description.created.micros())
    }
    async fn split(&self) -> Vec<String> {
        let shard = self.stream.shards().await.unwrap().swap_remove(0);
        self.stream.split(&shard.id, 1 << 127).await.unwrap();
        let children =
            self.stream.shards().await.unwrap().into_iter().filter(|other| other.parents.contains(&shard.id));
        children.map(|child| child.id.to_string()).collect()
    }
    async fn row(&self) -> Row {
        self.table.rows().remove(self.shard().await.as_str()).unwrap()
    }
    /// A change that another worker makes to the only lease.
    async fn change(&self, known: u64, set: &[(&'static str, &str)]) -> Change {
        let set = set.iter().map(|(name, value)| (*name, Value::text(*value))).collect();
        Change { key: self.shard().await.to_string(), known, set, remove: Vec::new(), count_up: None }
    }
}

fn text<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    match row.get(name) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

fn owned(lease: Lease, owner: &str) -> Lease {
    Lease { owner: Some(owner.to_owned()), ..lease }
}

fn at(sequence: &str) -> Option<Checkpoint> {
    Some(Checkpoint { sequence: sequence.to_owned(), sub_sequence: 0 })
}

#[tokio::test]
async fn leases_over_a_table_keep_the_contract_of_every_store() {
    let world = World::new();
    let store = world.worker().await.leases;
    let lease = Lease::new(world.key().await);
    assert_eq!((store.list().await.unwrap(), store.get(&lease.key).await.unwrap()), (vec![], None));
    assert!(!store.update(&lease).await.unwrap(), "what is not there cannot change");
    assert!(store.create(&lease).await.unwrap());
    assert!(!store.create(&owned(lease.clone(), "you")).await.unwrap());
    assert_eq!(store.get(&lease.key).await.unwrap(), Some(lease.clone()));
    let mine = Lease { next_owner: Some("you".to_owned()), ..owned(lease.clone(), "me") };
    assert!(store.update(&mine).await.unwrap());
    assert!(!store.update(&mine).await.unwrap(), "its counter has moved");
    let now = Lease { counter: 1, ..mine.clone() };
    assert_eq!(store.list().await.unwrap(), std::slice::from_ref(&now));
    assert!(!store.remove(&mine).await.unwrap(), "its counter has moved");
    assert!(store.remove(&now).await.unwrap());
    assert_eq!((store.list().await.unwrap(), store.get(&lease.key).await.unwrap()), (vec![], None));
}

#[tokio::test]
async fn rows_are_those_of_the_kcl() {
    let world = World::new();
    let worker = world.worker().await;
    let lease = Lease::new(world.key().await);
    worker.leases.create(&lease).await.unwrap();
    let row = world.row().await;
    assert_eq!((text(&row, "checkpoint"), text(&row, "startingHashKey")), (Some("TRIM_HORIZON"), Some("0")));
    assert_eq!((text(&row, "leaseOwner"), text(&row, "entityType")), (None, Some("LEASE")));
    let switches = |row: Row| row.get("ownerSwitchesSinceCheckpoint").cloned();
    for (counter, owner, checkpoint, expected) in
        [(0, "a", None, 1), (1, "b", None, 2), (2, "b", at("17"), 0), (3, "b", at("17"), 0), (4, "a", at("17"), 1)]
    {
        let next = Lease { counter, checkpoint, ..owned(lease.clone(), owner) };
        assert!(worker.leases.update(&next).await.unwrap());
        assert_eq!(switches(world.row().await), Some(Value::Number(expected)), "change {counter}");
    }
    // While a hand-over is asked for, the next owner is in the attribute in which the KCL has the owner.
    let asked = Lease { counter: 5, next_owner: Some("b".to_owned()), ..owned(lease, "a") };
    assert!(worker.leases.update(&asked).await.unwrap());
    let row = world.row().await;
    assert_eq!((text(&row, "leaseOwner"), text(&row, "checkpointOwner")), (Some("b"), Some("a")));
}

#[tokio::test]
async fn leases_of_an_application_that_stores_elsewhere_are_refused() {
    let world = World::new();
    let leases = async || {
        let description = world.stream.describe().await.unwrap();
        let table = Scripted { table: world.table.clone(), script: Arc::default() };
        DynamoDbLeases::over(table, &description, world.stream.clone())
    };
    let lease = Lease::new(world.key().await);
    // Leases of an application that named no destination, such as the KCL. The first that writes a checkpoint adds its own.
    leases().await.create(&lease).await.unwrap();
    let (ours, theirs) = (leases().await.bound_for("one"), leases().await.bound_for("two"));
    assert_eq!((ours.list().await.unwrap().len(), theirs.list().await.unwrap().len()), (1, 1));
    assert!(ours.update(&Lease { checkpoint: at("17"), ..owned(lease.clone(), "me") }).await.unwrap());
    assert_eq!(text(&world.row().await, "destination"), Some("one"));
    let refused = theirs.list().await.unwrap_err().to_string();
    assert!(refused.contains("'one'") && refused.contains("'two'") && refused.contains("--app"), "{refused}");
    assert_eq!((ours.list().await.unwrap().len(), leases().await.list().await.unwrap().len()), (1, 1));
    // A lease that is made has the destination from the start.
    assert!(ours.remove(&ours.get(&lease.key).await.unwrap().unwrap()).await.unwrap());
    assert!(theirs.create(&lease).await.unwrap());
    assert!(ours.list().await.is_err() && theirs.list().await.is_ok());
}

#[tokio::test]
async fn a_take_whose_answer_is_lost_is_looked_up() {
    let world = World::new();
    let (key, one) = (world.key().await, world.worker().await);
    one.leases.create(&Lease::new(&key)).await.unwrap();
    let take = |counter| owned(Lease { counter, ..Lease::new(&key) }, "one");

    one.next("change", Fault::NotDone);
    assert!(one.leases.update(&take(0)).await.is_err(), "it may still happen: neither taken nor refused");
    assert_eq!(one.lease(&key).await.owner, None);
    one.next("change", Fault::Throttled);
    assert!(one.leases.update(&take(0)).await.is_err());
    one.next("change", Fault::Done);
    assert!(one.leases.update(&take(0)).await.unwrap(), "it is taken");
    assert_eq!(one.lease(&key).await, Lease { counter: 1, ..take(0) });
    // The look-up fails as well; the next look finds that the lease was taken.
    one.next("change", Fault::Done);
    one.next("get", Fault::NotDone);
    assert!(one.leases.update(&take(1)).await.is_err());
    assert_eq!(one.lease(&key).await.counter, 2);

    // Taken, and before the look-up taken again by another worker.
    one.next("change", Fault::DoneThen(world.change(3, &[("leaseOwner", "two")]).await));
    assert!(!one.leases.update(&take(2)).await.unwrap(), "it is another's");
    assert_eq!(one.lease(&key).await.owner.as_deref(), Some("two"));
    // Not taken, but another worker has counted it up: the counter alone proves nothing.
    one.next("change", Fault::NotDoneThen(world.change(4, &[("leaseOwner", "three")]).await));
    assert!(!one.leases.update(&take(4)).await.unwrap(), "it is another's");
    // Changed once more, with the same owner: the lease then is not as this worker wrote it.
    let (asked, expected) = (world.change(6, &[("checkpoint", "17")]).await, Lease { checkpoint: at("17"), ..take(7) });
    one.next("change", Fault::DoneThen(asked));
    assert!(!one.leases.update(&take(5)).await.unwrap());
    assert_eq!(one.lease(&key).await, expected);
}

/// Lets `two` ask `one` for the only lease.
async fn asked_for(world: &World) -> (Worker, Worker, Fleet) {
    let (key, one, two) = (world.key().await, world.worker().await, world.worker().await);
    let mut fleet = one.fleet("one");
    fleet.scan(&|| 0, &BTreeSet::from([key.clone()])).await.unwrap();
    let lease = two.lease(&key).await;
    assert_eq!(lease.owner.as_deref(), Some("one"));
    assert!(two.leases.update(&Lease { next_owner: Some("two".to_owned()), ..lease }).await.unwrap());
    fleet.renew(SECOND).await;
    assert_eq!(fleet.holdings().asked_for, BTreeSet::from([key]));
    (one, two, fleet)
}

#[tokio::test]
async fn a_hand_over_whose_answer_is_lost_is_looked_up() {
    let world = World::new();
    let (one, two, mut fleet) = asked_for(&world).await;
    let key = world.key().await;
    let asked = one.lease(&key).await;
    let given = Lease { next_owner: None, ..owned(asked.clone(), "two") };
    one.next("change", Fault::Done);
    assert!(one.leases.update(&given).await.unwrap(), "it is handed over");
    let row = world.row().await;
    assert_eq!((text(&row, "leaseOwner"), text(&row, "checkpointOwner")), (Some("two"), None));
    assert_eq!(two.lease(&key).await, Lease { counter: asked.counter + 1, ..given });
    fleet.scan(&|| 2 * SECOND, &BTreeSet::new()).await.unwrap();
    assert_eq!(fleet.holdings().held, BTreeSet::new(), "it is not one's any more");

    // The same through the fleet, which has no other means.
    let world = World::new();
    let (one, two, mut fleet) = asked_for(&world).await;
    let key = world.key().await;
    one.next("change", Fault::Done);
    fleet.hand_over(&BTreeSet::from([key.clone()])).await;
    fleet.scan(&|| 2 * SECOND, &BTreeSet::new()).await.unwrap();
    assert_eq!(fleet.holdings().held, BTreeSet::new());
    let mut next = two.fleet("two");
    next.scan(&|| 2 * SECOND, &BTreeSet::new()).await.unwrap();
    assert_eq!(next.holdings().held, BTreeSet::from([key]));
}

/// The owner's renewal is lost, and another worker asks for the lease: the counter is as expected, and so is the owner.
#[tokio::test]
async fn a_question_is_not_taken_for_ones_own_renewal() {
    let world = World::new();
    let (key, one) = (world.key().await, world.worker().await);
    one.leases.create(&owned(Lease::new(&key), "one")).await.unwrap();
    let renewed = one.lease(&key).await;
    let question = world.change(0, &[("leaseOwner", "two"), ("checkpointOwner", "one")]).await;
    one.next("change", Fault::NotDoneThen(question));
    assert!(!one.leases.update(&renewed).await.unwrap(), "somebody asked");
    assert_eq!(one.lease(&key).await.next_owner.as_deref(), Some("two"));
}

#[tokio::test]
async fn an_end_whose_answer_is_lost_is_looked_up() {
    let world = World::new();
    let (key, one) = (world.key().await, world.worker().await);
    one.leases.create(&owned(Lease::new(&key), "one")).await.unwrap();
    let children = world.split().await;
    assert_eq!(children.len(), 2);
    let end = Lease { owner: None, ended: true, ..one.lease(&key).await };

    // The lease of a child may be missing, so the shard's lease is not ended.
    one.next("put_new", Fault::NotDone);
    assert!(one.leases.update(&end).await.is_err());
    assert!(!one.lease(&key).await.ended);
    assert_eq!(world.table.rows().len(), 1);
    // Leases whose answers were lost are there.
    one.next("put_new", Fault::Done);
    one.next("put_new", Fault::Twice);
    one.next("change", Fault::Done);
    assert!(one.leases.update(&end).await.unwrap(), "it has ended");
    let row = world.row().await;
    assert_eq!((text(&row, "checkpoint"), text(&row, "leaseOwner")), (Some("SHARD_END"), None));
    assert_eq!(row.get("childShardIds"), Some(&Value::Texts(children.iter().cloned().collect())));
    let parent = Value::Texts([world.shard().await.to_string()].into());
    let rows: BTreeMap<String, Row> = world.table.rows();
    assert!(children.iter().all(|child| rows[child].get("parentShardId") == Some(&parent)), "{rows:?}");
    assert_eq!(one.lease(&key).await, Lease { counter: 1, ..end });
    assert_eq!(one.leases.list().await.unwrap().len(), 3, "a list goes on to the last page");
}

/// The end of a lease is lost, and an operator releases it: the lease looks as the end would have left it, but has not ended.
#[tokio::test]
async fn a_release_is_not_taken_for_ones_own_end() {
    let world = World::new();
    let (key, one) = (world.key().await, world.worker().await);
    one.leases.create(&owned(Lease::new(&key), "one")).await.unwrap();
    let end = Lease { owner: None, ended: true, ..one.lease(&key).await };
    let release = Change { remove: vec!["leaseOwner"], ..world.change(0, &[]).await };
    one.next("change", Fault::NotDoneThen(release));
    assert!(!one.leases.update(&end).await.unwrap());
    assert!(!one.lease(&key).await.ended);
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_is_looked_up() {
    let world = World::new();
    let (key, one, two) = (world.key().await, world.worker().await, world.worker().await);
    one.next("put_new", Fault::NotDone);
    assert!(one.leases.create(&Lease::new(&key)).await.is_err(), "it may still be made");
    one.next("put_new", Fault::Throttled);
    assert!(one.leases.create(&Lease::new(&key)).await.is_err());
    assert!(world.table.rows().is_empty());
    one.next("put_new", Fault::Done);
    assert!(!one.leases.create(&Lease::new(&key)).await.unwrap(), "it is there, by whomever");
    let taken = owned(one.lease(&key).await, "one");
    assert!(one.leases.update(&taken).await.unwrap());
    for fault in [Fault::Done, Fault::Twice] {
        two.next("put_new", fault);
        assert!(!two.leases.create(&Lease::new(&key)).await.unwrap());
        assert_eq!(two.lease(&key).await, Lease { counter: 1, ..taken.clone() }, "it is not made anew");
    }
}

#[tokio::test]
async fn a_change_that_arrives_twice_is_found_by_the_next_look() {
    let world = World::new();
    let (key, one) = (world.key().await, world.worker().await);
    let mut fleet = one.fleet("one");
    let keys = BTreeSet::from([key.clone()]);
    one.next("put_new", Fault::Twice);
    one.next("change", Fault::Twice);
    fleet.scan(&|| 0, &keys).await.unwrap();
    assert_eq!(one.lease(&key).await, Lease { counter: 1, ..owned(Lease::new(&key), "one") });
    fleet.scan(&|| SECOND, &keys).await.unwrap();
    assert_eq!(fleet.holdings().held, keys, "what is refused was taken by the same worker");

    fleet.reached(&key, at("17").unwrap());
    one.next("change", Fault::Twice);
    fleet.renew(2 * SECOND).await;
    assert_eq!(fleet.holdings().held, keys, "it was renewed, though the answer says that it was not");
    fleet.renew(3 * SECOND).await;
    assert_eq!(one.lease(&key).await, Lease { counter: 3, checkpoint: at("17"), ..owned(Lease::new(&key), "one") });

    one.next("change", Fault::Twice);
    fleet.hand_over(&BTreeSet::from([key.clone()])).await;
    let left = one.lease(&key).await;
    assert_eq!((left.owner, left.counter, left.checkpoint), (None, 4, at("17")));
}

#[tokio::test]
async fn of_two_workers_that_take_the_same_lease_one_has_it() {
    let faults: [fn() -> Option<Fault>; 4] =
        [|| None, || Some(Fault::Done), || Some(Fault::NotDone), || Some(Fault::Twice)];
    for (first, second) in (0..16).map(|n| (faults[n / 4], faults[n % 4])) {
        let world = World::new();
        let (key, one, two) = (world.key().await, world.worker().await, world.worker().await);
        one.leases.create(&Lease::new(&key)).await.unwrap();
        // Both workers have seen it free.
        let (seen, also_seen) = (one.lease(&key).await, two.lease(&key).await);
        first().into_iter().for_each(|fault| one.next("change", fault));
        second().into_iter().for_each(|fault| two.next("change", fault));
        let mut owners = Vec::new();
        for (worker, seen, name) in [(&one, seen, "one"), (&two, also_seen, "two")] {
            if worker.leases.update(&owned(seen, name)).await.is_ok_and(|taken| taken) {
                owners.push(name.to_owned());
            }
        }
        let stands = one.lease(&key).await;
        assert!(owners.iter().all(|owner| stands.owner.as_ref() == Some(owner)), "{owners:?} believe it is theirs");
        assert!(stands.counter <= 1, "one of them changed it");
        assert_eq!(two.lease(&key).await, stands);
    }
}
