//! How the lake's SQLite files are opened: write-ahead log, full sync, patience with other readers.

use crate::store::sync_directory;
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// How long a statement waits for another process to finish its own.
const BUSY: Duration = Duration::from_secs(10);

/// Opens a database and makes its tables. The error is in words.
pub(crate) fn open(path: &Path, schema: &str) -> Result<Connection, String> {
    let existed = path.exists();
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // In WAL mode a commit is durable only with FULL; the default of some builds is NORMAL.
        connection.pragma_update(None, "synchronous", "FULL")?;
        // macOS: a sync that reaches the disk and not only its cache.
        connection.pragma_update(None, "fullfsync", "ON")?;
        connection.execute_batch(schema)?;
        Ok(connection)
    };
    let connection = open().map_err(|e| e.to_string())?;
    if !existed {
        let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_directory(parent).map_err(|e| e.to_string())?;
    }
    Ok(connection)
}
