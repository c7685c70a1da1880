//! The leases of workers over Kinesis: the shipped store over a table in memory that all processes share. Each request goes through the
//! gate. What else DynamoDB and the network may do (throttles, a request that arrives twice, one that arrives after its sender has given
//! up) is drawn here.
//!
//! No fault of a lease reaches a row of the lake, because the journal decides whose work counts. Two kinds of broken table (one that takes
//! any counter; one that takes an unanswered change for done, or for refused) were noticed by none of 200 seeds by rows or end. So the
//! table itself is checked: a KCL that goes on from it must neither miss a record nor read again what a checkpoint called done.

use crate::doors::Door;
use crate::sabotage::TakesAnyCounter;
use async_trait::async_trait;
use authpulse_event::Position;
use authpulse_kinesis::table::{Change, KEY, LeaseTable, MemoryTable, Row, Rows, TableError, Value};
use authpulse_kinesis::{Chance, DynamoDbLeases};
use authpulse_stream::{Stream, StreamDescription};
use std::sync::{Arc, Mutex};

/// The rows of an answer to a scan, few enough that other writes fall between two answers.
const PAGE: usize = 3;

/// How often things happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Happened {
    pub throttled: u64,
    /// Rows put by a request that arrived twice.
    pub put_twice: u64,
    pub changed_twice: u64,
    /// Changes that arrived after their sender had given up.
    pub late: u64,
}

/// The table itself; processes see it through their doors.
pub struct Table {
    pub rows: Arc<MemoryTable>,
    /// The same table, or one that is broken on purpose.
    conditional: Arc<dyn LeaseTable>,
    chance: Chance,
    /// False once nothing goes wrong any more.
    pub faults: Mutex<bool>,
    /// Changes that are on their way.
    late: Mutex<Vec<Change>>,
    pub happened: Mutex<Happened>,
    /// What is wrong with the table, to be reported at the end of the run.
    pub wrong: Mutex<Option<String>>,
}

impl Table {
    pub fn new(seed: u64, takes_any_counter: bool) -> Table {
        let rows = Arc::new(MemoryTable::new(PAGE));
        let conditional: Arc<dyn LeaseTable> =
            if takes_any_counter { Arc::new(TakesAnyCounter(rows.clone())) } else { rows.clone() };
        Table {
            rows,
            conditional,
            chance: Chance::new(seed),
            faults: Mutex::new(true),
            late: Mutex::default(),
            happened: Mutex::default(),
            wrong: Mutex::default(),
        }
    }

    fn happens(&self, part: f64) -> bool {
        *self.faults.lock().unwrap() && self.chance.next() < part
    }

    /// What happens before each request: changes arrive that were on their way, and DynamoDB may throttle.
    async fn begin(&self) -> Result<(), TableError> {
        let late: Vec<Change> = std::mem::take(&mut *self.late.lock().unwrap());
        for change in late {
            if self.chance.next() < 0.2 {
                self.happened.lock().unwrap().late += u64::from(self.change(&change).await?);
            } else {
                self.late.lock().unwrap().push(change);
            }
        }
        if self.happens(0.02) {
            self.happened.lock().unwrap().throttled += 1;
            return Err(TableError::Throttled("told to slow down".to_owned()));
        }
        Ok(())
    }

    async fn change(&self, change: &Change) -> Result<bool, TableError> {
        let before = self.rows.get(&change.key).await?;
        let is_changed = self.conditional.change(change).await?;
        let after = self.rows.get(&change.key).await?;
        if let (Some(before), Some(after)) = (before, after)
            && reached(&after) < reached(&before)
        {
            let what = format!("the checkpoint of {} went back from {before:?} to {after:?}", change.key);
            self.wrong.lock().unwrap().get_or_insert(what);
        }
        Ok(is_changed)
    }
}

/// How far a row says that its shard is done. A shard that is not begun comes before all numbers, an ended one after them.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reached {
    Nothing,
    Through(Position),
    End,
}

/// What the row of a lease says of its shard.
pub fn reached(row: &Row) -> Reached {
    let Some(Value::Text(at)) = row.get("checkpoint") else { return Reached::Nothing };
    let Some(Value::Number(sub_sequence)) = row.get("checkpointSubSequenceNumber") else { return Reached::Nothing };
    match at.parse() {
        Ok(sequence) => Reached::Through(Position { sequence, sub_sequence: *sub_sequence }),
        Err(_) if at == "SHARD_END" => Reached::End,
        Err(_) => Reached::Nothing,
    }
}

/// The table as a process sees it.
pub struct TableDoor {
    door: Door,
    table: Arc<Table>,
}

/// A process's leases, with what it remembers of them.
pub fn leases(
    door: Door,
    table: Arc<Table>,
    description: &StreamDescription,
    stream: Arc<dyn Stream>,
) -> DynamoDbLeases<TableDoor> {
    DynamoDbLeases::over(TableDoor { door, table }, description, stream)
}

fn lost(cause: String) -> TableError {
    TableError::Unclear(cause)
}

#[async_trait]
impl LeaseTable for TableDoor {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn scan(&self, after: Option<&str>) -> Result<Rows, TableError> {
        let scan = async {
            self.table.begin().await?;
            self.table.rows.scan(after).await
        };
        self.door.go("table scan", after.unwrap_or_default(), lost, scan).await
    }

    async fn get(&self, key: &str) -> Result<Option<Row>, TableError> {
        let get = async {
            self.table.begin().await?;
            self.table.rows.get(key).await
        };
        self.door.go("table get", key, lost, get).await
    }

    async fn put_new(&self, row: &Row) -> Result<bool, TableError> {
        let key = match row.get(KEY) {
            Some(Value::Text(key)) => key.as_str(),
            _ => "",
        };
        let put = async {
            self.table.begin().await?;
            let is_new = self.table.rows.put_new(row).await?;
            if is_new && self.table.happens(0.1) {
                self.table.happened.lock().unwrap().put_twice += 1;
                return self.table.rows.put_new(row).await;
            }
            Ok(is_new)
        };
        self.door.go("table put_new", key, lost, put).await
    }

    async fn change(&self, change: &Change) -> Result<bool, TableError> {
        let (table, key) = (&self.table, change.key.as_str());
        let changed = async {
            table.begin().await?;
            if table.happens(0.01) {
                table.late.lock().unwrap().push(change.clone());
                return Err(TableError::Unclear("no answer in time".to_owned()));
            }
            let is_changed = table.change(change).await?;
            if is_changed && table.happens(0.02) {
                table.happened.lock().unwrap().changed_twice += 1;
                return table.change(change).await;
            }
            Ok(is_changed)
        };
        self.door.go("table change", key, lost, changed).await
    }

    async fn remove(&self, _: &str, _: u64) -> Result<bool, TableError> {
        unreachable!("workers remove no leases")
    }
}
