//! One shard's journal as its owner writes it: entries in order, fenced by epoch.

use crate::env::Env;
use crate::error::{ConsumerError, Result};
use authpulse_event::ShardId;
use authpulse_lake::PutOutcome;
use authpulse_lake::entry::{Entry, Side};
use authpulse_lake::journal::JournalError;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How often a put with an unclear answer is looked up and tried again, half a second apart.
const PUT_ATTEMPTS: u32 = 20;
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// Reads entry `n`.
pub async fn read_entry(env: &Env, shard: &ShardId, n: u64) -> Result<Option<Entry>> {
    match env.journal.get(shard, n).await? {
        Some(bytes) => Ok(Some(Entry::decode(shard, n, &bytes)?)),
        None => Ok(None),
    }
}

/// The last entry of a shard, if it has any.
pub async fn read_tail(env: &Env, shard: &ShardId) -> Result<Option<Entry>> {
    match env.journal.tail(shard).await? {
        Some(n) => read_entry(env, shard, n).await,
        None => Ok(None),
    }
}

/// Unscored events and shares of an entry, wherever they are.
pub async fn read_side(env: &Env, entry: &Entry) -> Result<Side> {
    let Some(file) = &entry.side_file else { return Ok(entry.side.clone()) };
    let bytes = env.store.get(&file.path).await?;
    if sha256_hex(&bytes) != file.sha256 {
        return Err(authpulse_lake::entry::EntryError::Damaged {
            what: format!("file {}", file.path),
            cause: "its checksum is not the one its entry names: restore it".to_owned(),
        }
        .into());
    }
    Ok(Side::decode(&file.path, &bytes)?)
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

/// What became of taking a shard over.
pub enum Taken {
    /// It is the caller's; the entry that fences the former owner.
    Over(Entry),
    /// Its owner has ended it, with this entry: there is nothing to take.
    Ended(Entry),
}

/// Whose entry stands at a number after a put.
enum Found {
    Ours,
    Other(Box<Entry>),
}

/// Puts an entry and finds out, whatever the answer was, whose entry stands at its number.
async fn put(env: &Env, shard: &ShardId, entry: &Entry) -> Result<Found> {
    let body = entry.encode();
    let mut last = None;
    for attempt in 0..PUT_ATTEMPTS {
        if attempt > 0 {
            env.clock.sleep(RETRY_AFTER).await;
        }
        match env.journal.put(shard, entry.n, body.clone()).await {
            Ok(PutOutcome::Created) => return Ok(Found::Ours),
            // Taken may be an earlier attempt of our own whose answer was lost.
            Ok(PutOutcome::Taken) => {}
            Err(error @ (JournalError::Unclear { .. } | JournalError::Failed { .. })) => last = Some(error),
            Err(error) => return Err(error.into()),
        }
        match env.journal.get(shard, entry.n).await {
            Ok(Some(bytes)) => {
                let found = Entry::decode(shard, entry.n, &bytes)?;
                let ours = found.commit_id == entry.commit_id;
                return Ok(if ours { Found::Ours } else { Found::Other(Box::new(found)) });
            }
            Ok(None) => {}
            Err(error) => last = Some(error),
        }
    }
    Err(match last {
        Some(error) => error.into(),
        None => {
            JournalError::Unclear { shard: shard.clone(), n: entry.n, cause: "every attempt was refused".to_owned() }
                .into()
        }
    })
}

/// Stores an owner's next entry.
///
/// # Errors
/// [`ConsumerError::Fenced`] if another owner was first: the batch must be dropped.
pub async fn store(env: &Env, shard: &ShardId, entry: &Entry) -> Result<()> {
    match put(env, shard, entry).await? {
        Found::Ours => Ok(()),
        Found::Other(_) => Err(ConsumerError::Fenced { shard: shard.clone(), n: entry.n }),
    }
}

/// Takes a shard over: stores an entry without rows under the next epoch, after whatever the former owner managed to store. From
/// then on the former owner can store nothing. Returns the entry.
///
/// # Errors
/// [`ConsumerError::Fenced`] if somebody else takes the shard over at the same time and was first.
pub async fn take_over(env: &Env, shard: &ShardId, mut tail: Entry) -> Result<Taken> {
    let epoch = tail.epoch + 1;
    loop {
        // Heirs go on from there: what came behind it would be the shard's as well as theirs.
        if tail.end {
            return Ok(Taken::Ended(tail));
        }
        let entry = Entry {
            n: tail.n + 1,
            epoch,
            commit_id: env.ids.commit_id(),
            written_at: env.clock.now(),
            takes_over: true,
            inherits: Vec::new(),
            from: tail.to.clone(),
            counts: authpulse_lake::entry::EntryCounts {
                waiting_before: tail.counts.waiting,
                unscored_before: tail.counts.unscored,
                waiting: tail.counts.waiting,
                unscored: tail.counts.unscored,
                ..Default::default()
            },
            rises: Vec::new(),
            files: Vec::new(),
            raw: Vec::new(),
            snapshot: Vec::new(),
            gaps: Vec::new(),
            // Reading begins anew, so a seal that was under way does as well, and one that was complete holds no more days closed.
            read_to_end: false,
            settled: false,
            sealed: None,
            ..tail.clone()
        };
        match put(env, shard, &entry).await? {
            Found::Ours => return Ok(Taken::Over(entry)),
            Found::Other(found) if found.epoch < epoch => tail = *found,
            Found::Other(_) => return Err(ConsumerError::Fenced { shard: shard.clone(), n: entry.n }),
        }
    }
}
