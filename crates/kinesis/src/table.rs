//! The calls on the table of leases in plain types. [`crate::DynamoDbTable`] makes them on DynamoDB; [`MemoryTable`] is the double for
//! tests and simulations.

use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The attribute that is the table's key, a text.
pub const KEY: &str = "leaseKey";
/// The attribute that counts the changes of a row.
pub const COUNTER: &str = "leaseCounter";

/// A value of an attribute, of one of the types that leases use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// DynamoDB's type S.
    Text(String),
    /// DynamoDB's type N.
    Number(u64),
    /// DynamoDB's type SS, which must not be empty.
    Texts(BTreeSet<String>),
}

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Value {
        Value::Text(text.into())
    }
}

/// A row, by attribute. Attributes of types that [`Value`] does not have are left out.
pub type Row = BTreeMap<String, Value>;

/// A page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// The rows. May be empty, even if there are more.
    pub rows: Vec<Row>,
    /// The key after which the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// A change of a row, which also counts up its counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The row's key.
    pub key: String,
    /// The condition: the row is changed only if its counter is this.
    pub known: u64,
    /// Attributes to set. None is the key or the counter, and none appears twice.
    pub set: Vec<(&'static str, Value)>,
    /// Attributes to remove, if they are there.
    pub remove: Vec<&'static str>,
    /// A number to count up by one, from 0 if it is missing.
    pub count_up: Option<&'static str>,
}

/// Why a call failed. A condition that does not hold is an answer, not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The call was over a limit; nothing happened.
    #[error("{0}")]
    Throttled(String),
    /// Refused: nothing happened, and the same call would be refused again.
    #[error("{0}")]
    Refused(String),
    /// The call may have taken effect or not.
    #[error("{0}")]
    Unclear(String),
}

/// A table of leases. No write is repeated behind the caller's back: the second would be refused because of what the first did.
#[async_trait]
pub trait LeaseTable: Send + Sync {
    /// Where the table is, for error texts.
    fn place(&self) -> String;
    /// Scan, which sees everything written before it begins: the rows after a key, or from the first, as many as one answer holds. Other
    /// writes may happen between two pages.
    async fn scan(&self, after: Option<&str>) -> Result<Rows, TableError>;
    /// GetItem, which sees everything written before.
    async fn get(&self, key: &str) -> Result<Option<Row>, TableError>;
    /// PutItem, if there is no row with its key; returns whether there was none.
    async fn put_new(&self, row: &Row) -> Result<bool, TableError>;
    /// UpdateItem, if the counter is as given; returns whether it was.
    async fn change(&self, change: &Change) -> Result<bool, TableError>;
    /// DeleteItem, if the counter is as given; returns whether it was.
    async fn remove(&self, key: &str, known: u64) -> Result<bool, TableError>;
}

/// A table in memory, as a deterministic double. It refuses what DynamoDB refuses, conditions and arguments, and never fails otherwise.
#[derive(Debug)]
pub struct MemoryTable {
    rows: Mutex<BTreeMap<String, Row>>,
    page_rows: usize,
}

impl MemoryTable {
    /// No rows; a page of a scan has `page_rows`.
    pub fn new(page_rows: usize) -> MemoryTable {
        MemoryTable { rows: Mutex::default(), page_rows }
    }

    /// All rows, by key.
    pub fn rows(&self) -> BTreeMap<String, Row> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Row>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(why: &str) -> TableError {
    TableError::Refused(format!("ValidationException: {why}"))
}

/// Refuses values that DynamoDB refuses before it looks at any row.
fn check_values<'a>(values: impl Iterator<Item = &'a Value>) -> Result<(), TableError> {
    for value in values {
        if matches!(value, Value::Texts(texts) if texts.is_empty()) {
            return Err(refused("a string set may not be empty"));
        }
    }
    Ok(())
}

fn is_known(row: Option<&Row>, known: u64) -> bool {
    row.and_then(|row| row.get(COUNTER)) == Some(&Value::Number(known))
}

#[async_trait]
impl LeaseTable for MemoryTable {
    fn place(&self) -> String {
        "memory".to_owned()
    }

    async fn scan(&self, after: Option<&str>) -> Result<Rows, TableError> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = self.lock();
        let page: Vec<_> = rows.range::<str, _>((from, Bound::Unbounded)).take(self.page_rows).collect();
        // As in DynamoDB, a full page names a next one, whether there are more rows or not.
        let next = page.last().filter(|_| page.len() == self.page_rows).map(|(key, _)| (*key).clone());
        Ok(Rows { rows: page.into_iter().map(|(_, row)| row.clone()).collect(), next })
    }

    async fn get(&self, key: &str) -> Result<Option<Row>, TableError> {
        Ok(self.lock().get(key).cloned())
    }

    async fn put_new(&self, row: &Row) -> Result<bool, TableError> {
        check_values(row.values())?;
        let Some(Value::Text(key)) = row.get(KEY) else { return Err(refused("the key is missing")) };
        let mut rows = self.lock();
        if rows.contains_key(key) {
            return Ok(false);
        }
        rows.insert(key.clone(), row.clone());
        Ok(true)
    }

    async fn change(&self, change: &Change) -> Result<bool, TableError> {
        check_values(change.set.iter().map(|(_, value)| value))?;
        let mut named = BTreeSet::from([KEY, COUNTER]);
        let set = change.set.iter().map(|(name, _)| *name);
        if !set.chain(change.remove.iter().copied()).chain(change.count_up).all(|name| named.insert(name)) {
            return Err(refused("two document paths overlap with each other"));
        }
        let mut rows = self.lock();
        let Some(row) = rows.get_mut(&change.key).filter(|row| is_known(Some(row), change.known)) else {
            return Ok(false);
        };
        if let Some(name) = change.count_up {
            let up = match row.get(name) {
                None => 1,
                Some(Value::Number(number)) => number + 1,
                Some(_) => return Err(refused("an operand in the update expression has an incorrect data type")),
            };
            row.insert(name.to_owned(), Value::Number(up));
        }
        row.insert(COUNTER.to_owned(), Value::Number(change.known + 1));
        for (name, value) in &change.set {
            row.insert((*name).to_owned(), value.clone());
        }
        for name in &change.remove {
            row.remove(*name);
        }
        Ok(true)
    }

    async fn remove(&self, key: &str, known: u64) -> Result<bool, TableError> {
        let mut rows = self.lock();
        Ok(is_known(rows.get(key), known) && rows.remove(key).is_some())
    }
}
