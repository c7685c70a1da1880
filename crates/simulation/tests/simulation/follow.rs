//! A follower beside the tables. It counts each user's curated rows, and stores counts and position in one step, as a database would.

use crate::doors::Door;
use crate::process::{STRUCK, is_fault};
use crate::world::World;
use async_trait::async_trait;
use authpulse_event::Span;
use authpulse_journal::env::duration;
use authpulse_journal::error::{Chain, Result};
use authpulse_journal::{ConsumerError, Env};
use authpulse_lake::Table;
use authpulse_lake::read::{CuratedBatch, Rows};
use authpulse_oracle as oracle;
use authpulse_service::follow::{Applied, Batch, Follower, Registered, Version};
use futures::executor::block_on;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// How many rows each user has.
type Users = BTreeMap<String, u64>;

/// What the follower has stored.
#[derive(Default)]
pub struct Kept {
    applied: Applied,
    users: Users,
    /// How often the follower was rebuilt.
    pub rebuilt: u64,
    /// Entries that it applied one by one.
    pub followed: u64,
}

/// One process of the follower.
pub struct Counts {
    pub kept: Arc<Mutex<Kept>>,
    /// None outside of all processes.
    pub door: Option<Door>,
}

impl Counts {
    /// Changes what is stored, whole or not at all.
    async fn transact(&self, change: impl FnOnce(&mut Kept)) -> Result<()> {
        let take_place = async {
            change(&mut self.kept.lock().unwrap());
            Ok(())
        };
        match &self.door {
            Some(door) => {
                let lost = |words: String| ConsumerError::Follower { name: "counts".to_owned(), source: words.into() };
                door.go("follower commit", "", lost, take_place).await
            }
            None => take_place.await,
        }
    }
}

fn count(rows: Rows<CuratedBatch>, users: &mut Users) -> Result<()> {
    for batch in rows {
        for row in batch?.iter() {
            *users.entry(row.user_id.to_owned()).or_default() += 1;
        }
    }
    Ok(())
}

#[async_trait]
impl Follower for Counts {
    fn name(&self) -> &str {
        "counts"
    }

    async fn applied(&self) -> Result<Applied> {
        Ok(self.kept.lock().unwrap().applied.clone())
    }

    async fn apply(&self, batch: &Batch<'_>) -> Result<u64> {
        let mut entries = Vec::new();
        for followed in batch.behind(self.name(), &self.applied().await?)? {
            batch.spill(followed).await?;
            let mut users = Users::new();
            for file in followed.entry.files.iter().filter(|file| file.table == Table::CURATED) {
                count(batch.curated(followed, file).await?, &mut users)?;
            }
            entries.push((followed.shard.clone(), followed.entry.n, users));
        }
        let rows = entries.iter().flat_map(|(.., users)| users.values()).sum();
        self.transact(|kept| {
            for (shard, n, users) in entries {
                // Another process of this follower may have stored this meanwhile.
                let last = kept.applied.entry(shard).or_default();
                if n > *last {
                    *last = n;
                    kept.followed += 1;
                    users.into_iter().for_each(|(user, n)| *kept.users.entry(user).or_default() += n);
                }
            }
        })
        .await?;
        Ok(rows)
    }

    async fn rebuild(&self, version: &Version) -> Result<()> {
        let mut users = Users::new();
        for file in version.files(Table::CURATED) {
            count(version.curated(file).await?, &mut users)?;
        }
        self.transact(|kept| {
            (kept.applied, kept.users) = (version.applied().clone(), users);
            kept.rebuilt += 1;
        })
        .await
    }
}

/// Runs a process of the follower.
pub async fn run(
    env: Env,
    follower: Counts,
    every: Span,
    stop: tokio::sync::watch::Receiver<bool>,
) -> std::result::Result<String, String> {
    let mut follower = Registered::new(env.clone(), follower).map_err(|e| e.to_string())?;
    while !*stop.borrow() {
        match follower.catch_up().await {
            Ok(_) => {}
            Err(error) if is_fault(&error) => return Ok(STRUCK.to_owned()),
            Err(error) => return Err(format!("a follower failed without a fault: {}", Chain(&error))),
        }
        env.clock.sleep(duration(every)).await;
    }
    Ok("stopped".to_owned())
}

/// Checks that the follower, once it has gone on to the end, keeps what the evaluator says.
pub fn agrees(world: &World, kept: &Arc<Mutex<Kept>>, outcome: &oracle::Outcome) -> std::result::Result<(), String> {
    let env: Env = world.outside.clone();
    let follower = Registered::new(env, Counts { kept: kept.clone(), door: None });
    let mut follower = follower.map_err(|e| e.to_string())?;
    block_on(follower.catch_up()).map_err(|e| format!("the follower cannot go on: {e}"))?;
    // The follower registers its position as it goes on, but only after this time.
    world.pass(authpulse_service::follow::REGISTER_EVERY);
    block_on(follower.catch_up()).map_err(|e| format!("the follower cannot go on: {e}"))?;
    let mut expected = Users::new();
    for row in &outcome.curated {
        *expected.entry(row.user_id.clone()).or_default() += 1;
    }
    let found = &kept.lock().unwrap().users;
    match expected.iter().find(|(user, n)| found.get(*user) != Some(n)) {
        Some((user, n)) => Err(format!("the follower counts {:?} rows of {user}, which has {n}", found.get(user))),
        None if found.len() != expected.len() => Err("the follower knows users who have no rows".to_owned()),
        None => Ok(()),
    }
}
