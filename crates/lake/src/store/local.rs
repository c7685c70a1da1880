//! Files in a directory.
//!
//! It relies on the file system for two things: a hard link to an existing name fails, and what was synced (a file, then the directory that
//! names it) survives a loss of power. A put writes the file under a temporary name, syncs it, links the final name, and syncs the
//! directory.

use crate::advice;

use super::{ObjectMeta, ObjectStore, StoreError, check_path, out_of_range};
use async_trait::async_trait;
use authpulse_event::ProcessingTime;
use bytes::Bytes;
use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Temporary names begin with a dot and end with this; listings leave them out.
const TEMPORARY: &str = ".tmp";

/// A lake's directory.
pub struct LocalStore {
    root: PathBuf,
    root_text: String,
    /// Directories known to exist durably: each is created and synced once.
    directories: Mutex<HashSet<PathBuf>>,
    temporary: AtomicU64,
}

impl LocalStore {
    /// Opens a lake's directory, and creates it if it is missing.
    ///
    /// # Errors
    /// The directory cannot be created, or its name cannot be used in the tables' metadata.
    pub fn open(root: impl AsRef<Path>) -> Result<LocalStore, StoreError> {
        let root = root.as_ref();
        let shown = root.display().to_string();
        let failed =
            |e: io::Error| StoreError::Failed { path: shown.clone(), action: "opening", cause: advice::words(&e) };
        Self::check_name(root)?;
        make_root(root).map_err(failed)?;
        let root = root.canonicalize().map_err(failed)?;
        let root_text = checked_name(&root)?.trim_end_matches('/').to_owned();
        Ok(LocalStore { root, root_text, directories: Mutex::default(), temporary: AtomicU64::new(0) })
    }

    /// Checks that a directory's name can be used in the tables' metadata. The directory need not exist.
    ///
    /// # Errors
    /// [`StoreError::Refused`] with the reason.
    pub fn check_name(root: impl AsRef<Path>) -> Result<(), StoreError> {
        checked_name(&resolved(root.as_ref())?).map(drop)
    }

    /// What in a directory's name some readers of Iceberg cannot open, beyond what [`LocalStore::check_name`] refuses. An existing lake
    /// works without those readers; a new one should get another name.
    ///
    /// # Errors
    /// The path is empty, or the working directory cannot be found.
    pub fn unreadable_name(root: impl AsRef<Path>) -> Result<Option<&'static str>, StoreError> {
        let resolved = resolved(root.as_ref())?;
        let name = resolved.to_string_lossy();
        // DuckDB takes the first for the beginning of a quoted name; PyIceberg drops tab, line feed and carriage return.
        Ok(match (name.contains('"'), name.contains(char::is_control)) {
            (true, _) => Some("a '\"'"),
            (_, true) => Some("a control character"),
            _ => None,
        })
    }

    /// The URI that [`ObjectStore::uri`] gives to the root of the lake in a directory, which need not exist.
    ///
    /// # Errors
    /// As for [`LocalStore::check_name`].
    pub fn root_uri(root: impl AsRef<Path>) -> Result<String, StoreError> {
        Ok(uri_in(checked_name(&resolved(root.as_ref())?)?.trim_end_matches('/'), ""))
    }

    /// The directory, absolute and without symbolic links.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn full(&self, path: &str) -> Result<PathBuf, StoreError> {
        check_path(path)?;
        Ok(self.root.join(path))
    }

    /// Creates the directory of `target` and returns it.
    fn directory_of<'a>(&self, target: &'a Path) -> io::Result<&'a Path> {
        let directory = target.parent().ok_or(ErrorKind::InvalidInput)?;
        make_directory(directory, &self.root, &mut self.directories.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(directory)
    }

    fn put(&self, target: &Path, body: &[u8]) -> io::Result<()> {
        let directory = self.directory_of(target)?;
        let name = target.file_name().and_then(|n| n.to_str()).ok_or(ErrorKind::InvalidInput)?;
        let (temporary, mut file) = loop {
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            let candidate = directory.join(format!(".{name}.{}-{number}{TEMPORARY}", std::process::id()));
            match OpenOptions::new().write(true).create_new(true).open(&candidate) {
                Ok(file) => break (candidate, file),
                // A former process with the same number left it behind.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        };
        let outcome = file.write_all(body).and_then(|()| file.sync_all()).and_then(|()| name_new(&temporary, target));
        // On success the file has its final name; on failure the temporary one is useless. In both cases a leftover does no harm.
        let _ = fs::remove_file(&temporary);
        outcome?;
        sync_directory(directory)
    }

    /// Files below a directory: the finished ones, or those that are still being put.
    fn walk(&self, directory: &Path, prefix: &str, unfinished: bool, out: &mut Vec<ObjectMeta>) -> io::Result<()> {
        let entries = match fs::read_dir(directory) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for entry in entries {
            let entry = entry?;
            let full = entry.path();
            let Some(path) = full.strip_prefix(&self.root).ok().and_then(Path::to_str) else { continue };
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_dir = entry.file_type()?.is_dir();
            if !is_dir && unfinished != (name.starts_with('.') && name.ends_with(TEMPORARY)) {
                continue;
            }
            if is_dir {
                if path.starts_with(prefix) || prefix.starts_with(&format!("{path}/")) {
                    self.walk(&full, prefix, unfinished, out)?;
                }
            } else if path.starts_with(prefix) {
                match entry.metadata() {
                    Ok(meta) => {
                        out.push(ObjectMeta { path: path.to_owned(), size: meta.len(), modified: modified(&meta) })
                    }
                    // Deleted after the directory was read.
                    Err(e) if e.kind() == ErrorKind::NotFound => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(())
    }
}

/// The place to which a path leads. The part that exists may be a symbolic link to a place with another name.
fn resolved(root: &Path) -> Result<PathBuf, StoreError> {
    let failed = |e: io::Error| error(&root.display().to_string(), "looking at", &e);
    let full = std::path::absolute(root).map_err(failed)?;
    let resolved = full.ancestors().find_map(|there| {
        let rest = full.strip_prefix(there).ok()?;
        there.canonicalize().ok().map(|there| if rest == Path::new("") { there } else { there.join(rest) })
    });
    Ok(resolved.unwrap_or(full))
}

fn uri_in(root: &str, path: &str) -> String {
    format!("file://{root}/{path}")
}

/// A lake's name as URIs contain it.
fn checked_name(root: &Path) -> Result<&str, StoreError> {
    let refused = |why: &str| StoreError::Refused { path: root.display().to_string(), why: why.to_owned() };
    let text = root.to_str().ok_or_else(|| refused("its name is not UTF-8: choose another directory"))?;
    if text.contains(['?', '#', '%', '\\']) {
        return Err(refused("readers of Iceberg misread '?', '#', '%' and '\\': choose another directory"));
    }
    Ok(text)
}

impl LocalStore {
    fn list_some(&self, prefix: &str, unfinished: bool) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut out = Vec::new();
        let start = prefix.rsplit_once('/').map_or("", |(directory, _)| directory);
        if !start.is_empty() {
            check_path(start)?;
        }
        self.walk(&self.root.join(start), prefix, unfinished, &mut out).map_err(|e| error(prefix, "listing", &e))?;
        out.sort_unstable();
        Ok(out)
    }
}

fn modified(meta: &fs::Metadata) -> ProcessingTime {
    let since = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let micros = since.and_then(|d| i64::try_from(d.as_micros()).ok());
    micros.map_or_else(ProcessingTime::default, ProcessingTime::from_micros)
}

/// Gives a synced file its final name; fails if the name is taken.
fn name_new(temporary: &Path, target: &Path) -> io::Result<()> {
    match fs::hard_link(temporary, target) {
        // The file system has no hard links. One process owns a local lake, so checking first is enough.
        Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
            if target.try_exists()? {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(temporary, target)
        }
        other => other,
    }
}

/// Creates a lake's own directory and its missing parents, and syncs each into its parent.
fn make_root(root: &Path) -> io::Result<()> {
    let mut missing = Vec::new();
    let mut at = root;
    while !at.as_os_str().is_empty() && !at.is_dir() {
        missing.push(at);
        let Some(parent) = at.parent() else { break };
        at = parent;
    }
    fs::create_dir_all(root)?;
    for made in missing.iter().rev() {
        sync_directory(made.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

/// Creates a directory within the lake. It and those above it are synced into their parents once per process, even if they exist: an
/// earlier process may have died between creating and syncing them.
fn make_directory(directory: &Path, root: &Path, known: &mut HashSet<PathBuf>) -> io::Result<()> {
    if known.contains(directory) {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    let mut at = directory;
    while at != root && !known.contains(at) {
        let Some(parent) = at.parent() else { break };
        sync_directory(parent)?;
        at = parent;
    }
    known.extend(directory.ancestors().take_while(|d| d.starts_with(root)).map(Path::to_owned));
    Ok(())
}

/// Makes the names in a directory durable.
///
/// # Errors
/// The system cannot open or sync the directory.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

fn error(path: &str, action: &'static str, e: &io::Error) -> StoreError {
    match e.kind() {
        ErrorKind::AlreadyExists => StoreError::AlreadyExists { path: path.to_owned() },
        ErrorKind::NotFound => StoreError::NotFound { path: path.to_owned() },
        _ => StoreError::Failed { path: path.to_owned(), action, cause: advice::words(e) },
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        let target = self.full(path)?;
        self.put(&target, &body).map_err(|e| error(path, "writing", &e))
    }

    async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        fs::read(self.full(path)?).map(Bytes::from).map_err(|e| error(path, "reading", &e))
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let full = self.full(path)?;
        let read = || -> io::Result<Result<Bytes, StoreError>> {
            let mut file = File::open(&full)?;
            let size = file.metadata()?.len();
            if range.start > range.end || range.end > size {
                return Ok(Err(out_of_range(path, &range, size)));
            }
            let mut body = vec![0; (range.end - range.start) as usize];
            file.seek(SeekFrom::Start(range.start))?;
            file.read_exact(&mut body)?;
            Ok(Ok(body.into()))
        };
        read().map_err(|e| error(path, "reading a part of", &e))?
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        match fs::metadata(self.full(path)?) {
            Ok(meta) => Ok(Some(meta.len())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(error(path, "looking at", &e)),
        }
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.full(path)?) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(error(path, "deleting", &e)),
            _ => Ok(()),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.list_some(prefix, false)
    }

    async fn unfinished(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.list_some(prefix, true)
    }

    async fn copy_new(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let (source, target) = (self.full(from)?, self.full(to)?);
        let copy = || -> io::Result<()> {
            let directory = self.directory_of(&target)?;
            match fs::hard_link(&source, &target) {
                Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::PermissionDenied) => {
                    return self.put(&target, &fs::read(&source)?);
                }
                other => other?,
            }
            // Both names share one file. A cleanup by age must see that the second name is new.
            File::options().write(true).open(&target)?.set_modified(SystemTime::now())?;
            sync_directory(directory)
        };
        copy().map_err(|e| match e.kind() {
            ErrorKind::NotFound => StoreError::NotFound { path: from.to_owned() },
            _ => error(to, "copying", &e),
        })
    }

    fn uri(&self, path: &str) -> String {
        uri_in(&self.root_text, path)
    }

    fn relative(&self, uri: &str) -> Result<String, StoreError> {
        // Readers write file:///a, file:/a and /a for the same file.
        let bare = uri.strip_prefix("file://").or_else(|| uri.strip_prefix("file:")).unwrap_or(uri);
        let path = bare.strip_prefix(&self.root_text).and_then(|rest| rest.strip_prefix('/'));
        let path = path.ok_or_else(|| StoreError::Refused {
            path: uri.to_owned(),
            why: format!(
                "it does not lie in the lake at {}: a lake cannot be moved, because its tables name their files in full",
                self.root_text
            ),
        })?;
        check_path(path)?;
        Ok(path.to_owned())
    }
}
