//! The ids of later columns, asked for by the pieces of work that encode rows with values of them.
//!
//! Where some are lacking and the catalog cannot be reached, the piece waits: what it holds can be written nowhere else. The worker
//! keeps its lease meanwhile and reads no further. A stop ends the waiting, and with it the worker: what was not stored is read
//! again by whoever has the shard next. Pieces that need no such column ask nobody.

use crate::env::Env;
use crate::error::{Chain, ConsumerError, Result};
use crate::worker::told;
use authpulse_event::time::SECOND;
use authpulse_event::{Micros, ShardId};
use authpulse_lake::schema::Group;
use authpulse_lake::{ColumnIds, LakeError, Table};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a piece waits before it asks again.
const AGAIN: Duration = Duration::from_secs(1);
/// How often a process says that some wait.
const SAID_EVERY: Micros = 60 * SECOND;

/// What the workers of one process have said of columns.
#[derive(Default)]
pub struct Said {
    /// When it was last said that some wait, in ticks.
    waits_at: Mutex<Option<i64>>,
    /// Names that others have taken: said once each. There are no more than the program's lists have columns.
    taken: Mutex<BTreeSet<(Table, String)>>,
}

impl Said {
    fn fails(&self, now: i64, table: Table, error: &LakeError) {
        let mut at = self.waits_at.lock().unwrap_or_else(PoisonError::into_inner);
        if at.is_none_or(|at| now - at >= SAID_EVERY) {
            *at = Some(now);
            tracing::warn!(
                %table, error = %Chain(error),
                "columns that rows have values of could not be added; nothing more is read until they are, trying again every second"
            );
        }
    }

    fn works(&self, table: Table) {
        if self.waits_at.lock().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!(%table, "the columns could be added; reading goes on");
        }
    }

    fn are_taken(&self, table: Table, ids: &ColumnIds) {
        for (name, why) in ids.taken() {
            let mut said = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            if said.insert((table, name.to_owned())) {
                tracing::warn!(
                    %table, column = name, why,
                    "the table has another column of this name: values are left out until it is renamed or dropped, the rest of \
                     each row is written"
                );
            }
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

    /// The ids of a table's later columns, those of these groups among them unless their names are taken.
    ///
    /// # Errors
    /// [`ConsumerError::Unstored`] after a stop, or the table needs a newer program.
    pub async fn columns(&self, env: &Env, table: Table, groups: &[Group]) -> Result<ColumnIds> {
        if groups.is_empty() {
            return Ok(ColumnIds::default());
        }
        let mut waits = None;
        loop {
            match env.lake.columns(table, groups).await {
                Ok(ids) => {
                    if waits.is_some() {
                        self.said.works(table);
                    }
                    self.said.are_taken(table, &ids);
                    return Ok(ids);
                }
                Err(error) if error.is_too_new() => return Err(error.into()),
                Err(error) => self.said.fails(env.clock.ticks(), table, &error),
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
