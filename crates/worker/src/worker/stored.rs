//! What follows once an entry is stored: warnings and log lines about it, and the removal of snapshots that it replaces.

use super::Worker;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::rejections::Complaint;
use authpulse_lake::entry::Entry;
use futures::future::FutureExt;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::worker::landing";

impl Worker {
    /// Waits until the entry under way is stored.
    ///
    /// # Errors
    /// The entry cannot be stored, or a snapshot that it replaces cannot be removed.
    pub(super) async fn await_stored(&mut self) -> Result<()> {
        match self.in_flight.take() {
            Some(in_flight) => self.after_stored(in_flight.await).await,
            None => Ok(()),
        }
    }

    /// Whether no entry is under way any more. Does not wait for one.
    ///
    /// # Errors
    /// As for [`Worker::await_stored`].
    pub(super) async fn is_stored(&mut self) -> Result<bool> {
        let Some(in_flight) = &mut self.in_flight else { return Ok(true) };
        let Some(stored) = in_flight.now_or_never() else { return Ok(false) };
        self.in_flight = None;
        self.after_stored(stored).await?;
        Ok(true)
    }

    async fn after_stored(&mut self, stored: Option<Result<Entry>>) -> Result<()> {
        let key = self.machine.key();
        let bug = || ConsumerError::Bug(format!("storing an entry of shard {key}"));
        let entry = stored.ok_or_else(bug)??;
        let told = self.registry.rejections().stored(self.env.clock.ticks(), &entry.shard, &entry.counts);
        if let Some(Complaint { received, late, invalid, shard, there }) = told {
            tracing::warn!(target: TARGET, received, late, invalid, %shard, there, "more than one record in ten is late or invalid; the dead letters say why");
        }
        if !entry.snapshot.is_empty() {
            let bytes: u64 = entry.snapshot.iter().map(|piece| piece.file.bytes).sum();
            tracing::info!(target: TARGET, shard = %key, entry = entry.n, pieces = entry.snapshot.len(), bytes, "stored a snapshot of the state");
        }
        self.machine.stored(entry);
        self.remove_old_snapshots().await?;
        self.registry.forget_old_days();
        Ok(())
    }

    async fn remove_old_snapshots(&mut self) -> Result<()> {
        while let Some(n) = self.machine.take_outdated_snapshot() {
            if let Some(entry) = authpulse_journal::log::read_entry(&self.env, self.machine.key(), n).await? {
                for piece in &entry.snapshot {
                    self.env.store.delete(&piece.file.path).await?;
                }
            }
        }
        Ok(())
    }
}
