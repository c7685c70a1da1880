//! Files in a map: the deterministic test double of the local store and of S3, with faults.

use super::{ObjectMeta, ObjectStore, StoreError, check_path, out_of_range};
use crate::fault::Faults;
use async_trait::async_trait;
use authpulse_event::ProcessingTime;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

const ROOT: &str = "memory:///";

#[derive(Default)]
struct Files {
    clock: ProcessingTime,
    files: BTreeMap<String, (Bytes, ProcessingTime)>,
}

/// Files in memory.
#[derive(Default)]
pub struct MemoryStore {
    files: Mutex<Files>,
    faults: Mutex<Faults>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }
    /// Replaces the faults from the next operation on.
    pub fn set_faults(&self, faults: Faults) {
        *self.faults.lock().unwrap_or_else(PoisonError::into_inner) = faults;
    }
    /// Sets the time that new files get.
    pub fn set_clock(&self, now: ProcessingTime) {
        self.lock().clock = now;
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run<T>(
        &self,
        operation: &'static str,
        path: &str,
        effect: impl FnOnce(&mut Files) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let fault = |cause| StoreError::Failed { path: path.to_owned(), action: operation, cause };
        faults.around("store", operation, path, fault, || effect(&mut self.lock()))
    }
}

fn found<'a>(files: &'a Files, path: &str) -> Result<&'a Bytes, StoreError> {
    files.files.get(path).map(|(body, _)| body).ok_or_else(|| StoreError::NotFound { path: path.to_owned() })
}

fn insert(files: &mut Files, path: &str, body: Bytes) -> Result<(), StoreError> {
    if files.files.contains_key(path) {
        return Err(StoreError::AlreadyExists { path: path.to_owned() });
    }
    let now = files.clock;
    files.files.insert(path.to_owned(), (body, now));
    Ok(())
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        check_path(path)?;
        self.run("put_new", path, |files| insert(files, path, body))
    }

    async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        self.run("get", path, |files| found(files, path).cloned())
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run("get_range", path, |files| {
            let body = found(files, path)?;
            if range.start > range.end || range.end > body.len() as u64 {
                return Err(out_of_range(path, &range, body.len() as u64));
            }
            Ok(body.slice(range.start as usize..range.end as usize))
        })
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.run("size", path, |files| Ok(files.files.get(path).map(|(body, _)| body.len() as u64)))
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.run("delete", path, |files| {
            files.files.remove(path);
            Ok(())
        })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.run("list", prefix, |files| {
            let from = files.files.range(prefix.to_owned()..);
            let within = from.take_while(|(path, _)| path.starts_with(prefix));
            Ok(within
                .map(|(path, (body, at))| ObjectMeta { path: path.clone(), size: body.len() as u64, modified: *at })
                .collect())
        })
    }

    async fn list_from(&self, prefix: &str, start_after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        self.run("list_from", prefix, |files| {
            let from = if start_after < prefix { Included(prefix) } else { Excluded(start_after) };
            let from = files.files.range::<str, _>((from, Unbounded));
            let within = from.take_while(|(path, _)| path.starts_with(prefix)).take(limit);
            Ok(within
                .map(|(path, (body, at))| ObjectMeta { path: path.clone(), size: body.len() as u64, modified: *at })
                .collect())
        })
    }

    async fn copy_new(&self, from: &str, to: &str) -> Result<(), StoreError> {
        check_path(to)?;
        self.run("copy_new", to, |files| {
            let body = found(files, from)?.clone();
            insert(files, to, body)
        })
    }

    fn uri(&self, path: &str) -> String {
        format!("{ROOT}{path}")
    }

    fn relative(&self, uri: &str) -> Result<String, StoreError> {
        let path = uri.strip_prefix(ROOT).ok_or_else(|| StoreError::Refused {
            path: uri.to_owned(),
            why: format!("it does not lie in the lake at {ROOT}"),
        })?;
        check_path(path)?;
        Ok(path.to_owned())
    }
}
