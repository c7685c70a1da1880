//! A lake in a directory: files, `journal.db`, `catalog.db`, one writing process at a time, or workers that share it.

use super::{Access, LAYOUT, MAINTENANCE_LEASES, MARKER, Parts, holder, read_marker};
use anyhow::{Context, Result, bail};
use authpulse_event::Span;
use authpulse_journal::env::{Ids, RandomIds, duration};
use authpulse_lake::{FileCommitterLock, LakeLock, LocalStore, SqliteCatalog, SqliteJournal};
use authpulse_settings::config::Config;
use serde_json::{Value, json};
use std::fs::{File, TryLockError};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The journals of all shards.
const JOURNAL: &str = "journal.db";

/// Opens the lake in a directory; creates it first if `access` is to write.
///
/// # Errors
/// Another process has the lake, the directory is no lake or cannot be written to, or its journal is lost or cannot be opened.
pub(super) async fn open(dir: &Path, config: &Config, access: Access<'_>) -> Result<Parts> {
    // The id first: a process that is then refused the lock has changed nothing else.
    let (lock, id) = match access {
        Access::Write(command) => {
            let id = make_directory(dir).await?;
            (Some(LakeLock::acquire(dir, command)?), Some(id))
        }
        Access::Share(command, input) => {
            let id = make_directory(dir).await?;
            (Some(LakeLock::share(dir, command, input)?), Some(id))
        }
        Access::Read => (None, check_marker(dir, false)?.as_ref().and_then(id_in)),
    };
    check_journal(dir, false)?;
    if let Some(what) = LocalStore::unreadable_name(dir)? {
        tracing::warn!(lake = %dir.display(), "the lake's path has {what}, which readers of Iceberg cannot open: load it into a new lake");
    }
    let dir = std::path::absolute(dir)?;
    // The committer renews its lock as workers renew the leases of their shards.
    let (lease, holder) = (duration(Span::from_micros(config.options.leases.duration)), holder(access));
    Ok(Parts {
        store: Arc::new(LocalStore::open(&dir)?),
        journal: Arc::new(SqliteJournal::open(dir.join(JOURNAL))?),
        pointers: Arc::new(SqliteCatalog::open(dir.join("catalog.db"))?),
        committer: Arc::new(FileCommitterLock::new(&dir, &holder, lease)),
        maintenance: Arc::new(FileCommitterLock::for_maintenance(&dir, &holder, MAINTENANCE_LEASES * lease)),
        lock,
        id,
    })
}

/// Names in a lake's directory that appear only after its journal: if one exists, so did the journal.
const BEHIND_THE_JOURNAL: &[&str] =
    &["journal.db-wal", "catalog.db", "warehouse", "raw", "staging", "state", "streams"];

/// Refuses a lake that has lost its journal: a new one would be empty, and everything would be read and scored once more. `is_known` says
/// that leases know the lake as one that was in use.
///
/// # Errors
/// The lake was in use, and its journal is missing or empty.
pub(super) fn check_journal(dir: &Path, is_known: bool) -> Result<()> {
    // In this order, since another worker may be creating the lake just now.
    let is_used = is_known || BEHIND_THE_JOURNAL.iter().any(|name| dir.join(name).exists());
    let is_there = std::fs::metadata(dir.join(JOURNAL)).is_ok_and(|file| file.len() > 0);
    if is_used && !is_there {
        bail!(
            "lake {} has lost its {JOURNAL}, which holds what was decided: restore it from a copy (docs/operations.md, section 6), or \
             begin a new lake in another directory; nothing was changed",
            dir.display()
        );
    }
    Ok(())
}

fn id_in(marker: &Value) -> Option<String> {
    marker["id"].as_str().map(str::to_owned)
}

/// The id of the lake in a directory; none where there may be one later, `Some(None)` if an older program made the lake without an id.
///
/// # Errors
/// As for [`check_marker`], where the marker may be missing.
pub(super) fn id_of(dir: &Path) -> Result<Option<Option<String>>> {
    Ok(check_marker(dir, true)?.map(|marker| id_in(&marker)))
}

/// The marker of a directory that is a lake; none where it may become one, if `may_be_missing`.
///
/// # Errors
/// The directory is no lake and cannot become one, or its marker is damaged, too new, or cannot be read. Without `may_be_missing`, also if
/// there is no lake yet.
pub(super) fn check_marker(dir: &Path, may_be_missing: bool) -> Result<Option<Value>> {
    LocalStore::check_name(dir)?;
    let path = dir.join(MARKER);
    match std::fs::read_to_string(&path) {
        Ok(text) => read_marker(&text, &path.display().to_string()).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A half-written marker, of a process that ended, is no lake yet.
            let unmade = |e: std::fs::DirEntry| e.file_name().to_string_lossy().starts_with(MARKER);
            let is_empty = !dir.exists() || std::fs::read_dir(dir)?.all(|e| e.is_ok_and(unmade));
            if !is_empty && path.exists() {
                // Another worker has made the lake meanwhile, and begun to fill it.
                return check_marker(dir, may_be_missing);
            }
            if may_be_missing && is_empty {
                check_new_name(dir)?;
                Ok(None)
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

/// Refuses a name that some readers cannot open, while choosing another one costs nothing yet.
fn check_new_name(dir: &Path) -> Result<()> {
    if let Some(what) = LocalStore::unreadable_name(dir)? {
        let shown = dir.display().to_string();
        bail!(
            "{shown:?} cannot become a lake: its path has {what}, which readers of Iceberg cannot open; choose another directory"
        );
    }
    Ok(())
}

/// Makes a directory a lake with an id, if it is missing, empty, or a lake without one. Returns the id, which is the same for workers that
/// start together.
///
/// # Errors
/// The directory is something else than a lake or cannot be written to, or another process takes more than 10 s to write the marker.
pub(super) async fn make_directory(dir: &Path) -> Result<String> {
    if let Some(id) = id_of(dir)?.flatten() {
        return Ok(id);
    }
    std::fs::create_dir_all(dir).with_context(|| format!("lake {} cannot be made", dir.display()))?;
    let failed = || format!("lake {} cannot be written to", dir.display());
    let _one_at_a_time = lock_directory(dir).await.with_context(failed)?;
    let mut marker = match check_marker(dir, true)? {
        Some(marker) => marker,
        None => json!({ "what": "AuthPulse lake", "layout": LAYOUT }),
    };
    if let Some(id) = id_in(&marker) {
        return Ok(id);
    }
    let id = RandomIds.commit_id();
    marker["id"] = id.clone().into();
    replace_marker(dir, &marker).with_context(failed)?;
    Ok(id)
}

/// Replaces the marker whole or not at all, whenever the process or the machine stops. An older program writes it without a lock, so the
/// temporary file has a name of its own.
fn replace_marker(dir: &Path, marker: &Value) -> std::io::Result<()> {
    let temporary = dir.join(format!("{MARKER}.{}.new", RandomIds.commit_id()));
    let mut file = File::create(&temporary)?;
    file.write_all(format!("{marker}\n").as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(MARKER))?;
    File::open(dir)?.sync_all()
}

/// How long another process may take to make a lake's marker, and how often to look whether it has.
const MARKER_PATIENCE: Duration = Duration::from_secs(10);
const MARKER_POLL: Duration = Duration::from_millis(20);

/// Locks the directory itself, until the returned file is dropped.
async fn lock_directory(dir: &Path) -> Result<File> {
    let directory = File::open(dir)?;
    let begun = Instant::now();
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(directory),
            Err(TryLockError::WouldBlock) if begun.elapsed() < MARKER_PATIENCE => tokio::time::sleep(MARKER_POLL).await,
            Err(TryLockError::WouldBlock) => {
                bail!("another process has been making its {MARKER} for 10 s: see whether one hangs")
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    /// The lake's id as each of eight workers gets it that start at one moment.
    fn ids_of_those_who_start_together(lake: &Path) -> Vec<String> {
        let begin = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            let start = |worker: usize| {
                let begin = &begin;
                move || {
                    begin.wait();
                    let id = block_on(make_directory(lake)).unwrap();
                    std::fs::write(lake.join(format!("of-worker-{worker}")), "").unwrap();
                    id
                }
            };
            let workers: Vec<_> = (0..8).map(|worker| scope.spawn(start(worker))).collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        })
    }

    #[test]
    fn workers_that_start_together_make_the_lake_together() {
        let place = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let lake = place.path().join(format!("lake{round}"));
            if round % 2 == 1 {
                // A lake of an older program, which gave no id.
                std::fs::create_dir(&lake).unwrap();
                std::fs::write(lake.join(MARKER), "{\"what\":\"AuthPulse lake\",\"layout\":1}\n").unwrap();
            }
            let mut ids = ids_of_those_who_start_together(&lake);
            ids.push(id_of(&lake).unwrap().unwrap().unwrap());
            ids.dedup();
            assert_eq!(ids.len(), 1, "all take it for the same");
            let left = std::fs::read_dir(&lake)
                .unwrap()
                .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().ends_with(".new"));
            assert_eq!(left.count(), 0);
        }
    }

    #[test]
    fn a_lake_without_its_journal_is_not_made_anew() {
        type Damage = fn(&Path);
        let remove: Damage = |dir| std::fs::remove_file(dir.join(JOURNAL)).unwrap();
        let cases: [(&str, Damage, bool); 6] = [
            ("as it was", |_| {}, true),
            ("without its journal", remove, false),
            ("with an empty file for a journal", |dir| drop(File::create(dir.join(JOURNAL)).unwrap()), false),
            (
                "with a log of its journal alone",
                |dir| {
                    std::fs::rename(dir.join(JOURNAL), dir.join("journal.db-wal")).unwrap();
                    std::fs::remove_file(dir.join("catalog.db")).unwrap();
                },
                false,
            ),
            (
                "without its catalog, which is made from the journal",
                |dir| std::fs::remove_file(dir.join("catalog.db")).unwrap(),
                true,
            ),
            (
                "begun, and ended before its journal was made",
                |dir| ["catalog.db", JOURNAL].iter().for_each(|name| std::fs::remove_file(dir.join(name)).unwrap()),
                true,
            ),
        ];
        for (what, damage, is_opened) in cases {
            let place = tempfile::tempdir().unwrap();
            for access in [Access::Write("a test"), Access::Read] {
                let open_again = || block_on(open(place.path(), &Config::default(), access)).map(drop);
                block_on(open(place.path(), &Config::default(), Access::Write("a test"))).map(drop).unwrap();
                damage(place.path());
                match open_again() {
                    Ok(()) => assert!(is_opened, "{what}"),
                    Err(error) => {
                        assert!(!is_opened && error.to_string().contains("has lost its journal.db"), "{what}: {error}");
                        assert!(
                            std::fs::metadata(place.path().join(JOURNAL)).is_ok_and(|file| file.len() > 0) == is_opened
                        );
                        break;
                    }
                }
            }
        }
        let place = tempfile::tempdir().unwrap();
        block_on(make_directory(place.path())).unwrap();
        check_journal(place.path(), false).unwrap();
        check_journal(place.path(), true).unwrap_err();
    }

    #[test]
    fn a_name_that_a_reader_cannot_open_is_refused_for_a_new_lake_only() {
        let place = tempfile::tempdir().unwrap();
        for (name, told) in [
            ("a\"b", "has a '\"'"),
            ("a\tb", "has a control character"),
            ("a\nb", "has a control character"),
            ("a\rb", "has a control character"),
            ("a\u{1b}b", "has a control character"),
            ("a\u{7f}b", "has a control character"),
            ("a\u{85}b", "has a control character"),
            ("a%b", "misread"),
        ] {
            for lake in [place.path().join(name), place.path().join(name).join("lake")] {
                let error = format!("{:#}", block_on(make_directory(&lake)).unwrap_err());
                assert!(error.contains(told) && !error.contains('\u{1b}'), "{name:?}: {error}");
                assert!(!place.path().join(name).exists(), "{name:?} was made");
            }
        }
        // An existing lake of an older program is opened all the same.
        let lake = place.path().join("a\"b");
        std::fs::create_dir(&lake).unwrap();
        std::fs::write(lake.join(MARKER), "{\"what\":\"AuthPulse lake\",\"layout\":1}\n").unwrap();
        block_on(open(&lake, &Config::default(), Access::Write("a test"))).map(drop).unwrap();
        for name in ["a b", "ä$&'()*+,;=@[]^`{|}~", "日"] {
            block_on(make_directory(&place.path().join(name))).unwrap();
        }
    }
}
