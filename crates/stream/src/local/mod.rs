//! A stream in a directory: the embedded stand-in for Kinesis, one SQLite database in `DIR/stream.db`.
//!
//! A producer and any number of consumers use it at the same time, also from several processes. They find each other's
//! records by polling: a read that is at the tip costs a few look-ups and no waiting, so a consumer reads again after a pause of
//! its own choosing.
//!
//! What is assumed: the directory lies on a local disk (SQLite's write-ahead log shares memory between processes), and a flush
//! that the disk confirms has happened. Then a put that returned is never lost, whatever is killed, and one that did not return
//! is there whole, with the producer's progress, or not at all.
//!
//! **Blocking.** SQLite blocks, for milliseconds as a rule (a put of [`MAX_PUT_RECORDS`](crate::limits::MAX_PUT_RECORDS)
//! takes some tens) and for [`PATIENCE`](authpulse_sqlite::PATIENCE) at worst. On a multi-threaded tokio runtime reads run on other
//! threads, because many shards read at once: as many at a time as there are processors and one more. Further reads wait for their turn
//! without a thread. All other operations tell the runtime that they block (`block_in_place`), so that other tasks go on. Anywhere else
//! (a simulator's executor, a current-thread runtime, no runtime) all operations run in place. An operation that has begun runs to its
//! end: dropping it cannot cut it in half.
//!
//! (Tokio forbids `block_in_place` within a `LocalSet` of a multi-threaded runtime: do not call from there.)
//!
//! **Clock.** Arrivals never fall, over the whole stream. If the clock is set back, the newest arrival counts instead, and reads report no
//! clock until it has caught up with that. The clock decides about retention: one that is set ahead by more than the retention costs all
//! records at the next put.
//!
//! The layout of the database is drawn in `schema.rs`.

mod append;
mod failure;
mod read;
mod reshard;
mod schema;
mod trim;

use crate::options::{Clock, CreateOptions, system_clock};
use crate::shards::Shard;
use crate::{
    ProducerProgress, PutReceipt, PutRecord, ReadBatch, ReadFrom, ReadLimit, ShardDescription, Stream,
    StreamDescription, StreamError, StreamWriter,
};
use async_trait::async_trait;
use authpulse_event::{Position, ShardId, Span};
use authpulse_sqlite::blocking;
use failure::Failure;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};

/// The database within the stream's directory.
pub const FILE_NAME: &str = "stream.db";

/// A stream in a directory. One handle serves any number of tasks; reads never wait for puts.
pub struct LocalStream {
    path: PathBuf,
    clock: Clock,
    reader: Arc<Mutex<Connection>>,
    writer: Mutex<Connection>,
    /// Turns to read: one queries while the others decode what they found.
    reads: Arc<Semaphore>,
}

impl LocalStream {
    /// Creates a stream in a directory, which is created, too, if need be.
    ///
    /// # Errors
    /// [`StreamError::Refused`] if the directory holds a stream or the options are out of bounds; `Storage` or `Damaged`
    /// as for [`LocalStream::open`].
    pub fn create(dir: impl AsRef<Path>, options: CreateOptions) -> Result<Self, StreamError> {
        let path = dir.as_ref().join(FILE_NAME);
        if !Self::make(&path, &options)? {
            return Err(StreamError::Refused {
                what: format!("new stream '{}'", options.name),
                why: format!("'{}' exists; use it as it is, or choose another directory", path.display()),
            });
        }
        Self::attach(path, options.clock)
    }

    /// Opens the stream of a directory, with the system's clock.
    ///
    /// # Errors
    /// [`StreamError::NotFound`] if there is none, `Refused` if it is of a newer version or no stream, `Damaged` if it
    /// cannot be read, `Storage` if the disk or another process is in the way.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, StreamError> {
        Self::attach(dir.as_ref().join(FILE_NAME), system_clock())
    }

    /// Opens the stream of a directory, or creates it from the options if there is none. For a stream that exists, only the clock of the
    /// options is used. Several processes may do this at once: one of them creates.
    ///
    /// # Errors
    /// As for [`LocalStream::create`] and [`LocalStream::open`].
    pub fn open_or_create(dir: impl AsRef<Path>, options: CreateOptions) -> Result<Self, StreamError> {
        let path = dir.as_ref().join(FILE_NAME);
        Self::make(&path, &options)?;
        Self::attach(path, options.clock)
    }

    /// The same stream under another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// By how much the host's clock lies behind the newest arrival; `None` if it does not. Less than a second may come from a small
    /// correction, or from records that another process puts at this moment.
    ///
    /// # Errors
    /// `Storage` or `Damaged`, as for a read.
    pub async fn clock_behind(&self) -> Result<Option<Span>, StreamError> {
        let head = self.query("describe", schema::head).await?;
        Ok(Some(head.last_arrival - (self.clock)()).filter(|behind| *behind > Span::ZERO))
    }

    /// Deletes all records that have outlived the retention, and returns how many. A put does this by and by; a closed
    /// stream keeps what it has unless this is called.
    ///
    /// # Errors
    /// `Storage` or `Damaged`; what was trimmed until then stays trimmed.
    pub async fn trim(&self) -> Result<u64, StreamError> {
        let mut trimmed = 0;
        loop {
            let step = self.write("trim", |tx| trim::trim(tx, (self.clock)())).await?;
            trimmed += step.records;
            if step.finished {
                return Ok(trimmed);
            }
        }
    }

    /// Creates the database if there is none, and returns whether it did.
    fn make(path: &Path, options: &CreateOptions) -> Result<bool, StreamError> {
        options.check()?;
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(dir).map_err(|cause| StreamError::Storage {
            stream: path.display().to_string(),
            action: "creating its directory",
            cause: cause.to_string(),
            retry: false,
        })?;
        let make = || schema::create(&mut schema::connect(path, true)?, options);
        make().map_err(|failure| failure.tell(path, "create"))
    }

    fn attach(path: PathBuf, clock: Clock) -> Result<Self, StreamError> {
        if !path.exists() {
            return Err(schema::no_stream(&path));
        }
        let attach = || {
            let mut writer = schema::connect(&path, false)?;
            schema::check(&mut writer, &path)?;
            schema::use_write_ahead_log(&writer)?;
            Ok((writer, schema::connect(&path, false)?))
        };
        let (writer, reader) = attach().map_err(|failure: Failure| failure.tell(&path, "open"))?;
        let reads = 1 + std::thread::available_parallelism().map_or(1, |n| n.get());
        Ok(LocalStream {
            path,
            clock,
            reader: Arc::new(Mutex::new(reader)),
            writer: Mutex::new(writer),
            reads: Arc::new(Semaphore::new(reads)),
        })
    }

    /// Runs a query on one state of the stream.
    async fn query<T>(
        &self,
        action: &'static str,
        run: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StreamError> {
        self.transact(&self.reader, TransactionBehavior::Deferred, action, run).await
    }

    /// Runs a change: all of it or, on an error, nothing.
    async fn write<T>(
        &self,
        action: &'static str,
        run: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StreamError> {
        self.transact(&self.writer, TransactionBehavior::Immediate, action, run).await
    }

    async fn transact<T>(
        &self,
        connection: &Mutex<Connection>,
        behavior: TransactionBehavior,
        action: &'static str,
        run: impl FnOnce(&Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, StreamError> {
        // If another user of the connection panicked, its transaction was rolled back: the connection is good.
        let mut connection = connection.lock().await;
        blocking(|| {
            let tx = connection.transaction_with_behavior(behavior)?;
            let result = run(&tx)?;
            tx.commit()?;
            Ok(result)
        })
        .map_err(|failure: Failure| failure.tell(&self.path, action))
    }
}

/// Runs something that blocks on another thread, if the runtime has any.
async fn aside<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => match handle.spawn_blocking(run).await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends, and with it the task that waits for this.
            Err(_) => std::future::pending().await,
        },
        _ => run(),
    }
}

impl fmt::Debug for LocalStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStream").field("path", &self.path).finish_non_exhaustive()
    }
}

#[async_trait]
impl Stream for LocalStream {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        let head = self.query("describe", schema::head).await?;
        Ok(StreamDescription { name: head.name, created: head.created, retention: head.retention, closed: head.closed })
    }

    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        let shards = self.query("shards", schema::shards).await?;
        Ok(shards.iter().map(Shard::describe).collect())
    }

    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        let turn = self.reads.clone().acquire_owned().await;
        let mut reader = self.reader.clone().lock_owned().await;
        // Taken before the query: what the reader concludes from a tip at this time then holds for all that came before.
        let (shard, now) = (shard.clone(), (self.clock)());
        let read = move || {
            let tx = reader.transaction_with_behavior(TransactionBehavior::Deferred)?;
            let found = read::find(&tx, &shard, from, limit)?;
            tx.commit()?;
            drop(reader);
            let decoded = found.decode(now);
            drop(turn);
            decoded
        };
        aside(read).await.map_err(|failure: Failure| failure.tell(&self.path, "read"))
    }

    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        let row = self.query("tip", |tx| schema::shard(tx, shard)).await?;
        Ok(Position { sequence: row.last_sequence.into(), sub_sequence: 0 })
    }
}

#[async_trait]
impl StreamWriter for LocalStream {
    async fn put(
        &self,
        records: Vec<PutRecord>,
        progress: Option<ProducerProgress>,
    ) -> Result<Vec<PutReceipt>, StreamError> {
        crate::request::check_put(&records, progress.as_ref())?;
        self.write("put", |tx| append::append(tx, (self.clock)(), &records, progress.as_ref())).await
    }

    async fn progress(&self, job: &str) -> Result<Option<String>, StreamError> {
        self.query("progress", |tx| {
            let state = tx.query_row("SELECT state FROM progress WHERE job = ?1", [job], |row| row.get(0));
            Ok(state.optional()?)
        })
        .await
    }

    async fn split(&self, shard: &ShardId, at: u128) -> Result<[ShardId; 2], StreamError> {
        self.write("split", |tx| reshard::split(tx, shard, at)).await
    }

    async fn merge(&self, left: &ShardId, right: &ShardId) -> Result<ShardId, StreamError> {
        self.write("merge", |tx| reshard::merge(tx, left, right)).await
    }

    async fn close(&self) -> Result<(), StreamError> {
        self.write("close", reshard::close).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReadFrom;
    use futures::executor::block_on;
    use std::time::Duration;

    #[test]
    fn another_writer_in_the_way_may_be_tried_again() {
        let dir = tempfile::tempdir().unwrap();
        let stream = LocalStream::create(dir.path(), CreateOptions { shards: 1, ..CreateOptions::default() }).unwrap();
        stream.writer.try_lock().unwrap().busy_timeout(Duration::from_millis(20)).unwrap();
        let put = || {
            let record = PutRecord { payload: "x".into(), partition_key: "k".into() };
            block_on(stream.put(vec![record], None))
        };
        let kept = || {
            let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
            block_on(stream.read(&ShardId::new("shardId-000000000000"), ReadFrom::Start, limit)).unwrap().records.len()
        };
        put().unwrap();
        let other = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let error = put().unwrap_err();
        assert!(matches!(error, StreamError::Storage { retry: true, action: "put", .. }), "{error:?}");
        assert_eq!(kept(), 1, "reads do not wait");
        other.execute_batch("ROLLBACK").unwrap();
        put().unwrap();
        assert_eq!(kept(), 2);
    }

    /// 64 shards that are read at once, or put into, must not take 64 threads: each wait for the database once held one.
    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_waits_for_the_database_holds_no_thread() {
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        let dir = tempfile::tempdir().unwrap();
        let options = CreateOptions { shards: 64, ..CreateOptions::default() };
        let stream = Arc::new(LocalStream::create(dir.path(), options).unwrap());
        let (reader, writer, before) = (stream.reader.lock().await, stream.writer.lock().await, threads());
        let begun = Arc::new(tokio::sync::Semaphore::new(0));
        let tasks: Vec<_> = ((0..64).map(crate::shards::id_of))
            .map(|shard| {
                let (stream, begun) = (stream.clone(), begun.clone());
                tokio::spawn(async move {
                    begun.add_permits(1);
                    let limit = ReadLimit { records: 10, bytes: 1_000 };
                    let record = PutRecord { payload: "x".into(), partition_key: "k".into() };
                    let (read, put) = tokio::join!(stream.read(&shard, ReadFrom::Start, limit), async {
                        stream.put(vec![record], None).await
                    });
                    (read.unwrap().records.len() as u64, put.unwrap().len())
                })
            })
            .collect();
        let _all = begun.acquire_many(64).await.unwrap();
        let more = threads().saturating_sub(before);
        drop((reader, writer));
        for task in tasks {
            assert_eq!(task.await.unwrap().1, 1);
        }
        assert!(more < 16, "64 that wait took {more} threads");
    }
}
