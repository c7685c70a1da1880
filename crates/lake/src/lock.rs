//! Who may use a lake, and who of many commits.
//!
//! A local lake belongs to one process, or to workers that share it. The operating system lets go of a lock when its process ends,
//! however it ends.

use async_trait::async_trait;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The lock file's name within the lake.
pub const LOCK_FILE: &str = ".lock";

/// Why the lake could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("lake {lake} is in use by {holder}: wait for it to end, or use another lake")]
    Held {
        /// The lake.
        lake: String,
        /// Process id and command, as the holder wrote them.
        holder: String,
    },
    /// The lock file cannot be made or locked.
    #[error("lake {lake} cannot be locked: {cause}")]
    Failed {
        /// The lake.
        lake: String,
        /// What the system said.
        cause: String,
    },
}

/// Ownership of a local lake, alone or with others, for as long as the value lives.
#[derive(Debug)]
pub struct LakeLock {
    file: File,
}

impl LakeLock {
    /// Takes the lake at once or not at all. `command` names the taker for those who come later, such as `authpulse consume`.
    ///
    /// # Errors
    /// Another process holds it, or the file system refuses.
    pub fn acquire(lake: impl AsRef<Path>, command: &str) -> Result<LakeLock, LockError> {
        LakeLock::take(lake.as_ref(), command, false)
    }

    /// Takes a part in the lake, at once or not at all, beside others that do the same; nobody then has it alone.
    ///
    /// # Errors
    /// As for [`LakeLock::acquire`].
    pub fn share(lake: impl AsRef<Path>, command: &str) -> Result<LakeLock, LockError> {
        LakeLock::take(lake.as_ref(), command, true)
    }

    fn take(lake: &Path, command: &str, shared: bool) -> Result<LakeLock, LockError> {
        let shown = lake.display().to_string();
        let failed = |e: io::Error| LockError::Failed { lake: shown.clone(), cause: e.to_string() };
        std::fs::create_dir_all(lake).map_err(failed)?;
        let path = lake.join(LOCK_FILE);
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        match if shared { file.try_lock_shared() } else { file.try_lock() } {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // The holder may be about to write its name.
                let _ = file.take(1024).read_to_string(&mut holder);
                let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
                return Err(LockError::Held { lake: shown, holder: holder.to_owned() });
            }
            Err(TryLockError::Error(e)) => return Err(failed(e)),
        }
        let name = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "process {} ({command})", std::process::id())
        };
        name(&mut file).map_err(failed)?;
        Ok(LakeLock { file })
    }
}

impl Drop for LakeLock {
    fn drop(&mut self) {
        // The name may stay: it is read only where somebody has the lock, and whoever takes it writes its own.
        let _ = self.file.unlock();
    }
}

/// Who of many workers brings the tables up to the journals. It saves conflicts and nothing else: each commit checks and swaps on
/// the same metadata, so two committers at once do no harm, and no clock needs to be trusted.
#[async_trait]
pub trait CommitterLock: Send + Sync {
    /// Takes the lock, or keeps it; tells whether the caller has it. To be called before every round of commits, so that a lock
    /// that expires is renewed by use.
    ///
    /// # Errors
    /// The lock cannot be reached; who has it is then unknown.
    async fn hold(&self) -> Result<bool, LockError>;
    /// Lets go of the lock, if the caller has it, so that another need not wait until it expires.
    async fn release(&self);
}

/// The lock of a local lake's committer: a file that the operating system unlocks when its holder ends.
#[derive(Debug)]
pub struct FileCommitterLock {
    path: PathBuf,
    held: Mutex<Option<File>>,
}

/// The committer's lock file within the lake.
pub const COMMITTER_LOCK_FILE: &str = ".committer.lock";
/// The lock file of maintenance within the lake.
pub const MAINTENANCE_LOCK_FILE: &str = ".maintenance.lock";

impl FileCommitterLock {
    /// The lock of the lake in a directory, not yet taken.
    pub fn new(lake: impl AsRef<Path>) -> FileCommitterLock {
        FileCommitterLock { path: lake.as_ref().join(COMMITTER_LOCK_FILE), held: Mutex::new(None) }
    }

    /// The lock of whoever maintains the lake in a directory, not yet taken: two at once do no harm and double the work.
    pub fn for_maintenance(lake: impl AsRef<Path>) -> FileCommitterLock {
        FileCommitterLock { path: lake.as_ref().join(MAINTENANCE_LOCK_FILE), held: Mutex::new(None) }
    }
}

#[async_trait]
impl CommitterLock for FileCommitterLock {
    async fn hold(&self) -> Result<bool, LockError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.is_some() {
            return Ok(true);
        }
        let failed = |e: io::Error| LockError::Failed { lake: self.path.display().to_string(), cause: e.to_string() };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {
                *held = Some(file);
                Ok(true)
            }
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    async fn release(&self) {
        // Closing the file unlocks it.
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// For a lake that only one process can use: nobody else commits.
#[derive(Clone, Copy, Debug, Default)]
pub struct SoleCommitter;

#[async_trait]
impl CommitterLock for SoleCommitter {
    async fn hold(&self) -> Result<bool, LockError> {
        Ok(true)
    }
    async fn release(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_the_lake() {
        let lake = tempfile::tempdir().unwrap();
        let held = LakeLock::acquire(lake.path(), "authpulse consume").unwrap();
        let refusal = LakeLock::acquire(lake.path(), "authpulse backfill").unwrap_err().to_string();
        assert!(refusal.contains(&format!("process {} (authpulse consume)", std::process::id())), "{refusal}");
        drop(held);
        LakeLock::acquire(lake.path(), "authpulse backfill").unwrap();
    }

    #[test]
    fn those_who_share_keep_out_who_wants_it_alone() {
        let lake = tempfile::tempdir().unwrap();
        let one = LakeLock::share(lake.path(), "authpulse consume").unwrap();
        let two = LakeLock::share(lake.path(), "authpulse consume").unwrap();
        drop(one);
        let refusal = LakeLock::acquire(lake.path(), "authpulse backfill").unwrap_err().to_string();
        assert!(refusal.contains("(authpulse consume)"), "{refusal}");
        drop(two);
        let alone = LakeLock::acquire(lake.path(), "authpulse backfill").unwrap();
        let refusal = LakeLock::share(lake.path(), "authpulse consume").unwrap_err().to_string();
        assert!(refusal.contains("(authpulse backfill)"), "{refusal}");
        drop(alone);
    }

    #[tokio::test]
    async fn one_of_two_commits_until_it_lets_go() {
        let lake = tempfile::tempdir().unwrap();
        let (one, two) = (FileCommitterLock::new(lake.path()), FileCommitterLock::new(lake.path()));
        assert_eq!(
            (one.hold().await.unwrap(), two.hold().await.unwrap(), one.hold().await.unwrap()),
            (true, false, true)
        );
        one.release().await;
        assert_eq!((two.hold().await.unwrap(), one.hold().await.unwrap()), (true, false));
        drop(two);
        assert!(one.hold().await.unwrap());
    }
}
