//! The ids of later columns, asked for by the pieces of work that encode rows with values of them; and later tables, made before the
//! first entry that names a file of them is stored.
//!
//! Where some are lacking and the catalog cannot be reached, the piece waits: what it holds can be written nowhere else. The worker
//! keeps its lease meanwhile and reads no further. A stop ends the waiting, and with it the worker: what was not stored is read
//! again by whoever has the shard next. Pieces that need no such column or table ask nobody.

use crate::dropped::Dropped;
use crate::env::Env;
use crate::error::{Chain, ConsumerError, Result};
use crate::worker::told;
use authpulse_event::time::SECOND;
use authpulse_event::{Micros, Reading, ShardId};
use authpulse_lake::commit::COLUMNS_KNOWN_FOR_MS;
use authpulse_lake::encode::{Later, LaterGroup, groups_needed};
use authpulse_lake::schema::Group;
use authpulse_lake::{ColumnIds, LakeError, Table};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a piece waits before it asks again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a process says that some wait.
const SAID_EVERY: Micros = 60 * SECOND;

/// What the workers of one process have said of columns, and of what these lack.
#[derive(Default)]
pub struct Said {
    /// When it was last said that some wait, in ticks.
    waits_at: Mutex<Option<i64>>,
    /// Values left out, by columns whose names others have taken: said once each. There are no more than the program's lists have
    /// columns.
    left_out: Mutex<BTreeMap<(Table, &'static str), u64>>,
    /// Attributes that were left out, by field.
    dropped: Mutex<Dropped>,
    /// When each later table was last seen, in ticks.
    seen: Mutex<BTreeMap<Table, i64>>,
}

/// For how long a later table is believed to be there, in ticks: as long as the ids of columns are. If it is dropped meanwhile, the
/// committer makes it again.
const TABLE_SEEN_FOR: Micros = COLUMNS_KNOWN_FOR_MS * 1_000;

impl Said {
    /// Whether it is to be said now that some wait.
    fn waits(&self, now: i64) -> bool {
        let mut at = self.waits_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = at.is_none_or(|at| now - at >= SAID_EVERY);
        if is_due {
            *at = Some(now);
        }
        is_due
    }

    /// Whether it is to be said that they go on.
    fn goes_on(&self) -> bool {
        self.waits_at.lock().unwrap_or_else(PoisonError::into_inner).take().is_some()
    }

    /// Whether a later table was there a moment ago.
    fn saw(&self, table: Table, now: i64) -> bool {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&table).is_some_and(|at| (0..TABLE_SEEN_FOR).contains(&(now - at)))
    }

    /// A later table is there.
    fn sees(&self, table: Table, now: i64) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(table, now);
    }

    /// Says of a record with attributes that have no value of their form which these are, each once in the life of the process.
    pub(crate) fn drops(&self, shard: &ShardId, payload: &[u8], key: Option<&[u8]>, reading: Reading) {
        let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        for field in dropped.new_in(payload, key, reading) {
            tracing::warn!(
                %shard, field,
                "an attribute has a value that is not of its form: it is left out, the rest of the event is taken in; said once, \
                 authpulse status counts all"
            );
        }
    }

    /// Counts values that are left out; tells whether the column is the first time among them.
    fn leaves_out(&self, table: Table, name: &'static str, values: u64) -> bool {
        let mut left_out = self.left_out.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = !left_out.contains_key(&(table, name));
        *left_out.entry((table, name)).or_default() += values;
        is_new
    }

    /// Values that were left out, because others have taken the names of their columns.
    fn left_out(&self) -> BTreeMap<(Table, &'static str), u64> {
        self.left_out.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says at the end of a run how many values were left out.
    pub fn tell_left_out(&self) {
        for ((table, column), values) in self.left_out() {
            tracing::warn!(%table, column, values, "values were left out, as the table has another column of this name");
        }
    }
}

/// How a worker's pieces of work ask.
#[derive(Clone)]
pub struct Asking {
    shard: ShardId,
    said: Arc<Said>,
    stop: watch::Receiver<bool>,
    waiting: Arc<AtomicUsize>,
}

impl Asking {
    /// For a shard's worker; until [`Asking::until`] nobody can end the waiting.
    pub fn new(shard: ShardId, said: Arc<Said>) -> Asking {
        Asking { shard, said, stop: watch::channel(false).1, waiting: Arc::default() }
    }

    /// The waiting ends once `stop` holds true.
    pub fn until(&mut self, stop: watch::Receiver<bool>) {
        self.stop = stop;
    }

    /// Whether some piece of the worker waits for columns.
    pub fn waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// The later columns of these groups as the table has them, those added of which a row has a value; none where no row has any.
    ///
    /// # Errors
    /// [`ConsumerError::Unstored`] after a stop, or the table needs a newer program.
    pub async fn later<R>(
        &self,
        env: &Env,
        table: Table,
        groups: &[LaterGroup<R>],
        rows: &[R],
    ) -> Result<Option<Later<R>>> {
        let needed: Vec<Group> = groups_needed(rows, groups).into_iter().collect();
        if needed.is_empty() {
            return Ok(None);
        }
        let ids = self.columns(env, table, &needed).await?;
        for (name, why) in ids.taken() {
            for group in groups {
                let Some(nth) = group.columns().iter().position(|column| column.name == name) else { continue };
                let values = group.count(rows, nth);
                if values > 0 && self.said.leaves_out(table, group.columns()[nth].name, values) {
                    tracing::warn!(
                        %table, column = name, why, values,
                        "the table has another column of this name: values are left out until that is renamed or dropped, the rest \
                         of each row is written"
                    );
                }
            }
        }
        Ok(Some(Later::new(groups, &ids)))
    }

    /// Makes a table behind the first four where it is missing: before an entry that names a file of it is stored.
    ///
    /// # Errors
    /// [`ConsumerError::Unstored`] after a stop, or a journal needs a newer program.
    pub async fn table(&self, env: &Env, table: Table) -> Result<()> {
        if self.said.saw(table, env.clock.ticks()) {
            return Ok(());
        }
        let words = (
            "a table that an entry has rows of could not be made; nothing more is read until it is",
            "the table could be made",
        );
        let made = self.until_done(env, table, words, || env.lake.ensure_later_table(&*env.journal, table)).await?;
        if made {
            tracing::info!(%table, "a table was made that the lake did not have");
        }
        self.said.sees(table, env.clock.ticks());
        Ok(())
    }

    async fn columns(&self, env: &Env, table: Table, groups: &[Group]) -> Result<ColumnIds> {
        let words = (
            "columns that rows have values of could not be added; nothing more is read until they are",
            "the columns could be added",
        );
        self.until_done(env, table, words, || env.lake.columns(table, groups)).await
    }

    /// Asks until it is done; `words` say what could not be done, and that it was.
    async fn until_done<T, F>(
        &self,
        env: &Env,
        table: Table,
        (lacking, done): (&str, &str),
        ask: impl Fn() -> F,
    ) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, LakeError>>,
    {
        let mut waits = None;
        loop {
            match ask().await {
                Ok(found) => {
                    if waits.is_some() && self.said.goes_on() {
                        tracing::info!(%table, "{done}; reading goes on");
                    }
                    return Ok(found);
                }
                Err(error) if error.is_too_new() => return Err(error.into()),
                Err(error) if self.said.waits(env.clock.ticks()) => tracing::warn!(
                    %table, error = %Chain(&error),
                    "{lacking}, trying again every second"
                ),
                Err(_) => {}
            }
            waits.get_or_insert_with(|| Waits::begin(&self.waiting));
            let mut stop = self.stop.clone();
            tokio::select! {
                biased;
                () = told(&mut stop) => return Err(ConsumerError::Unstored { shard: self.shard.clone() }),
                () = env.clock.sleep(AGAIN) => {}
            }
        }
    }
}

/// Counted among those that wait, until it is dropped.
struct Waits(Arc<AtomicUsize>);

impl Waits {
    fn begin(waiting: &Arc<AtomicUsize>) -> Waits {
        waiting.fetch_add(1, Ordering::Relaxed);
        Waits(waiting.clone())
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_then_once_a_minute_until_it_is_over() {
        let said = Said::default();
        let times = [0, 1, 59, 60, 61, 119, 120].map(|seconds| said.waits(seconds * SECOND));
        assert_eq!(times, [true, false, false, true, false, false, true]);
        assert!(said.goes_on() && !said.goes_on());
        assert!(said.waits(121 * SECOND), "another time");
    }

    #[test]
    fn what_is_left_out_is_counted_and_named_once() {
        let said = Said::default();
        let news =
            [("outcome", 2), ("outcome", 3), ("port", 1)].map(|(name, n)| said.leaves_out(Table::CURATED, name, n));
        assert_eq!((news, said.leaves_out(Table::DAILY, "outcome", 1)), ([true, false, true], true));
        let counted: Vec<u64> = said.left_out().into_values().collect();
        assert_eq!(counted, [5, 1, 1]);
    }
}
