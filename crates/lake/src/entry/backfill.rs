//! What the entries of the shard `file` store about the files that it reads.

use crate::micros;
use authpulse_event::ProcessingTime;
use serde::{Deserialize, Serialize};

/// How far a backfill has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// The arrival time of every record of the current run: the run's start.
    #[serde(with = "micros")]
    pub run_started: ProcessingTime,
    /// The run's files, in order.
    pub files: Vec<BackfillFile>,
    /// Lines of all earlier runs; this is the sequence number before the run's first line.
    pub lines_before: u64,
    /// Whether every line of the run is in this or an earlier entry.
    pub finished: bool,
    /// Whether what is open at the end of the run stays open, for a later run or a stream that continues.
    pub keep_open: bool,
    /// Whether its lines are admitted in order of event time, and not in the order of the files.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sorted: bool,
    /// Hexadecimal SHA-256 over the run's lines in this and earlier entries, in the order in which they were admitted. Runs that began
    /// before programs kept it have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// If the run was ended by hand: after how many of its lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub given_up: Option<u64>,
}

/// A backfilled file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackfillFile {
    /// Its name as the user gave it, without folders.
    pub name: String,
    /// Its length on disk.
    pub bytes: u64,
    /// Hexadecimal SHA-256 of its bytes on disk.
    pub sha256: String,
}
