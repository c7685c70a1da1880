//! Why a replay did not end well, and what to do about it.

use authpulse_stream::StreamError;
use authpulse_stream::limits::MAX_PUT_RECORDS;

use super::pace::{PACE_MAX, PACE_MIN};
use authpulse_files::InputError;

/// A failure of a replay. Whatever was sent before it is in the stream, together with the note of how far that is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// A rate or speed is out of range.
    #[error("a {what} of {value} cannot be kept; give one between {PACE_MIN} and {PACE_MAX}")]
    Pace {
        /// `rate` or `speed`.
        what: &'static str,
        /// What was given.
        value: f64,
    },

    /// Event times are to be now, but the pace is not that of event time.
    #[error(
        "event times that are now (--clock now) go with event time: give --speed, not --rate or --max, or events would soon lie ahead of \
         the clock and be rejected as future"
    )]
    Clock,

    /// The job was begun at another speed.
    #[error(
        "this input was begun with --clock now at --speed {noted}: go on at that speed, or the times would jump (not {given})"
    )]
    Speed {
        /// The speed of the earlier runs.
        noted: f64,
        /// The speed of this run.
        given: f64,
    },

    /// The batch size is out of range.
    #[error("an append of {size} records is not possible; give --batch-size between 1 and {MAX_PUT_RECORDS}")]
    BatchSize {
        /// What was given.
        size: usize,
    },

    /// An input cannot be read, or not to its end. All whole lines before the failure were sent.
    #[error(transparent)]
    Input(#[from] InputError),

    /// The stream does not say how far an earlier run was. Nothing was sent.
    #[error("cannot ask the stream how far an earlier replay of this input was (job {job}); nothing was sent")]
    Progress {
        /// The job.
        job: String,
        /// What the stream says.
        source: StreamError,
    },

    /// What an earlier run noted cannot be read, or contradicts the input. Nothing was sent.
    #[error(
        "the stream's note on how far this input was replayed (job {job}) is unusable: {why}; \
         it may be of a newer version: use that one, or replay into a new stream"
    )]
    Note {
        /// The job.
        job: String,
        /// What is wrong with it.
        why: String,
    },

    /// The stream never takes such a record, whichever program puts it. Nothing of its append was sent.
    #[error(
        "line {line} cannot be sent; the lines before its append are in the stream, and the same command goes on behind them"
    )]
    Record {
        /// The line.
        line: u64,
        /// What the stream says, with the remedy.
        source: StreamError,
    },

    /// The stream does not take the records.
    #[error("cannot append to the stream, at attempt {attempts}; {}", next(*.line, *.resumable))]
    Put {
        /// The last line that is surely in the stream.
        line: u64,
        /// How often it was tried.
        attempts: u32,
        /// Whether the same command, run again, continues.
        resumable: bool,
        /// What the stream says.
        source: StreamError,
    },

    /// Everything was sent, but the stream was not closed.
    #[error("everything was sent, but the stream could not be closed; run the same again to close it")]
    Close {
        /// What the stream says.
        source: StreamError,
    },

    /// A thread could not be started.
    #[error("cannot start the thread that prepares the records")]
    Thread {
        /// What the system says.
        source: std::io::Error,
    },

    /// A thread ended without saying why. A bug here, never a clean end.
    #[error("preparing the records stopped unexpectedly after line {line}; this is a bug, please report it")]
    Stopped {
        /// The last line that is surely in the stream.
        line: u64,
    },
}

fn next(line: u64, resumable: bool) -> String {
    if resumable {
        format!("lines up to {line} are in it: once the cause is mended, run the same again to continue")
    } else {
        format!("lines up to {line} are in it: once the cause is mended, send the input from line {} on", line + 1)
    }
}
