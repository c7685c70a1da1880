//! What a lake holds, summed over its journals: the figures at the end of a run.

use crate::report::thousands;
use anyhow::Result;
use authpulse_journal::Env;
use authpulse_journal::log::{Entries, read_checkpoint};
use authpulse_journal::open::open_lake;
use authpulse_lake::Seal;
use authpulse_settings::Options;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Why a command fails although it has read its input to the end.
pub const ALL_REJECTED: &str = "every record of the input is rejected; the lake is kept, its table auth_events_rejected says why for each, \
                                and a later file or stream goes on";

/// What a lake holds, summed over its journals.
pub struct Totals {
    /// Records that were read.
    pub received: u64,
    /// Scored events.
    pub curated: u64,
    /// Dead letters by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Events that are held back.
    pub waiting: u64,
    /// Accepted events that wait for a score.
    pub unscored: u64,
    /// Attributes that had no value of their form and were left out.
    pub fields_dropped: u64,
    /// The latest seal of the shards without children, if there is one.
    pub sealed: Option<Seal>,
}

impl Totals {
    fn add(&mut self, (received, curated, fields_dropped): (u64, u64, u64), rejected: BTreeMap<String, u64>) {
        self.received += received;
        self.fields_dropped += fields_dropped;
        self.curated += curated;
        for (reason, n) in rejected {
            *self.rejected.entry(reason).or_default() += n;
        }
    }

    /// Whether every record is accounted for.
    pub fn adds_up(&self) -> bool {
        self.received == self.curated + self.rejected.values().sum::<u64>() + self.waiting + self.unscored
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rejected: u64 = self.rejected.values().sum();
        writeln!(f, "received  {:>15}", thousands(self.received))?;
        writeln!(f, "curated   {:>15}", thousands(self.curated))?;
        writeln!(f, "rejected  {:>15}", thousands(rejected))?;
        for (reason, n) in &self.rejected {
            writeln!(f, "  {reason:<10}{:>13}", thousands(*n))?;
        }
        if self.waiting + self.unscored > 0 {
            writeln!(
                f,
                "open      {:>15}  (waiting {}, not yet scored {})",
                thousands(self.waiting + self.unscored),
                self.waiting,
                self.unscored
            )?;
        }
        if self.fields_dropped > 0 {
            let n = thousands(self.fields_dropped);
            writeln!(f, "left out  {n:>15}  (attributes without a value of their form)")?;
        }
        let sum = if self.adds_up() {
            "received = curated + rejected + open: it adds up"
        } else {
            "IT DOES NOT ADD UP: run authpulse verify"
        };
        write!(f, "{sum}")?;
        if let Some(sealed) = self.sealed {
            write!(f, "\n{sealed}")?;
        }
        Ok(())
    }
}

/// Sums a lake's journals.
///
/// # Errors
/// An entry cannot be read.
pub async fn totals(env: &Env, options: &Arc<Options>) -> Result<Totals> {
    let mut totals = Totals {
        received: 0,
        curated: 0,
        rejected: Default::default(),
        waiting: 0,
        unscored: 0,
        fields_dropped: 0,
        sealed: None,
    };
    let opened = open_lake(env, options).await?;
    let leaves = opened.registry.leaves();
    for shard in env.journal.shards().await? {
        let checkpoint = read_checkpoint(env, &shard).await?;
        let mut entries = Entries::after(env, &shard, checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.through));
        if let Some(checkpoint) = checkpoint {
            totals.add((checkpoint.received, checkpoint.curated, checkpoint.fields_dropped), checkpoint.rejected);
        }
        while let Some(some) = entries.next().await? {
            for counts in some.into_iter().map(|entry| entry.counts) {
                totals.add((counts.received, counts.curated, counts.fields_dropped), counts.rejected);
            }
        }
        if leaves.contains_key(&shard)
            && let Some(tail) = opened.tails.get(&shard)
        {
            totals.waiting += tail.counts.waiting;
            totals.unscored += tail.counts.unscored;
            totals.sealed = totals.sealed.max(tail.seal());
        }
    }
    Ok(totals)
}
