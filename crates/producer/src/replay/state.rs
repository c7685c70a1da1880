//! How far a job is: what is counted, what is noted in the stream, and how the job is named.

use std::time::{SystemTime, UNIX_EPOCH};

use authpulse_event::id::sha256_hex;
use serde::{Deserialize, Serialize};

use super::live::{Clock, Shift};
use authpulse_files::FileIdentity;

/// The version of the note's form. A later form gets another number.
const NOTE_VERSION: u32 = 1;
/// The version of a note that holds a shift: a program that does not know shifts must not go on with the job.
const NOTE_VERSION_SHIFTED: u32 = 2;

/// Lines passed and what became of them: `lines = events + unparsed + blank`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines, blank ones included. Of a whole job also the number of the last line passed.
    pub lines: u64,
    /// Valid events sent.
    pub events: u64,
    /// Lines sent that are no valid event; the consumer makes dead letters of them.
    pub unparsed: u64,
    /// Of those, lines of which only a prefix was sent, because they are longer than
    /// [`OVERLONG_WHOLE_BYTES_MAX`](authpulse_files::OVERLONG_WHOLE_BYTES_MAX).
    pub shortened: u64,
}

impl Counts {
    /// Records sent.
    pub fn records(&self) -> u64 {
        self.events + self.unparsed
    }

    /// Lines that are blank and so no records.
    pub fn blank(&self) -> u64 {
        self.lines.saturating_sub(self.records())
    }

    /// What came since an earlier state of the same job.
    pub(super) fn since(&self, earlier: &Counts) -> Counts {
        Counts {
            lines: self.lines - earlier.lines,
            events: self.events - earlier.events,
            unparsed: self.unparsed - earlier.unparsed,
            shortened: self.shortened - earlier.shortened,
        }
    }
}

/// A job's note in the stream, as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    version: u32,
    /// The job's counts after the records that it was stored with.
    pub(super) counts: Counts,
    /// Whether the input was sent to its end.
    pub(super) complete: bool,
    /// How event times are shifted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shift: Option<Shift>,
}

impl Note {
    /// A note in the version that its content needs.
    pub(super) fn new(counts: Counts, complete: bool, shift: Option<Shift>) -> Note {
        let version = if shift.is_some() { NOTE_VERSION_SHIFTED } else { NOTE_VERSION };
        Note { version, counts, complete, shift }
    }

    /// The note as the stream keeps it.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and a flag are always JSON")
    }

    /// Reads a note that a stream kept.
    ///
    /// # Errors
    /// The text is no note, of another version, or its figures contradict each other; the error says which, in words.
    pub(super) fn from_json(text: &str) -> Result<Note, String> {
        let note: Note = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let expected = if note.shift.is_some() { NOTE_VERSION_SHIFTED } else { NOTE_VERSION };
        if note.version != expected {
            return Err(format!("it has version {}; this program knows {expected}", note.version));
        }
        if note.shift.is_some_and(|shift| !shift.speed.is_finite() || shift.speed <= 0.0) {
            return Err("its speed is none".to_owned());
        }
        let Counts { lines, events, unparsed, shortened } = note.counts;
        if events.checked_add(unparsed).is_none_or(|records| records > lines) || shortened > unparsed {
            return Err("its numbers do not add up".to_owned());
        }
        Ok(note)
    }
}

/// The name under which a stream keeps a job's note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// The key of the note.
    pub(super) name: String,
    /// Whether a later run can read the same input again.
    pub(super) resumable: bool,
}

impl Job {
    /// The same bytes in the same order are the same job, whatever the files are called.
    pub(super) fn of_files(identities: &[FileIdentity], clock: Clock) -> Job {
        let list: String = identities.iter().map(|file| format!("{} {}\n", file.size, file.sha256)).collect();
        // With other times, they are other events.
        let kind = match clock {
            Clock::Input => "replay",
            Clock::Now => "replay-now",
        };
        Job { name: format!("{kind}-{}", sha256_hex(list.as_bytes())), resumable: true }
    }

    /// An input that cannot be read again. It has a name all the same: after a put whose answer was lost, the note tells whether the put
    /// happened.
    pub(super) fn of_this_run() -> Job {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let run = format!("{} {nanos}", std::process::id());
        Job { name: format!("replay-once-{}", sha256_hex(run.as_bytes())), resumable: false }
    }
}
