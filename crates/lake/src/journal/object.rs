//! Journals in an object store. Entry `n` of a shard is the file `journal/SHARD/N`, put only if it does not exist. A checkpoint of the
//! entries up to `n` is the file `bases/SHARD/N`.
//!
//! The journal relies on what [`ObjectStore::put_new`] promises, and on listings that show every put that returned. Numbers are written
//! with 20 digits, so that names sort like numbers. A shard's name is encoded in characters that every store accepts.
//!
//! Without folding, a year of entries is three million names a shard. So no call lists a shard from its beginning: the journal keeps the
//! highest number that it has seen and looks beyond it. That number is a lower bound, because a journal's last entry is never removed. Only
//! speed depends on it.

use super::registry::stray;
use super::{
    CHECKPOINTS_KEPT, FollowerName, Followers, Journal, JournalError, PutOutcome, REGISTRATIONS_KEPT, check, not_folded,
};
use crate::schema::file_name;
use crate::store::{ObjectMeta, ObjectStore, StoreError};
use async_trait::async_trait;
use authpulse_event::ShardId;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The folder of all journals.
const FOLDER: &str = "journal/";
/// The folder of all checkpoints.
const CHECKPOINTS: &str = "bases/";
/// The folder of the registrations of all followers: `followers/NAME/N`.
const FOLLOWERS: &str = "followers/";
/// Names per request when the end of a journal is looked for: one page of S3.
const PAGE: usize = 1000;
/// Entries read, or removed, at the same time. Each has some kilobytes, so the time to the first byte is what counts.
const READS_AT_ONCE: usize = 32;

/// The journals of a lake in an object store.
pub struct ObjectJournal {
    store: Arc<dyn ObjectStore>,
    /// The highest number seen of each shard.
    seen: Mutex<HashMap<ShardId, u64>>,
}

impl ObjectJournal {
    /// The journals in a store; nothing is read or written yet.
    pub fn new(store: Arc<dyn ObjectStore>) -> ObjectJournal {
        ObjectJournal { store, seen: Mutex::default() }
    }

    fn saw(&self, shard: &ShardId, n: u64) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = seen.entry(shard.clone()).or_default();
        *highest = n.max(*highest);
    }

    fn seen(&self, shard: &ShardId) -> u64 {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(shard).copied().unwrap_or(0)
    }

    fn failed(&self, action: &'static str, error: StoreError) -> JournalError {
        let journal = self.store.uri("journal");
        match error {
            StoreError::Refused { .. } => JournalError::Refused { journal, why: error.to_string() },
            error => JournalError::Failed { journal, action, cause: error.to_string() },
        }
    }

    /// The stored numbers above `n`, in order, at most `limit`.
    async fn behind(&self, shard: &ShardId, n: u64, limit: usize) -> Result<Vec<u64>, JournalError> {
        let folder = folder(shard);
        let files = self.store.list_from(&folder, &path(shard, n), limit).await;
        let files = files.map_err(|e| self.failed("listing entries", e))?;
        let numbers: Result<Vec<u64>, JournalError> =
            files.iter().map(|file| number(&folder, file).ok_or_else(|| self.stray(&file.path))).collect();
        let numbers = numbers?;
        if let Some(last) = numbers.last() {
            self.saw(shard, *last);
        }
        Ok(numbers)
    }

    /// The numbers that have a checkpoint, in order.
    async fn checkpoints(&self, shard: &ShardId) -> Result<Vec<u64>, JournalError> {
        let folder = format!("{CHECKPOINTS}{}/", file_name(shard));
        let files = self.store.list(&folder).await.map_err(|e| self.failed("listing bases", e))?;
        files.iter().map(|file| number(&folder, file).ok_or_else(|| self.stray(&file.path))).collect()
    }

    async fn remove(&self, paths: impl IntoIterator<Item = String>) -> Result<(), JournalError> {
        let removals = paths.into_iter().map(|path| async move {
            self.store.delete(&path).await.map_err(|e| self.failed("removing what is folded", e))
        });
        futures::stream::iter(removals).buffered(READS_AT_ONCE).try_collect().await
    }

    fn stray(&self, path: &str) -> JournalError {
        let why = format!("file {path} is no entry; nothing else may lie in a journal: move it elsewhere");
        JournalError::Refused { journal: self.store.uri("journal"), why }
    }
}

/// The number in a file's name.
fn number(folder: &str, file: &ObjectMeta) -> Option<u64> {
    let digits = file.path.strip_prefix(folder)?;
    if digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn folder(shard: &ShardId) -> String {
    format!("{FOLDER}{}/", file_name(shard))
}

fn checkpoint_path(shard: &ShardId, n: u64) -> String {
    format!("{CHECKPOINTS}{}/{n:020}", file_name(shard))
}

fn path(shard: &ShardId, n: u64) -> String {
    format!("{}{n:020}", folder(shard))
}

/// The inverse of [`file_name`]; `None` for what it does not make.
fn decode(folder: &str) -> Option<String> {
    if folder == "!" {
        return Some(String::new());
    }
    let mut bytes = Vec::with_capacity(folder.len());
    let mut rest = folder.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        if *first == b'!' {
            let digits = std::str::from_utf8(behind.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &behind[2..];
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    let shard = String::from_utf8(bytes).ok()?;
    (file_name(&ShardId::new(&shard)) == folder).then_some(shard)
}

#[async_trait]
impl Journal for ObjectJournal {
    async fn put(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        check(shard, n)?;
        let outcome = match self.store.put_new(&path(shard, n), body).await {
            Ok(()) => PutOutcome::Created,
            Err(StoreError::AlreadyExists { .. }) => PutOutcome::Taken,
            Err(error @ StoreError::Refused { .. }) => return Err(self.failed("storing an entry", error)),
            Err(error) => return Err(JournalError::Unclear { shard: shard.clone(), n, cause: error.to_string() }),
        };
        self.saw(shard, n);
        Ok(outcome)
    }

    async fn get(&self, shard: &ShardId, n: u64) -> Result<Option<Bytes>, JournalError> {
        check(shard, n)?;
        match self.store.get(&path(shard, n)).await {
            Ok(body) => Ok(Some(body)),
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("reading an entry", error)),
        }
    }

    async fn tail(&self, shard: &ShardId) -> Result<Option<u64>, JournalError> {
        let mut last = self.seen(shard);
        let mut step = PAGE as u64;
        // A page that is not full ends the journal. If the end is far, the steps double and then halve again: some thirty requests for a
        // thousand million entries, and one if the end was seen before.
        loop {
            let page = self.behind(shard, last, PAGE).await?;
            last = page.last().copied().unwrap_or(last);
            if page.len() < PAGE {
                return Ok((last > 0).then_some(last));
            }
            let mut none_behind = u64::MAX;
            while none_behind - last > PAGE as u64 {
                let ahead = step.min((none_behind - last) / 2);
                match self.behind(shard, last + ahead, 1).await?.first() {
                    Some(found) => (last, step) = (*found, step.saturating_mul(2)),
                    None => none_behind = last + ahead,
                }
            }
        }
    }

    async fn shards(&self) -> Result<Vec<ShardId>, JournalError> {
        let folders = self.store.folders(FOLDER).await.map_err(|e| self.failed("listing the shards", e))?;
        let shards = folders
            .iter()
            .map(|folder| decode(folder).map(ShardId::new).ok_or_else(|| self.stray(&format!("{FOLDER}{folder}/"))));
        let mut shards: Vec<ShardId> = shards.collect::<Result<_, _>>()?;
        shards.sort_unstable();
        Ok(shards)
    }

    async fn list(&self, shard: &ShardId, from: u64, limit: usize) -> Result<Vec<(u64, Bytes)>, JournalError> {
        if limit == 0 || from > i64::MAX.cast_unsigned() {
            return Ok(Vec::new());
        }
        let numbers = self.behind(shard, from.saturating_sub(1), limit).await?;
        let reads = numbers.into_iter().map(|n| async move {
            let body = self.store.get(&path(shard, n)).await.map_err(|e| self.failed("reading an entry", e))?;
            Ok((n, body))
        });
        futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }

    async fn checkpoint(&self, shard: &ShardId) -> Result<Option<(u64, Bytes)>, JournalError> {
        loop {
            let Some(n) = self.checkpoints(shard).await?.pop() else { return Ok(None) };
            match self.store.get(&checkpoint_path(shard, n)).await {
                Ok(body) => return Ok(Some((n, body))),
                // It was removed in the meantime, so there must be newer ones.
                Err(StoreError::NotFound { .. })
                    if self.checkpoints(shard).await?.last().is_some_and(|last| *last > n) => {}
                Err(error) => return Err(self.failed("reading a base", error)),
            }
        }
    }

    async fn put_checkpoint(&self, shard: &ShardId, n: u64, body: Bytes) -> Result<(), JournalError> {
        check(shard, n)?;
        match self.store.put_new(&checkpoint_path(shard, n), body).await {
            Ok(()) | Err(StoreError::AlreadyExists { .. }) => Ok(()),
            Err(error) => Err(self.failed("storing a base", error)),
        }
    }

    async fn remove_through(&self, shard: &ShardId, n: u64) -> Result<u64, JournalError> {
        check(shard, n)?;
        let mut checkpoints = self.checkpoints(shard).await?;
        if checkpoints.last().is_none_or(|through| *through < n) {
            return Err(not_folded(self.store.uri("journal"), shard, n));
        }
        let folder = folder(shard);
        let mut removed = 0;
        let mut after = path(shard, 0);
        loop {
            let files = self.store.list_from(&folder, &after, PAGE).await;
            let files = files.map_err(|e| self.failed("listing entries", e))?;
            let Some(last) = files.last() else { break };
            after.clone_from(&last.path);
            let is_last = files.len() < PAGE;
            let mut paths = Vec::new();
            for file in &files {
                if number(&folder, file).ok_or_else(|| self.stray(&file.path))? <= n {
                    paths.push(file.path.clone());
                }
            }
            let all = paths.len() == files.len();
            removed += paths.len() as u64;
            self.remove(paths).await?;
            if is_last || !all {
                break;
            }
        }
        checkpoints.truncate(checkpoints.len().saturating_sub(CHECKPOINTS_KEPT));
        self.remove(checkpoints.into_iter().map(|n| checkpoint_path(shard, n))).await?;
        Ok(removed)
    }

    fn followers(&self) -> &dyn Followers {
        self
    }
}

impl ObjectJournal {
    /// The numbers that a follower has registrations under, in order.
    async fn registrations(&self, folder: &str) -> Result<Vec<u64>, JournalError> {
        let files = self.store.list(folder).await.map_err(|e| self.failed("listing followers", e))?;
        let number = |file| number(folder, file);
        files.iter().map(|file| number(file).ok_or_else(|| stray(self.store.uri(FOLLOWERS), &file.path))).collect()
    }
}

fn registration_path(name: &FollowerName, n: u64) -> String {
    format!("{FOLLOWERS}{name}/{n:020}")
}

#[async_trait]
impl Followers for ObjectJournal {
    async fn registered(&self) -> Result<Vec<(FollowerName, u64, Bytes)>, JournalError> {
        let folders = self.store.folders(FOLLOWERS).await.map_err(|e| self.failed("listing followers", e))?;
        let mut found = Vec::new();
        'followers: for folder in folders {
            let name = FollowerName::new(&folder).map_err(|_| stray(self.store.uri(FOLLOWERS), &folder))?;
            let folder = format!("{FOLLOWERS}{folder}/");
            let mut last = 0;
            loop {
                // None: the follower was forgotten in the meantime.
                let Some(n) = self.registrations(&folder).await?.pop() else { continue 'followers };
                match self.store.get(&registration_path(&name, n)).await {
                    Ok(body) => {
                        found.push((name, n, body));
                        continue 'followers;
                    }
                    // It was removed in the meantime: there are newer ones, or none any more.
                    Err(StoreError::NotFound { .. }) if n != last => last = n,
                    Err(error) => return Err(self.failed("reading a follower", error)),
                }
            }
        }
        found.sort_unstable_by(|(a, ..), (b, ..)| a.cmp(b));
        Ok(found)
    }

    async fn register(&self, name: &FollowerName, n: u64, body: Bytes) -> Result<PutOutcome, JournalError> {
        match self.store.put_new(&registration_path(name, n), body).await {
            Ok(()) => {}
            Err(StoreError::AlreadyExists { .. }) => return Ok(PutOutcome::Taken),
            Err(error) => return Err(self.failed("registering a follower", error)),
        }
        // Each registration removes the one that is now too old, so only three stay. What a crash leaves behind nobody reads; it goes when
        // the follower is forgotten.
        if let Some(old) = n.checked_sub(REGISTRATIONS_KEPT).filter(|old| *old > 0) {
            self.remove([registration_path(name, old)]).await?;
        }
        Ok(PutOutcome::Created)
    }

    async fn forget(&self, name: &FollowerName) -> Result<bool, JournalError> {
        let numbers = self.registrations(&format!("{FOLLOWERS}{name}/")).await?;
        let is_known = !numbers.is_empty();
        // The newest goes last, so that after a crash the same registration counts as before.
        for n in numbers {
            self.remove([registration_path(name, n)]).await?;
        }
        Ok(is_known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::Faults;
    use crate::store::MemoryStore;
    use futures::executor::block_on;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_shard_has_a_folder_of_its_own() {
        for shard in
            ["file", "shardId-000000000000@demo.17", "", ".", "..", "a/b", "!", "!2e", "é ü", "a.b", ".a", "%2F"]
        {
            let folder = file_name(&ShardId::new(shard));
            assert_eq!(decode(&folder).as_deref(), Some(shard), "{folder}");
            assert!(crate::store::check_path(&format!("journal/{folder}/1")).is_ok(), "{folder}");
        }
        assert_eq!(file_name(&ShardId::new("shardId-000000000000@demo.17")), "shardId-000000000000!40demo.17");
        for folder in ["!2", "!zz", "a@b", "!2E", "!61"] {
            assert_eq!(decode(folder), None, "{folder}");
        }
    }

    #[test]
    fn the_end_of_a_long_journal_is_found_in_a_few_requests() {
        let store = Arc::new(MemoryStore::new());
        let journal = ObjectJournal::new(store.clone());
        let shard = ShardId::new("s");
        for n in 1..=123_456u64 {
            block_on(store.put_new(&path(&shard, n), Bytes::new())).unwrap();
        }
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        store.set_faults(Faults::new(move |step| {
            count.fetch_add(usize::from(step.moment == crate::fault::Moment::Before), Ordering::Relaxed);
            Ok(())
        }));
        assert_eq!(block_on(journal.tail(&shard)).unwrap(), Some(123_456));
        let first = asked.swap(0, Ordering::Relaxed);
        assert!(first <= 30, "{first} requests");
        assert_eq!(block_on(journal.tail(&shard)).unwrap(), Some(123_456));
        assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
        // Another process puts one more.
        block_on(store.put_new(&path(&shard, 123_457), Bytes::new())).unwrap();
        asked.store(0, Ordering::Relaxed);
        assert_eq!(block_on(journal.tail(&shard)).unwrap(), Some(123_457));
        assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
        assert_eq!(block_on(journal.list(&shard, 123_400, 5)).unwrap().len(), 5);
        assert_eq!(asked.swap(0, Ordering::Relaxed), 6);
    }

    #[test]
    fn what_is_no_entry_is_named() {
        let store = Arc::new(MemoryStore::new());
        block_on(store.put_new("journal/s/readme.txt", Bytes::new())).unwrap();
        let journal = ObjectJournal::new(store);
        let told = block_on(journal.tail(&ShardId::new("s"))).unwrap_err();
        assert!(told.to_string().contains("journal/s/readme.txt is no entry"), "{told}");
        assert_eq!(told.remedy(), crate::Remedy::Correct);
    }
}
