//! A lake in a directory: files, `journal.db`, `catalog.db`, one writing process at a time, or workers that share it.

use super::{Access, LAYOUT, MARKER, Parts, read_marker};
use anyhow::{Context, Result, bail};
use authpulse_consumer::env::{Ids, RandomIds};
use authpulse_lake::{FileCommitterLock, LakeLock, LocalStore, SqliteCatalog, SqliteJournal};
use std::path::Path;
use std::sync::Arc;

pub(super) fn open(dir: &Path, access: Access<'_>) -> Result<Parts> {
    let lock = match access {
        Access::Write(command) => {
            make_directory(dir)?;
            Some(LakeLock::acquire(dir, command)?)
        }
        Access::Share(command, input) => {
            make_directory(dir)?;
            Some(LakeLock::share(dir, command, input)?)
        }
        Access::Read => {
            check_marker(dir, false)?;
            None
        }
    };
    let dir = std::path::absolute(dir)?;
    Ok(Parts {
        store: Arc::new(LocalStore::open(&dir)?),
        journal: Arc::new(SqliteJournal::open(dir.join("journal.db"))?),
        pointers: Arc::new(SqliteCatalog::open(dir.join("catalog.db"))?),
        committer: Arc::new(FileCommitterLock::new(&dir)),
        maintenance: Arc::new(FileCommitterLock::for_maintenance(&dir)),
        lock,
    })
}

/// Whether a directory is a lake, or may become one.
pub(super) fn check_marker(dir: &Path, may_be_missing: bool) -> Result<()> {
    LocalStore::check_name(dir)?;
    let path = dir.join(MARKER);
    match std::fs::read_to_string(&path) {
        Ok(text) => read_marker(&text, &path.display().to_string()).map(|_| ()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A marker that was being written when the process ended is no lake yet.
            let unmade = |e: std::fs::DirEntry| e.file_name().to_string_lossy().starts_with(MARKER);
            let is_empty = !dir.exists() || std::fs::read_dir(dir)?.all(|e| e.is_ok_and(unmade));
            if !is_empty && path.exists() {
                // Another worker has made the lake since, and begun to fill it.
                return check_marker(dir, may_be_missing);
            }
            if may_be_missing && is_empty {
                Ok(())
            } else if dir.exists() && !is_empty {
                bail!(
                    "{} is not a lake (it has no {MARKER}), and it is not empty: name another directory",
                    dir.display()
                )
            } else {
                bail!(
                    "there is no lake at {}: make one with `authpulse backfill` or `authpulse consume`",
                    dir.display()
                )
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(error).with_context(|| format!("{} is damaged: restore it", path.display()))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
            bail!("{} cannot be a lake: it is a file, or lies below one; name a directory", dir.display())
        }
        Err(error) => Err(error).with_context(|| format!("lake {}: {MARKER} cannot be read", dir.display())),
    }
}

/// Makes sure that a directory is a lake, or makes it one where it is missing or empty.
pub(super) fn make_directory(dir: &Path) -> Result<()> {
    check_marker(dir, true)?;
    std::fs::create_dir_all(dir).with_context(|| format!("lake {} cannot be made", dir.display()))?;
    let path = dir.join(MARKER);
    if !path.exists() {
        let text = format!("{{\"what\":\"AuthPulse lake\",\"layout\":{LAYOUT}}}\n");
        // A name of its own: workers that start together make the lake together.
        let temporary = dir.join(format!("{MARKER}.{}.new", RandomIds.commit_id()));
        let write = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
        write.with_context(|| format!("lake {} cannot be written to", dir.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_that_start_together_make_the_lake_together() {
        let place = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let lake = place.path().join(format!("lake{round}"));
            let begin = std::sync::Barrier::new(8);
            std::thread::scope(|scope| {
                for worker in 0..8 {
                    let (lake, begin) = (&lake, &begin);
                    scope.spawn(move || {
                        begin.wait();
                        make_directory(lake).unwrap();
                        std::fs::write(lake.join(format!("of-worker-{worker}")), "").unwrap();
                    });
                }
            });
            let left = std::fs::read_dir(&lake)
                .unwrap()
                .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".new"));
            assert_eq!(left.count(), 0);
        }
    }
}
