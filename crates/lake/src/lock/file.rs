//! The committer's lock of a local lake: a file that its holder keeps locked, with a counter that the holder increments.
//!
//! When a process ends, however it ends, the operating system unlocks its file, and the next process takes the lock at once. A process that
//! is stopped or hangs keeps its lock, but its counter stands still. A process that has seen the counter stand still for the length of the
//! lease, by its own monotonic clock, puts another file, which it has locked, in place of the old one. At its next call the former holder
//! finds that the file is not its own any more.
//!
//! Older programs lock the same file but write nothing into it. A living holder keeps them out. An older program that has the lock keeps it
//! while its process exists, because nobody can see whether it hangs.

use super::{CommitterLock, LockError};
use crate::advice;
use async_trait::async_trait;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The committer's lock file within the lake.
pub const COMMITTER_LOCK_FILE: &str = ".committer.lock";
/// The lock file of maintenance within the lake.
pub const MAINTENANCE_LOCK_FILE: &str = ".maintenance.lock";
/// Suffix of the file that is about to replace a silent holder's file.
const SUCCESSOR: &str = ".new";
/// More bytes than a stamp ever has.
const STAMP_BYTES_MAX: usize = 1024;

/// Time since any fixed moment, on a clock of this process that never goes back.
pub type Monotonic = Arc<dyn Fn() -> Duration + Send + Sync>;

/// A committer's lock in a file; the module explains how it works.
pub struct FileCommitterLock {
    path: PathBuf,
    owner: String,
    holder: String,
    lease: Duration,
    now: Monotonic,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<HeldFile>,
    watched: Option<Watched>,
    /// The holder from whom this process took the lock over, until it is asked for.
    silent: Option<String>,
    /// Whether another holder was seen to renew the lock.
    is_renewed: bool,
}

/// The lock file that this process holds.
struct HeldFile {
    file: File,
    counter: u64,
}

/// The lock file of another process, and since when its stamp has not changed.
struct Watched {
    file: FileId,
    stamp: Stamp,
    since: Duration,
}

/// Identifies a file whatever its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// What a holder writes into its lock file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    counter: u64,
    owner: String,
    /// Names the holder for people.
    holder: String,
}

impl Stamp {
    /// `None` for the file of an older program, and for one that is being written.
    fn read(file: &File) -> io::Result<Option<Stamp>> {
        let mut bytes = [0; STAMP_BYTES_MAX];
        let read = file.read_at(&mut bytes, 0)?;
        Ok(std::str::from_utf8(&bytes[..read]).ok().and_then(Stamp::parse))
    }

    fn parse(text: &str) -> Option<Stamp> {
        let mut words = text.strip_suffix('\n')?.splitn(3, ' ');
        let (counter, owner, holder) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        Some(Stamp { counter, owner: owner.to_owned(), holder: holder.to_owned() })
    }
}

fn id_of(metadata: &std::fs::Metadata) -> FileId {
    FileId { device: metadata.dev(), inode: metadata.ino() }
}

impl FileCommitterLock {
    /// The lock of the lake in a directory, not yet taken. `holder` names this process for people. `lease` is how long a silent holder
    /// keeps the lock: several times the longest pause between two calls of `hold`.
    pub fn new(lake: impl AsRef<Path>, holder: &str, lease: Duration) -> FileCommitterLock {
        let start = Instant::now();
        Self::with_clock(lake.as_ref().join(COMMITTER_LOCK_FILE), holder, lease, Arc::new(move || start.elapsed()))
    }

    /// The lock for maintenance of the lake in a directory, not yet taken. Two maintainers at once do no harm but double the work.
    pub fn for_maintenance(lake: impl AsRef<Path>, holder: &str, lease: Duration) -> FileCommitterLock {
        let start = Instant::now();
        Self::with_clock(lake.as_ref().join(MAINTENANCE_LOCK_FILE), holder, lease, Arc::new(move || start.elapsed()))
    }

    /// A lock file of any name, with the caller's own clock.
    pub fn with_clock(path: PathBuf, holder: &str, lease: Duration, now: Monotonic) -> FileCommitterLock {
        let owner = uuid::Uuid::new_v4().simple().to_string();
        let holder: String = holder.chars().filter(|c| !c.is_control()).take(STAMP_BYTES_MAX / 8).collect();
        FileCommitterLock { path, owner, holder, lease, now, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file that is in the lock's place now.
    fn in_place(&self) -> io::Result<Option<FileId>> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(Some(id_of(&metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, file: &File, counter: u64) -> io::Result<()> {
        let stamp = format!("{counter} {} {}\n", self.owner, self.holder);
        file.write_all_at(stamp.as_bytes(), 0)?;
        file.set_len(stamp.len() as u64)
    }

    fn hold_or_look(&self, state: &mut State) -> io::Result<bool> {
        if let Some(held) = &mut state.held {
            if self.in_place()? == Some(id_of(&held.file.metadata()?)) {
                held.counter += 1;
                self.write(&held.file, held.counter)?;
                return Ok(true);
            }
            // Another process has taken the lock over while this one was silent.
            state.held = None;
        }
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&self.path)?;
        if try_lock(&file)? {
            // If the file was replaced between opening and locking, the next call looks at the new one.
            if self.in_place()? != Some(id_of(&file.metadata()?)) {
                return Ok(false);
            }
            return self.keep(state, file);
        }
        let now = (self.now)();
        let Some(stamp) = Stamp::read(&file)? else {
            state.watched = None;
            return Ok(false);
        };
        let id = id_of(&file.metadata()?);
        match &state.watched {
            Some(watched) if watched.file == id && watched.stamp == stamp => {
                if now.saturating_sub(watched.since) < self.lease {
                    return Ok(false);
                }
                self.take_over(state, id, stamp)
            }
            watched => {
                state.is_renewed = watched.as_ref().is_some_and(|watched| watched.stamp.owner == stamp.owner);
                state.watched = Some(Watched { file: id, stamp, since: now });
                Ok(false)
            }
        }
    }

    /// Keeps a file that this process has locked.
    fn keep(&self, state: &mut State, file: File) -> io::Result<bool> {
        let counter = Stamp::read(&file)?.map_or(0, |stamp| stamp.counter) + 1;
        self.write(&file, counter)?;
        (state.held, state.watched, state.is_renewed) = (Some(HeldFile { file, counter }), None, false);
        Ok(true)
    }

    /// Replaces a silent holder's file by one of this process. If several try, only one can lock the successor's file.
    fn take_over(&self, state: &mut State, from: FileId, stamp: Stamp) -> io::Result<bool> {
        let mut name = self.path.clone().into_os_string();
        name.push(SUCCESSOR);
        let successor = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&name)?;
        if !try_lock(&successor)? {
            return Ok(false);
        }
        let is_still = self.in_place()? == Some(from) && {
            let file = File::open(&self.path)?;
            id_of(&file.metadata()?) == from && Stamp::read(&file)?.as_ref() == Some(&stamp)
        };
        // Another process may have renamed the file that this one opened, into the lock's place.
        let is_named = std::fs::metadata(&name)
            .is_ok_and(|there| successor.metadata().is_ok_and(|own| id_of(&there) == id_of(&own)));
        if !is_still || !is_named {
            if is_named {
                std::fs::remove_file(&name)?;
            }
            state.watched = None;
            return Ok(false);
        }
        self.write(&successor, stamp.counter)?;
        std::fs::rename(&name, &self.path)?;
        state.silent = Some(stamp.holder);
        self.keep(state, successor)
    }
}

/// Takes a lock; false if another process has it.
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[async_trait]
impl CommitterLock for FileCommitterLock {
    async fn hold(&self) -> Result<bool, LockError> {
        let failed =
            |e: io::Error| LockError::Failed { lake: self.path.display().to_string(), cause: advice::words(&e) };
        self.hold_or_look(&mut self.state()).map_err(failed)
    }

    async fn release(&self) {
        // Closing the file unlocks it.
        self.state().held = None;
    }

    fn lease(&self) -> Option<Duration> {
        Some(self.lease)
    }

    fn taken_over_from(&self) -> Option<String> {
        self.state().silent.take()
    }

    fn is_renewed_by_another(&self) -> bool {
        self.state().is_renewed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    const LEASE: Duration = Duration::from_secs(10);

    /// A lock by a clock that the test sets.
    fn lock(lake: &Path, holder: &str, clock: &Arc<Mutex<Duration>>) -> FileCommitterLock {
        let clock = clock.clone();
        let now: Monotonic = Arc::new(move || *clock.lock().unwrap());
        FileCommitterLock::with_clock(lake.join(COMMITTER_LOCK_FILE), holder, LEASE, now)
    }

    fn holds(lock: &FileCommitterLock) -> bool {
        block_on(lock.hold()).unwrap()
    }

    #[test]
    fn a_lock_is_free_once_its_holder_has_let_go_or_ended() {
        let (lake, clock) = (tempfile::tempdir().unwrap(), Arc::default());
        let (one, two) = (lock(lake.path(), "one", &clock), lock(lake.path(), "two", &clock));
        assert_eq!((holds(&one), holds(&two), holds(&one)), (true, false, true));
        block_on(one.release());
        assert_eq!((holds(&two), holds(&one)), (true, false));
        // However it ended, nobody has to wait.
        drop(two);
        assert!(holds(&one));
        assert_eq!(one.taken_over_from(), None, "who has let go was not silent");
    }

    /// What an older program does: it locks the file, and neither reads nor writes it.
    fn lock_of_before(lake: &Path) -> Option<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(lake.join(COMMITTER_LOCK_FILE));
        let file = file.unwrap();
        file.try_lock().is_ok().then_some(file)
    }

    #[test]
    fn a_program_of_before_is_kept_out_and_keeps_others_out() {
        let (lake, clock) = (tempfile::tempdir().unwrap(), Arc::<Mutex<Duration>>::default());
        let one = lock(lake.path(), "one", &clock);
        let old = lock_of_before(lake.path()).unwrap();
        for _ in 0..5 {
            assert!(!holds(&one), "it never moves, and lives");
            *clock.lock().unwrap() += LEASE;
        }
        drop(old);
        assert!(holds(&one));
        assert!(lock_of_before(lake.path()).is_none());
        // Even if it took the lock over from a holder that hangs.
        let two = lock(lake.path(), "two", &clock);
        assert!(!holds(&two));
        *clock.lock().unwrap() += LEASE;
        assert!(holds(&two));
        assert!(lock_of_before(lake.path()).is_none());
    }

    #[test]
    fn of_many_that_take_over_at_once_one_does() {
        for _ in 0..20 {
            let (lake, clock) = (tempfile::tempdir().unwrap(), Arc::<Mutex<Duration>>::default());
            let hung = lock(lake.path(), "hung", &clock);
            assert!(holds(&hung));
            let others: Vec<_> = (0..8).map(|n| lock(lake.path(), &format!("worker {n}"), &clock)).collect();
            others.iter().for_each(|other| assert!(!holds(other)));
            *clock.lock().unwrap() += LEASE;
            let begin = std::sync::Barrier::new(others.len());
            let taken: Vec<bool> = std::thread::scope(|scope| {
                let all = others.iter().map(|other| {
                    scope.spawn(|| {
                        begin.wait();
                        holds(other)
                    })
                });
                let all: Vec<_> = all.collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(taken.iter().filter(|taken| **taken).count(), 1, "{taken:?}");
            assert!(!holds(&hung), "it finds out at its next call");
            let winner = &others[taken.iter().position(|taken| *taken).unwrap()];
            assert!(holds(winner));
            assert_eq!((winner.taken_over_from().as_deref(), winner.taken_over_from()), (Some("hung"), None));
            assert_eq!(std::fs::read_dir(lake.path()).unwrap().count(), 1, "the successor's file took the place");
        }
    }
}
