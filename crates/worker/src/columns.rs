//! Asks the catalog for the ids of later columns before rows with values of them are encoded, and makes later tables before the first entry
//! that names a file of them is stored.
//!
//! If a column or table is missing and the catalog cannot be reached, the piece of work waits: its rows can be written nowhere else.
//! Meanwhile the worker keeps its lease and reads no further. A stop ends the waiting, and with it the worker: the shard's next owner reads
//! again what was not stored. A piece that needs no such column or table asks for none.

use authpulse_event::ShardId;
use authpulse_journal::columns_said::Said;
use authpulse_journal::env::Env;
use authpulse_journal::error::{Chain, ConsumerError, Result};
use authpulse_journal::stop::stop_requested;
use authpulse_lake::encode::{Later, LaterGroup, groups_needed};
use authpulse_lake::schema::Group;
use authpulse_lake::{ColumnIds, LakeError, Table};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::columns";

/// How long a piece waits before it asks again.
const AGAIN: Duration = Duration::from_secs(1);
/// How the pieces of work of one worker ask for columns and tables.
#[derive(Clone)]
pub struct Asking {
    shard: ShardId,
    said: Arc<Said>,
    stop: watch::Receiver<bool>,
    waiting: Arc<AtomicUsize>,
}

impl Asking {
    /// For a shard's worker. Until [`Asking::until`] is called, nothing can end the waiting.
    pub fn new(shard: ShardId, said: Arc<Said>) -> Asking {
        Asking { shard, said, stop: watch::channel(false).1, waiting: Arc::default() }
    }

    /// The waiting ends once `stop` holds true.
    pub fn until(&mut self, stop: watch::Receiver<bool>) {
        self.stop = stop;
    }

    /// Whether a piece of the worker's work waits for columns.
    pub fn waits(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// The later columns of these groups as the table has them. Groups of which a row has a value are added where the table lacks them.
    /// Returns `None` if no row has any such value.
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
                        target: TARGET, %table, column = name, why, values,
                        "the table has another column of this name: values are left out until that is renamed or dropped, the rest \
                         of each row is written"
                    );
                }
            }
        }
        Ok(Some(Later::new(groups, &ids)))
    }

    /// Makes a later table (one behind the first four) if it is missing. Must be called before an entry that names a file of it is stored.
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
            tracing::info!(target: TARGET, %table, "a table was made that the lake did not have");
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

    /// Asks until it is done. `lacking` is logged while it cannot be done, `done` once it is.
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
                        tracing::info!(target: TARGET, %table, "{done}; reading goes on");
                    }
                    return Ok(found);
                }
                Err(error) if error.is_too_new() => return Err(error.into()),
                Err(error) if self.said.waits(env.clock.ticks()) => tracing::warn!(
                    target: TARGET, %table, error = %Chain(&error),
                    "{lacking}, trying again every second"
                ),
                Err(_) => {}
            }
            waits.get_or_insert_with(|| Waits::begin(&self.waiting));
            let mut stop = self.stop.clone();
            tokio::select! {
                biased;
                () = stop_requested(&mut stop) => return Err(ConsumerError::Unstored { shard: self.shard.clone() }),
                () = env.clock.sleep(AGAIN) => {}
            }
        }
    }
}

/// Counts a piece of work as waiting until it is dropped.
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
