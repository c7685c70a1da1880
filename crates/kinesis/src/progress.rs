//! Where a producer's progress is stored: Kinesis has no place for it.

use async_trait::async_trait;
use authpulse_event::id::sha256_hex;
use authpulse_stream::{ProducerProgress, StreamError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Stores the notes of jobs on one stream.
#[async_trait]
pub trait ProgressStore: Send + Sync {
    /// The note that a job stored last.
    async fn read(&self, job: &str) -> Result<Option<String>, StreamError>;
    /// Replaces a job's note; it is durable when this returns.
    async fn store(&self, progress: &ProducerProgress) -> Result<(), StreamError>;
}

/// Notes in memory, for jobs that nobody continues.
#[derive(Debug, Default)]
pub struct MemoryProgress(Mutex<BTreeMap<String, String>>);

#[async_trait]
impl ProgressStore for MemoryProgress {
    async fn read(&self, job: &str) -> Result<Option<String>, StreamError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).get(job).cloned())
    }
    async fn store(&self, progress: &ProducerProgress) -> Result<(), StreamError> {
        let ProducerProgress { job, state } = progress.clone();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(job, state);
        Ok(())
    }
}

/// Notes in a directory, one file for each job and stream: `.authpulse-replay-….json`.
#[derive(Debug)]
pub struct FileProgress {
    directory: PathBuf,
    /// Identifies the stream: its ARN and time of creation.
    stream: String,
}

/// The content of a file. It names the stream and the job for people, and as a check.
#[derive(Serialize, Deserialize)]
struct Note {
    stream: String,
    job: String,
    state: String,
}

impl FileProgress {
    /// Notes about one stream in a directory. `stream` must differ from that of every other stream, even one made later under the same
    /// name.
    pub fn new(directory: impl AsRef<Path>, stream: &str) -> FileProgress {
        FileProgress { directory: directory.as_ref().to_owned(), stream: stream.to_owned() }
    }

    /// Checks that notes can be stored in the directory: a replay that cannot store any would send the same records again and again.
    ///
    /// # Errors
    /// A file cannot be made and removed there.
    pub fn check(&self) -> Result<(), StreamError> {
        let path = self.directory.join(".authpulse-replay.tmp");
        File::create(&path)
            .and_then(|_| fs::remove_file(&path))
            .map_err(|error| self.failed(&path, "keeping the progress", &error))
    }

    fn path(&self, job: &str) -> PathBuf {
        let name = sha256_hex(format!("{}\n{job}", self.stream).as_bytes());
        self.directory.join(format!(".authpulse-replay-{}.json", &name[..16]))
    }

    fn failed(&self, path: &Path, action: &'static str, error: &std::io::Error) -> StreamError {
        StreamError::Storage {
            stream: self.stream.clone(),
            action,
            cause: format!("{}: {error}; keep the progress elsewhere with --progress DIR", path.display()),
            retry: false,
        }
    }
}

#[async_trait]
impl ProgressStore for FileProgress {
    async fn read(&self, job: &str) -> Result<Option<String>, StreamError> {
        let path = self.path(job);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed(&path, "reading the progress", &error)),
        };
        match serde_json::from_slice::<Note>(&text) {
            Ok(note) if note.stream == self.stream && note.job == job => Ok(Some(note.state)),
            _ => Err(StreamError::Damaged {
                stream: self.stream.clone(),
                what: format!("{} is no note of this job: remove it to send the input from its start", path.display()),
            }),
        }
    }

    async fn store(&self, progress: &ProducerProgress) -> Result<(), StreamError> {
        let path = self.path(&progress.job);
        let note = Note { stream: self.stream.clone(), job: progress.job.clone(), state: progress.state.clone() };
        let text = serde_json::to_vec(&note).expect("texts are always JSON");
        let temporary = path.with_extension("tmp");
        let write = || {
            let mut file = File::create(&temporary)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|error| self.failed(&path, "storing the progress", &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::executor::block_on;

    #[test]
    fn a_note_lasts_and_is_of_one_stream_and_job() {
        let place = tempfile::tempdir().unwrap();
        let store = |stream| FileProgress::new(place.path(), stream);
        let progress = |state: &str| ProducerProgress { job: "j".to_owned(), state: state.to_owned() };
        assert_eq!(block_on(store("arn.1").read("j")).unwrap(), None);
        block_on(store("arn.1").store(&progress("one"))).unwrap();
        block_on(store("arn.1").store(&progress("two"))).unwrap();
        assert_eq!(block_on(store("arn.1").read("j")).unwrap().as_deref(), Some("two"));
        assert_eq!(block_on(store("arn.1").read("k")).unwrap(), None);
        assert_eq!(block_on(store("arn.2").read("j")).unwrap(), None, "made anew: another stream");
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "nothing temporary is left");
        fs::write(store("arn.1").path("j"), "{").unwrap();
        let told = block_on(store("arn.1").read("j")).unwrap_err().to_string();
        assert!(told.contains("remove it to send the input from its start"), "{told}");
        let nowhere = FileProgress::new(place.path().join("nowhere"), "arn");
        let told = block_on(nowhere.store(&progress("x"))).unwrap_err().to_string();
        assert!(told.contains("--progress DIR"), "{told}");
        let told = nowhere.check().unwrap_err().to_string();
        assert!(told.contains("--progress DIR"), "{told}");
        store("arn.1").check().unwrap();
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1, "the check leaves nothing");
    }
}
