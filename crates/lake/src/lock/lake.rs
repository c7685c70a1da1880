//! The lock of a local lake: one process has it alone, or several share it for one input.

use super::LockError;
use crate::advice;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The lock file's name within the lake.
pub const LOCK_FILE: &str = ".lock";
/// Prefix of the lock files of inputs.
const INPUT_LOCK_PREFIX: &str = ".lock-";

/// The right to use a local lake, alone or with others, while this value lives.
#[derive(Debug)]
pub struct LakeLock {
    file: File,
    /// If the lake is shared: the lock of the input for which it is shared.
    _input: Option<File>,
}

impl LakeLock {
    /// Takes the lake alone, at once or not at all. `command` names this process for those that come later, such as `authpulse consume`.
    ///
    /// # Errors
    /// Another process uses the lake, or the file system refuses.
    pub fn acquire(lake: impl AsRef<Path>, command: &str) -> Result<LakeLock, LockError> {
        let lake = Shown::new(lake.as_ref())?;
        let file = lake.open_file(LOCK_FILE)?;
        if !lake.try_alone(&file)? {
            return Err(lake.held(&file));
        }
        lake.write_name(&file, command)?;
        Ok(LakeLock { file, _input: None })
    }

    /// Takes a share in the lake, at once or not at all, beside others that name the same input; then no process can have the lake alone.
    /// `input` names the work that they share, such as a stream's directory.
    ///
    /// # Errors
    /// As for [`LakeLock::acquire`]; also if the processes that share the lake have another input.
    pub fn share(lake: impl AsRef<Path>, command: &str, input: &str) -> Result<LakeLock, LockError> {
        let lake = Shown::new(lake.as_ref())?;
        let file = lake.open_file(LOCK_FILE)?;
        match file.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(lake.held(&file)),
            Err(TryLockError::Error(e)) => return Err(lake.failed(&e)),
        }
        // First announce this process's input, then look for others: of two processes that come at once, each sees the other.
        let name = format!("{command} of {input}");
        let own = format!("{INPUT_LOCK_PREFIX}{}", authpulse_event::id::sha256_hex(input.as_bytes()));
        let input = lake.open_file(&own)?;
        input.lock_shared().map_err(|e| lake.failed(&e))?;
        lake.write_name(&input, &name)?;
        for entry in std::fs::read_dir(lake.path).map_err(|e| lake.failed(&e))? {
            let found = entry.map_err(|e| lake.failed(&e))?.file_name();
            let found = found.to_string_lossy();
            if found.starts_with(INPUT_LOCK_PREFIX) && found != own {
                let other = lake.open_file(&found)?;
                if !lake.try_alone(&other)? {
                    return Err(lake.held(&other));
                }
            }
        }
        lake.write_name(&file, &name)?;
        Ok(LakeLock { file, _input: Some(input) })
    }
}

/// A lake's directory, and its name for errors.
struct Shown<'a> {
    path: &'a Path,
    name: String,
}

impl Shown<'_> {
    fn new(path: &Path) -> Result<Shown<'_>, LockError> {
        let shown = Shown { path, name: path.display().to_string() };
        std::fs::create_dir_all(path).map_err(|e| shown.failed(&e))?;
        Ok(shown)
    }

    fn open_file(&self, name: &str) -> Result<File, LockError> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(self.path.join(name));
        options.map_err(|e| self.failed(&e))
    }

    /// Locks a file alone; false if others have it.
    fn try_alone(&self, file: &File) -> Result<bool, LockError> {
        match file.try_lock() {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(e)) => Err(self.failed(&e)),
        }
    }

    fn held(&self, mut file: &File) -> LockError {
        let mut holder = String::new();
        // The holder may be about to write its name.
        let _ = file.seek(SeekFrom::Start(0)).and_then(|_| file.take(4096).read_to_string(&mut holder));
        let holder = if holder.trim().is_empty() { "another process" } else { holder.trim() };
        LockError::Held { lake: self.name.clone(), holder: holder.to_owned() }
    }

    fn write_name(&self, mut file: &File, command: &str) -> Result<(), LockError> {
        let write = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "process {} ({command})", std::process::id()));
        write.map_err(|e| self.failed(&e))
    }

    fn failed(&self, error: &io::Error) -> LockError {
        LockError::Failed { lake: self.name.clone(), cause: advice::words(error) }
    }
}

impl Drop for LakeLock {
    fn drop(&mut self) {
        // The name may stay in the file: it is read only while somebody has the lock, and each holder writes its own.
        let _ = self.file.unlock();
    }
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
        let share = |input| LakeLock::share(lake.path(), "authpulse consume", input);
        let one = share("stream a").unwrap();
        let two = share("stream a").unwrap();
        let refusal = share("stream b").unwrap_err().to_string();
        assert!(refusal.contains("(authpulse consume of stream a)"), "{refusal}");
        drop(one);
        assert!(share("stream b").is_err());
        let refusal = LakeLock::acquire(lake.path(), "authpulse backfill").unwrap_err().to_string();
        assert!(refusal.contains("(authpulse consume of stream a)"), "{refusal}");
        drop(two);
        let alone = LakeLock::acquire(lake.path(), "authpulse backfill").unwrap();
        let refusal = share("stream b").unwrap_err().to_string();
        assert!(refusal.contains("(authpulse backfill)"), "{refusal}");
        drop(alone);
        share("stream b").unwrap();
    }
}
