//! What a worker does after its last record: its end as a parent, or a seal in two steps.

use super::{Goal, Marks, Phase, Progress, Worker};
use crate::error::Result;
use authpulse_engine::Shard;
use authpulse_event::Day;
use authpulse_lake::Seal;

impl Worker {
    /// Every record is judged.
    pub(super) async fn reach_end(&mut self) -> Result<Progress> {
        self.tell_of_ids(true);
        if let Some(backfill) = &mut self.backfill {
            backfill.finished = true;
            if self.goal == Goal::GiveUp {
                let lines = self.position.sequence.as_u64().unwrap_or(0);
                backfill.given_up = Some(lines.saturating_sub(backfill.lines_before));
            }
        }
        if self.goal == Goal::GiveUp {
            self.release(Shard::settle)?;
            self.collect();
        }
        if matches!(self.goal, Goal::EndKeepOpen | Goal::GiveUp) {
            // The last entry says that the files are read, whether it holds anything else or not.
            self.store(Marks::default()).await?;
            self.land().await?;
            self.store_until_scored().await?;
            self.phase = Phase::Done;
            return Ok(Progress::Done);
        }
        let is_parent = !self.registry.children(&self.key).is_empty();
        self.phase = if is_parent { Phase::Parent } else { Phase::Ended };
        if is_parent && self.heirs_can_start() {
            return self.store_end().await;
        }
        self.store(Marks { read_to_end: true, ..Marks::default() }).await?;
        self.land().await?;
        Ok(Progress::Worked)
    }

    /// Stores until nothing more can be scored without other shards.
    async fn store_until_scored(&mut self) -> Result<()> {
        while self.store_what_became_ready().await? {}
        Ok(())
    }

    /// Whether every parent of every heir is read to its end; this one is.
    fn heirs_can_start(&self) -> bool {
        let children = self.registry.children(&self.key);
        let parents = children.iter().flat_map(|child| self.registry.parents(child));
        parents.into_iter().all(|p| p == self.key || self.registry.view(&p).is_some_and(|view| view.read_to_end))
    }

    async fn store_end(&mut self) -> Result<Progress> {
        self.store(Marks { read_to_end: true, end: true, ..Marks::default() }).await?;
        self.land().await?;
        self.registry.want(&self.key, None);
        self.phase = Phase::Done;
        Ok(Progress::Done)
    }

    pub(super) async fn wait_for_heirs(&mut self) -> Result<Progress> {
        if self.heirs_can_start() {
            return self.store_end().await;
        }
        let mut ancestors = std::collections::BTreeSet::new();
        for child in self.registry.children(&self.key) {
            ancestors.extend(self.registry.ancestors(&child));
        }
        ancestors.remove(&self.key);
        self.rise(self.registry.newest_watermark_among(&ancestors), "ancestor")?;
        self.store_while_waiting().await
    }

    pub(super) async fn wait_for_ends(&mut self) -> Result<Progress> {
        if self.registry.all_leaves(|_, view| view.read_to_end) {
            self.release(Shard::settle)?;
            self.collect();
            self.phase = Phase::Settled;
            self.store(Marks { read_to_end: true, settled: true, ..Marks::default() }).await?;
            self.land().await?;
            return Ok(Progress::Worked);
        }
        self.rise(self.registry.newest_watermark_of_others(&self.key), "idle")?;
        self.store_while_waiting().await
    }

    pub(super) async fn wait_for_settled(&mut self) -> Result<Progress> {
        if !self.registry.all_leaves(|_, view| view.settled) {
            return self.store_while_waiting().await;
        }
        let seal = self.registry.newest_accepted().map(|t| Day::of(t).end());
        self.rise(seal, "seal")?;
        self.phase = Phase::Risen;
        self.store(Marks::default()).await?;
        self.land().await?;
        Ok(Progress::Worked)
    }

    /// After the last rise: score, write hours and days, and say that the shard is sealed.
    pub(super) async fn finish_seal(&mut self) -> Result<Progress> {
        if self.shard.unscored_len() > 0 {
            return self.store_while_waiting().await;
        }
        let writes_days = self.shard.range().first == 0;
        let seal = self.registry.newest_accepted().map(|t| Day::of(t).end());
        if writes_days && seal.is_some() {
            // Days are complete when every shard has published its scores.
            let published = self.shard.has_rows_to_write() || !self.out.scored.is_empty();
            if published {
                self.store(Marks::default()).await?;
                self.land().await?;
            }
            let key = self.key.clone();
            let others_sealed = self.registry.all_leaves(|leaf, view| *leaf == key || view.sealed.is_some());
            // A shard that was split may have published its last scores with its last entry.
            if !others_sealed || !self.registry.knows_last_of_parents() {
                return self.store_while_waiting().await;
            }
        }
        let seal = seal.map_or(Seal::Nothing, Seal::UpTo);
        self.store(Marks { sealed: Some(seal.mark()), ..Marks::default() }).await?;
        self.land().await?;
        self.registry.want(&self.key, None);
        self.phase = Phase::Done;
        Ok(Progress::Done)
    }
}
