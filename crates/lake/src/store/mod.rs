//! The lake's files: immutable objects under paths such as `warehouse/auth_events_curated/data/…`.
//!
//! Nothing is ever overwritten. Once a put has returned, the file survives even a loss of power.

mod iceberg_io;
mod local;
mod memory;

pub use iceberg_io::file_io;
pub use local::LocalStore;
pub(crate) use local::sync_directory;
pub use memory::MemoryStore;

use async_trait::async_trait;
use authpulse_event::ProcessingTime;
use authpulse_event::Remedy;
use bytes::Bytes;
use std::ops::Range;

/// A file in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectMeta {
    /// Path relative to the lake.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was put, by the store's clock.
    pub modified: ProcessingTime,
}

/// Why a file operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The name is taken; what is stored under it is unchanged.
    #[error("file {path} exists already")]
    AlreadyExists {
        /// The path.
        path: String,
    },
    /// There is no such file.
    #[error("file {path} does not exist")]
    NotFound {
        /// The path.
        path: String,
    },
    /// The store cannot be used as it is set up, or the path is not one of its paths.
    #[error("file {path}: {why}")]
    Refused {
        /// The path.
        path: String,
        /// Why, and what would help.
        why: String,
    },
    /// The operation failed, and may or may not have taken effect.
    #[error("{action} file {path} failed: {cause}")]
    Failed {
        /// The path.
        path: String,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        cause: String,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            StoreError::AlreadyExists { .. } | StoreError::Refused { .. } => Remedy::Correct,
            StoreError::NotFound { .. } => Remedy::Restore,
            StoreError::Failed { .. } => Remedy::Look,
        }
    }
}

/// The store of a lake's files. Paths are relative to the lake; their parts are separated by `/`, and no part is empty, `.` or `..`.
///
/// # Errors
/// Calls fail with a [`StoreError`]; its [`remedy`](StoreError::remedy) says what the caller can do.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Stores a new file, whole or not at all; durable when it returns.
    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError>;
    /// A whole file.
    async fn get(&self, path: &str) -> Result<Bytes, StoreError>;
    /// A part of a file; a range beyond the file's end is an error.
    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError>;
    /// A file's size in bytes; `None` if there is no such file.
    async fn size(&self, path: &str) -> Result<Option<u64>, StoreError>;
    /// Removes a file; a missing one is not an error.
    async fn delete(&self, path: &str) -> Result<(), StoreError>;
    /// The files whose path begins with `prefix`, in order of path. Files that are still being put are not among them.
    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError>;
    /// At most `limit` of the files whose path begins with `prefix` and comes after `start_after`, in order of path. A store that keeps its
    /// names in order answers this without looking at those before.
    async fn list_from(&self, prefix: &str, start_after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        let all = self.list(prefix).await?;
        Ok(all.into_iter().filter(|file| file.path.as_str() > start_after).take(limit).collect())
    }
    /// The names of the folders directly below `prefix`, which is empty or ends with `/`, in order of path.
    async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut folders = Vec::new();
        let mut behind = String::new();
        while let Some(file) = self.list_from(prefix, &behind, 1).await?.pop() {
            match file.path[prefix.len()..].split_once('/') {
                Some((folder, _)) => {
                    // '0' is the character that follows '/', so this skips everything else in the folder.
                    behind = format!("{prefix}{folder}0");
                    folders.push(folder.to_owned());
                }
                None => behind = file.path,
            }
        }
        Ok(folders)
    }
    /// What unfinished puts have left below `prefix`, which no listing shows; [`ObjectStore::delete`] removes it. Empty for a store that
    /// leaves nothing.
    async fn unfinished(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        let _ = prefix;
        Ok(Vec::new())
    }
    /// Stores a file's content under a second, new name; durable when it returns.
    async fn copy_new(&self, from: &str, to: &str) -> Result<(), StoreError>;
    /// The path as Iceberg's metadata stores it.
    fn uri(&self, path: &str) -> String;
    /// The inverse of [`ObjectStore::uri`]; an error for a file outside of the lake.
    fn relative(&self, uri: &str) -> Result<String, StoreError>;
}

/// How often a file is put again after an unclear answer.
const PUT_ATTEMPTS: u32 = 5;

/// Puts a file under a name that nobody else uses. After an unclear answer the same put is repeated; if the name is taken then, the first
/// put took effect.
///
/// # Errors
/// The store refuses, or its answer is unclear five times.
pub async fn put_once(store: &dyn ObjectStore, path: &str, bytes: Bytes) -> Result<(), StoreError> {
    let mut unclear = None;
    for _ in 0..PUT_ATTEMPTS {
        match store.put_new(path, bytes.clone()).await {
            Ok(()) => return Ok(()),
            Err(StoreError::AlreadyExists { .. }) if unclear.is_some() => return Ok(()),
            Err(error @ StoreError::Failed { .. }) => unclear = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(unclear.expect("every attempt failed"))
}

/// Refuses paths that could leave the lake or be understood in two ways. For implementations of [`ObjectStore`].
///
/// # Errors
/// [`StoreError::Refused`] says what a path must look like.
pub fn check_path(path: &str) -> Result<(), StoreError> {
    let bad = path.split('/').any(|part| matches!(part, "" | "." | "..")) || path.contains('\\') || path.contains('\0');
    if bad {
        let why = "a path is relative to the lake, such as state/a/b, without empty parts, '.' and '..'";
        return Err(StoreError::Refused { path: path.to_owned(), why: why.to_owned() });
    }
    Ok(())
}

/// The error for a range beyond a file's end. For implementations of [`ObjectStore`].
pub fn out_of_range(path: &str, range: &Range<u64>, size: u64) -> StoreError {
    let cause = format!("bytes {} to {} were asked of a file of {size}: it is cut off", range.start, range.end);
    StoreError::Failed { path: path.to_owned(), action: "reading a part of", cause }
}
