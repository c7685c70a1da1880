//! One maintenance of a lake at a time: two do no harm, but the second does the work of the first again.
//!
//! The process at work renews its lock. If nobody renews it for the length of the lease, that process is gone or hangs; to see that takes
//! as long. (On one machine the operating system tells at once that a process is gone.)

use anyhow::{Result, bail};
use authpulse_lake::CommitterLock;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How many times a lease is renewed in its length.
const RENEWALS: u32 = 4;
/// The longest time between two looks at another process's lock.
const LOOK: Duration = Duration::from_secs(1);

/// The turn of this process, until it is given back.
pub struct Turn {
    lock: Arc<dyn CommitterLock>,
    lost: Arc<AtomicBool>,
    renewing: Option<JoinHandle<()>>,
}

impl Turn {
    /// Takes the turn. If another process has it, watches until that process renews its lock, or has not for the length of its lease.
    /// `lake` is for messages.
    ///
    /// # Errors
    /// Another process maintains the tables, or the lock cannot be reached.
    pub async fn take(lock: &Arc<dyn CommitterLock>, lake: &str) -> Result<Turn> {
        let begun = Instant::now();
        while !lock.hold().await? {
            let refused = format!("the tables of {lake} are being maintained by another process: wait for it to end");
            let Some(lease) = lock.lease() else { bail!(refused) };
            // Counted from the first look on, with one more look after the end of the lease.
            if lock.is_renewed_by_another() || begun.elapsed() > lease + lease / RENEWALS {
                bail!(refused);
            }
            tracing::info!(%lake, ?lease, "another process has the lock of maintenance; watching whether it renews it");
            tokio::time::sleep(LOOK.min(lease / RENEWALS)).await;
        }
        if let Some(silent) = lock.taken_over_from() {
            tracing::warn!(from = %silent, "took the lock of maintenance over: its holder was silent for as long as its lease lasts");
        }
        let lost = Arc::new(AtomicBool::new(false));
        let renewing = lock.lease().map(|lease| tokio::spawn(renew(lock.clone(), lease / RENEWALS, lost.clone())));
        Ok(Turn { lock: lock.clone(), lost, renewing })
    }

    /// Whether another process took the turn over, because this one was silent for too long.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Gives the turn back, so that others can have it at once.
    pub async fn give_back(self) {
        if let Some(renewing) = self.renewing {
            renewing.abort();
            // No renewal may come after the release.
            let _ = renewing.await;
        }
        self.lock.release().await;
    }
}

async fn renew(lock: Arc<dyn CommitterLock>, every: Duration, lost: Arc<AtomicBool>) {
    loop {
        tokio::time::sleep(every).await;
        match lock.hold().await {
            Ok(true) => {}
            Ok(false) => return lost.store(true, Ordering::Relaxed),
            Err(error) => {
                tracing::warn!(%error, "the lock of maintenance cannot be renewed; going on, two at a time do no harm")
            }
        }
    }
}
