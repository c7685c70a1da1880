//! One shard's journal as its owner writes it: entries in order, fenced by epoch.

use crate::env::Env;
use crate::error::{ConsumerError, Result};
use authpulse_event::id::sha256_hex;
use authpulse_event::time::HOUR;
use authpulse_event::{ShardId, Span};
use authpulse_lake::entry::{Entry, EntryError, Inherited, Spill};
use authpulse_lake::journal::JournalError;
use authpulse_lake::{Checkpoint, PutOutcome};
use bytes::Bytes;
use std::time::Duration;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::log";

/// How often a put with an unclear answer is looked up and tried again, half a second apart.
const PUT_ATTEMPTS: u32 = 20;
/// How often an entry is put while another process keeps the journal busy. Each attempt lasts as long as a statement waits (10 s for a
/// journal in SQLite): some five minutes in all, and then the service ends, to be started again.
const BUSY_ATTEMPTS: u32 = 30;
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// Entries read from a journal at once.
const ENTRIES_AT_ONCE: usize = 100;
/// An owner that has stored nothing for this long looks at the journal's end before it goes on: entries that others stored meanwhile may be
/// folded and removed, and its next number free again. Far less than the age at which entries are removed.
const SILENT: Span = HOUR;

/// Reads entry `n`, if there is one.
///
/// # Errors
/// The journal cannot be read, or the entry is damaged or too new.
pub async fn read_entry(env: &Env, shard: &ShardId, n: u64) -> Result<Option<Entry>> {
    match env.journal.get(shard, n).await? {
        Some(bytes) => Ok(Some(Entry::decode(shard, n, &bytes, env.lake.sections())?)),
        None => Ok(None),
    }
}

/// The last entry of a shard, if it has any.
///
/// # Errors
/// As for [`read_entry`].
pub async fn read_tail(env: &Env, shard: &ShardId) -> Result<Option<Entry>> {
    match env.journal.tail(shard).await? {
        Some(n) => read_entry(env, shard, n).await,
        None => Ok(None),
    }
}

/// The checkpoint that stands for a shard's oldest entries, if any are folded.
///
/// # Errors
/// The journal cannot be read, or the checkpoint is damaged or too new.
pub async fn read_checkpoint(env: &Env, shard: &ShardId) -> Result<Option<Checkpoint>> {
    match env.journal.checkpoint(shard).await? {
        Some((through, bytes)) => Ok(Some(Checkpoint::decode(shard, through, &bytes, env.lake.sections())?)),
        None => Ok(None),
    }
}

/// The parents that a shard inherited from; empty if it has no entry.
///
/// # Errors
/// The journal cannot be read, or the first entry or the checkpoint is damaged or too new.
pub async fn read_parents(env: &Env, shard: &ShardId) -> Result<Vec<Inherited>> {
    Ok(match read_checkpoint(env, shard).await? {
        Some(checkpoint) => checkpoint.first.inherits,
        None => read_entry(env, shard, 1).await?.map(|first| first.inherits).unwrap_or_default(),
    })
}

/// Reads the entries behind a number, in order, some at a time.
pub struct Entries<'a> {
    env: &'a Env,
    shard: &'a ShardId,
    next: u64,
}

impl<'a> Entries<'a> {
    /// The entries behind `n`. It must be the last entry of a checkpoint, or one that is not folded yet.
    pub fn after(env: &'a Env, shard: &'a ShardId, n: u64) -> Entries<'a> {
        Entries { env, shard, next: n + 1 }
    }

    /// The next entries; `None` at the end.
    ///
    /// # Errors
    /// [`ConsumerError::Outdated`] if they were folded since the reader began, [`EntryError::Damaged`] if one is missing; or the journal
    /// cannot be read.
    pub async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        let bodies = self.env.journal.list(self.shard, self.next, ENTRIES_AT_ONCE).await?;
        let mut entries = Vec::with_capacity(bodies.len());
        for (n, body) in bodies {
            if n != self.next {
                return Err(self.missing().await?);
            }
            self.next += 1;
            entries.push(Entry::decode(self.shard, n, &body, self.env.lake.sections())?);
        }
        Ok((!entries.is_empty()).then_some(entries))
    }

    async fn missing(&self) -> Result<ConsumerError> {
        let (shard, n) = (self.shard.clone(), self.next);
        if self.env.journal.checkpoint(self.shard).await?.is_some_and(|(through, _)| through >= n) {
            return Ok(ConsumerError::Outdated { shard, n });
        }
        Ok(missing(&shard, n))
    }
}

/// Reads an entry that must be there.
///
/// # Errors
/// The entry is missing or cannot be read.
pub async fn entry_of(env: &Env, shard: &ShardId, n: u64) -> Result<Entry> {
    read_entry(env, shard, n).await?.ok_or_else(|| missing(shard, n))
}

/// The error about an entry that is missing and should be there.
pub fn missing(shard: &ShardId, n: u64) -> ConsumerError {
    let cause = "it is missing from the journal".to_owned();
    EntryError::Damaged { what: format!("entry {n} of shard {shard}"), cause }.into()
}

/// An entry's spill: unscored events and daily counts, from the entry or from a file of its own.
///
/// # Errors
/// The file cannot be read, does not match its checksum, or is damaged or too new.
pub async fn read_spill(env: &Env, entry: &Entry) -> Result<Spill> {
    let Some(file) = &entry.spill_file else { return Ok(entry.spill.clone()) };
    let bytes = env.store.get(&file.path).await?;
    if sha256_hex(&bytes) != file.sha256 {
        return Err(EntryError::Damaged {
            what: format!("file {}", file.path),
            cause: "its checksum is not the one its entry names: restore it".to_owned(),
        }
        .into());
    }
    Ok(Spill::decode(&file.path, &bytes, env.lake.sections())?)
}

/// What came of taking a shard over.
pub enum Taken {
    /// The shard is the caller's. This is the entry that fences the former owner.
    Over(Entry),
    /// Its owner has ended it with this entry: there is nothing to take over.
    Ended(Entry),
}

/// Whose entry has the number after a put.
enum PutOwner {
    Ours,
    Other(Box<Entry>),
}

/// Puts an entry and finds out whose entry has its number, whatever the answer was.
async fn put(env: &Env, shard: &ShardId, entry: &Entry) -> Result<PutOwner> {
    let begun = (env.clock.now(), env.clock.ticks());
    let found = put_at_once(env, shard, entry).await?;
    let took = (env.clock.now() - begun.0).abs().max(env.clock.ticks() - begun.1);
    // If the process hung for so long meanwhile, it may have put the entry at a number where others had one before.
    if matches!(found, PutOwner::Ours) && took >= SILENT {
        return Ok(later(env, shard, entry.n).await?.unwrap_or(PutOwner::Ours));
    }
    Ok(found)
}

/// The journal's last entry, if it has a number beyond `n`.
async fn later(env: &Env, shard: &ShardId, n: u64) -> Result<Option<PutOwner>> {
    match env.journal.tail(shard).await? {
        Some(tail) if tail > n => match read_entry(env, shard, tail).await? {
            Some(entry) => Ok(Some(PutOwner::Other(Box::new(entry)))),
            None => Err(missing(shard, tail)),
        },
        _ => Ok(None),
    }
}

/// Puts an entry. Another process that hangs in the middle of a write can keep the journal busy. Then nothing has happened, and nothing
/// else could be done: this process says so and tries again, [`BUSY_ATTEMPTS`] times.
async fn put_when_free(
    env: &Env,
    shard: &ShardId,
    n: u64,
    body: &Bytes,
) -> std::result::Result<PutOutcome, JournalError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match env.journal.put(shard, n, body.clone()).await {
            Err(error @ JournalError::Busy { .. }) if attempts < BUSY_ATTEMPTS => {
                tracing::warn!(target: TARGET, %shard, n, %error, "the entry cannot be stored yet; trying again, nothing is lost");
                env.clock.sleep(RETRY_AFTER).await;
            }
            answer => return answer,
        }
    }
}

async fn put_at_once(env: &Env, shard: &ShardId, entry: &Entry) -> Result<PutOwner> {
    let body = entry.encode();
    let mut last: Option<ConsumerError> = None;
    for attempt in 0..PUT_ATTEMPTS {
        if attempt > 0 {
            env.clock.sleep(RETRY_AFTER).await;
        }
        match put_when_free(env, shard, entry.n, &body).await {
            Ok(PutOutcome::Created) => return Ok(PutOwner::Ours),
            // An earlier attempt of our own, whose answer was lost, may have taken it.
            Ok(PutOutcome::Taken) => {}
            Err(error @ (JournalError::Unclear { .. } | JournalError::Failed { .. })) => last = Some(error.into()),
            Err(error) => return Err(error.into()),
        }
        match env.journal.get(shard, entry.n).await {
            Ok(Some(bytes)) => {
                let found = Entry::decode(shard, entry.n, &bytes, env.lake.sections())?;
                let ours = found.commit_id == entry.commit_id;
                return Ok(if ours { PutOwner::Ours } else { PutOwner::Other(Box::new(found)) });
            }
            // If the number was folded, an entry that is gone has taken it.
            Ok(None) => match later(env, shard, entry.n).await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) => last = Some(error),
            },
            Err(error) => last = Some(error.into()),
        }
    }
    Err(match last {
        Some(error) => error,
        None => {
            JournalError::Unclear { shard: shard.clone(), n: entry.n, cause: "every attempt was refused".to_owned() }
                .into()
        }
    })
}

/// Stores an owner's next entry; `last` is the one before it.
///
/// # Errors
/// [`ConsumerError::Fenced`] if another owner was first: the batch must be dropped. Or the journal failed for too long.
pub async fn store(env: &Env, shard: &ShardId, last: &Entry, entry: &Entry) -> Result<()> {
    let fenced = || ConsumerError::Fenced { shard: shard.clone(), n: entry.n };
    if last.n > 0 && (env.clock.now() - last.written_at).abs() >= SILENT && later(env, shard, last.n).await?.is_some() {
        return Err(fenced());
    }
    match put(env, shard, entry).await? {
        PutOwner::Ours => Ok(()),
        PutOwner::Other(_) => Err(fenced()),
    }
}

/// Takes a shard over: stores an entry without rows under the next epoch, after whatever the former owner managed to store. From then on
/// the former owner can store nothing. Returns that entry, or the shard's end if the former owner stored one.
///
/// # Errors
/// [`ConsumerError::Fenced`] if another process takes the shard over at the same time and was first; or the journal failed for too long.
pub async fn take_over(env: &Env, shard: &ShardId, mut tail: Entry) -> Result<Taken> {
    let epoch = tail.epoch + 1;
    loop {
        // Children go on from there: an entry behind the end would belong to the shard as well as to them.
        if tail.end {
            return Ok(Taken::Ended(tail));
        }
        let mut entry = Entry {
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
            advances: Vec::new(),
            files: Vec::new(),
            raw: Vec::new(),
            snapshot: Vec::new(),
            gaps: Vec::new(),
            // Reading begins again, so a seal that was under way begins again, too, and one that was complete no longer closes days.
            read_to_end: false,
            flushed: false,
            sealed: None,
            sections: tail.sections.carried(),
            ..tail.clone()
        };
        // The spill is that of the tail, whose format says what it needs.
        entry.format = entry.format_to_write(&entry.spill, tail.format);
        match put(env, shard, &entry).await? {
            PutOwner::Ours => {
                tracing::info!(target: TARGET, %shard, entry = entry.n, epoch, "took the shard over");
                return Ok(Taken::Over(entry));
            }
            PutOwner::Other(found) if found.epoch < epoch => tail = *found,
            PutOwner::Other(_) => return Err(ConsumerError::Fenced { shard: shard.clone(), n: entry.n }),
        }
    }
}
