//! The database: its layout, its creation, and the checks when it is opened.
//!
//! ```text
//! stream    one row: name, time of creation, retention, closed?, the next sequence number, the newest arrival
//! shard     one row a shard, never deleted: range (two big-endian 128-bit numbers), parents, closed?, records ever
//!           appended, the newest sequence number, and what was trimmed
//! batch     up to 256 KiB of one put and shard: sequence numbers first..=last, ordinal (records of the shard before it),
//!           arrival, body (see `codec.rs`). Ascending by first sequence number is ascending by arrival, too
//! trimmed   which sequence numbers a shard has lost, with their ordinals: neighbouring batches make one row
//! progress  a job's own note
//! ```
//!
//! The numbers of one put are given out shard by shard, so that each batch holds a run without holes. Sequence numbers grow over
//! the whole stream; children begin beyond all that their parents hold.

use super::failure::Failure;
use crate::StreamError;
use crate::options::CreateOptions;
use crate::shards::{Router, Shard, not_found, number_of};
use authpulse_event::{ArrivalTime, HashRange, ShardId, Span};
use authpulse_sqlite::PATIENCE;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::path::Path;

/// Marks a database as ours: "APst".
const APPLICATION_ID: i32 = 0x4150_7374;
/// The version of the layout below. A program refuses a newer one.
const SCHEMA_VERSION: i32 = 1;
/// Large pages suit large bodies.
const PAGE_BYTES: u32 = 16_384;
/// Pages kept in memory, per connection.
const CACHE_BYTES: u32 = 8 * 1024 * 1024;
/// The log is cut back to this after a checkpoint.
const LOG_BYTES_KEPT: u32 = 64 * 1024 * 1024;
/// Prepared statements kept, per connection: more than there are.
const STATEMENTS: usize = 64;

const TABLES: &str = "
CREATE TABLE stream (
  only_row      INTEGER PRIMARY KEY CHECK (only_row = 1),
  name          TEXT    NOT NULL,
  created       INTEGER NOT NULL,
  retention     INTEGER NOT NULL,
  closed        INTEGER NOT NULL,
  next_sequence INTEGER NOT NULL,
  last_arrival  INTEGER NOT NULL,
  trimmed_at    INTEGER NOT NULL
) STRICT;
CREATE TABLE shard (
  number           INTEGER PRIMARY KEY,
  range_first      BLOB    NOT NULL,
  range_last       BLOB    NOT NULL,
  parent_left      INTEGER,
  parent_right     INTEGER,
  closed           INTEGER NOT NULL,
  records          INTEGER NOT NULL,
  last_sequence    INTEGER NOT NULL,
  trimmed_records  INTEGER NOT NULL,
  trimmed_sequence INTEGER NOT NULL,
  forgotten        INTEGER NOT NULL
) STRICT;
CREATE TABLE batch (
  first_sequence INTEGER PRIMARY KEY,
  last_sequence  INTEGER NOT NULL,
  shard          INTEGER NOT NULL,
  ordinal        INTEGER NOT NULL,
  arrival        INTEGER NOT NULL,
  raw_bytes      INTEGER NOT NULL,
  payload_bytes  INTEGER NOT NULL,
  checksum       INTEGER NOT NULL,
  body           BLOB    NOT NULL
) STRICT;
CREATE UNIQUE INDEX batch_by_shard ON batch (shard, last_sequence);
CREATE TABLE trimmed (
  shard          INTEGER NOT NULL,
  last_sequence  INTEGER NOT NULL,
  first_sequence INTEGER NOT NULL,
  ordinal        INTEGER NOT NULL,
  PRIMARY KEY (shard, last_sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE progress (
  job   TEXT PRIMARY KEY,
  state TEXT NOT NULL
) STRICT, WITHOUT ROWID;
";

/// The stream's own row.
#[derive(Debug)]
pub(super) struct Head {
    pub name: String,
    pub created: ArrivalTime,
    /// How long records are kept at least.
    pub retention: Span,
    /// Whether the stream was closed for good.
    pub closed: bool,
    /// The sequence number that the next record gets.
    pub next_sequence: u64,
    /// The newest arrival of a record.
    pub last_arrival: ArrivalTime,
    /// When trimming last left nothing to trim.
    pub trimmed_at: ArrivalTime,
}

/// Opens a connection as this crate uses it.
///
/// # Errors
/// The file cannot be opened, or SQLite refuses a setting.
pub(super) fn connect(path: &Path, create: bool) -> Result<Connection, Failure> {
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if create {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
    }
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "page_size", PAGE_BYTES)?; // counts for a new database only
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_BYTES / 1024))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_KEPT, |_| Ok(()))?;
    Ok(connection)
}

/// Fills an empty database, and returns whether it was empty.
///
/// # Errors
/// The database cannot be changed.
pub(super) fn create(connection: &mut Connection, options: &CreateOptions) -> Result<bool, Failure> {
    let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if !is_empty(&tx)? {
        return Ok(false);
    }
    let now = (options.clock)();
    tx.execute_batch(TABLES)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    tx.execute(
        "INSERT INTO stream (only_row, name, created, retention, closed, next_sequence, last_arrival, trimmed_at)
         VALUES (1, ?1, ?2, ?3, 0, 1, ?2, ?2)",
        params![options.name, now.micros(), options.retention.micros()],
    )?;
    for shard in Shard::first(options.shards) {
        insert_shard(&tx, &shard)?;
    }
    tx.commit()?;
    Ok(true)
}

/// Checks that this is a stream that this program can use.
///
/// # Errors
/// The database is empty, another program's, of a newer layout or damaged, or cannot be read.
pub(super) fn check(connection: &mut Connection, path: &Path) -> Result<(), Failure> {
    let tx = connection.transaction()?;
    let number = |name: &str| tx.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let (application, version) = (number("application_id")?, number("user_version")?);
    let refuse = |why: String| {
        Err(Failure::Reported(StreamError::Refused { what: format!("stream in '{}'", path.display()), why }))
    };
    if application != APPLICATION_ID {
        return match is_empty(&tx)? {
            true => Err(Failure::Reported(no_stream(path))),
            false => refuse("the file is another program's database; choose another directory".to_owned()),
        };
    }
    if version > SCHEMA_VERSION {
        return refuse(format!(
            "it was written by a newer AuthPulse (layout {version}, this one knows {SCHEMA_VERSION}); use that or a later one"
        ));
    }
    if version < SCHEMA_VERSION {
        return Err(Failure::Damaged(format!("layout {version} never existed")));
    }
    let closed = head(&tx)?.closed;
    let mut open = shards(&tx)?;
    open.retain(|shard| !shard.closed);
    if closed != open.is_empty() || (!closed && Router::new(&mut open).is_none()) {
        return Err(Failure::Damaged("its open shards do not divide the ring".to_owned()));
    }
    Ok(())
}

/// Switches the write-ahead log on, if it is off.
///
/// # Errors
/// Another process is in the way, or the file system does not allow it.
pub(super) fn use_write_ahead_log(connection: &Connection) -> Result<(), Failure> {
    let mode = authpulse_sqlite::use_write_ahead_log(connection, PATIENCE)?;
    if mode.eq_ignore_ascii_case("wal") {
        return Ok(());
    }
    Err(Failure::Io(std::io::Error::other(format!(
        "the journal stays in mode '{mode}': the directory must be on a local disk"
    ))))
}

/// The error for a path without a stream.
pub(super) fn no_stream(path: &Path) -> StreamError {
    // A path that may not be looked at is not called missing.
    if let Err(error) = std::fs::metadata(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Failure::Io(error).tell(path, "open");
    }
    StreamError::NotFound {
        what: format!("stream in '{}'", path.display()),
        hint: "create it first (`authpulse stream create`), or check the directory".to_owned(),
    }
}

fn is_empty(tx: &Transaction<'_>) -> Result<bool, Failure> {
    Ok(tx.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))?)
}

/// Reads the stream's own row.
///
/// # Errors
/// The row is missing or cannot be read.
pub(super) fn head(tx: &Transaction<'_>) -> Result<Head, Failure> {
    let mut statement = tx.prepare_cached(
        "SELECT name, created, retention, closed, next_sequence, last_arrival, trimmed_at FROM stream",
    )?;
    Ok(statement.query_row([], |row| {
        Ok(Head {
            name: row.get(0)?,
            created: ArrivalTime::from_micros(row.get(1)?),
            retention: Span::from_micros(row.get(2)?),
            closed: row.get(3)?,
            next_sequence: row.get(4)?,
            last_arrival: ArrivalTime::from_micros(row.get(5)?),
            trimmed_at: ArrivalTime::from_micros(row.get(6)?),
        })
    })?)
}

const SHARD_COLUMNS: &str =
    "number, range_first, range_last, parent_left, parent_right, closed, records, last_sequence";

/// All shards by number.
///
/// # Errors
/// A row cannot be read.
pub(super) fn shards(tx: &Transaction<'_>) -> Result<Vec<Shard>, Failure> {
    load_shards(tx, "ORDER BY number")
}

/// The shards that take records.
///
/// # Errors
/// A row cannot be read.
pub(super) fn open_shards(tx: &Transaction<'_>) -> Result<Vec<Shard>, Failure> {
    load_shards(tx, "WHERE NOT closed ORDER BY number")
}

fn load_shards(tx: &Transaction<'_>, which: &str) -> Result<Vec<Shard>, Failure> {
    let mut statement = tx.prepare_cached(&format!("SELECT {SHARD_COLUMNS} FROM shard {which}"))?;
    let shards = statement.query_map([], shard_of)?.collect::<Result<_, _>>()?;
    Ok(shards)
}

/// One shard.
///
/// # Errors
/// [`StreamError::NotFound`] if there is none; or its row cannot be read.
pub(super) fn shard(tx: &Transaction<'_>, id: &ShardId) -> Result<Shard, Failure> {
    // The store never gave out a number that it cannot hold.
    let number = i64::try_from(number_of(id)?).map_err(|_| not_found(id))?;
    let mut statement = tx.prepare_cached(&format!("SELECT {SHARD_COLUMNS} FROM shard WHERE number = ?1"))?;
    let shard = statement.query_row([number], shard_of).optional()?;
    Ok(shard.ok_or_else(|| not_found(id))?)
}

fn shard_of(row: &Row<'_>) -> rusqlite::Result<Shard> {
    let place = |index| row.get(index).map(u128::from_be_bytes);
    let parents = [row.get::<_, Option<u64>>(3)?, row.get(4)?];
    Ok(Shard {
        number: row.get(0)?,
        range: HashRange { first: place(1)?, last: place(2)? },
        parents: parents.into_iter().flatten().collect(),
        closed: row.get(5)?,
        records: row.get(6)?,
        last_sequence: row.get(7)?,
    })
}

/// Adds an open shard without records.
///
/// # Errors
/// The database cannot be changed.
pub(super) fn insert_shard(tx: &Transaction<'_>, shard: &Shard) -> Result<(), Failure> {
    tx.execute(
        "INSERT INTO shard (number, range_first, range_last, parent_left, parent_right, closed, records, last_sequence,
                            trimmed_records, trimmed_sequence, forgotten)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, 0, 0, 0)",
        params![
            shard.number,
            shard.range.first.to_be_bytes(),
            shard.range.last.to_be_bytes(),
            shard.parents.first(),
            shard.parents.get(1),
        ],
    )?;
    Ok(())
}
