//! Where decisions go at the moment they are made: before they are committed, so that an alert does not wait for a table.
//!
//! After a crash a decision may be handed over again, with the same `event_id`, time, user and computer. Tell decisions apart by these
//! four: some senders use an `event_id` that names a kind of event.

use authpulse_engine::rows::EventId;
use authpulse_engine::rows::{RiskLevel, ScoredEvent};
use authpulse_engine::rules::RuleSet;
use authpulse_event::EventTime;
use authpulse_event::id::{canonical_line, content_id};
use authpulse_event::time::format_rfc3339;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::sink";

/// A decision with its names.
#[derive(Clone, Copy)]
pub struct Decision<'a> {
    /// What was decided.
    pub scored: &'a ScoredEvent,
    /// The user's name.
    pub user: &'a str,
    /// The computer's name.
    pub computer: &'a str,
    /// The moment from which integer times count; part of a content id.
    pub base: EventTime,
    /// The rules that scored it.
    pub rules: &'a RuleSet,
}

impl Decision<'_> {
    /// The event's id.
    pub fn event_id(&self) -> String {
        match &self.scored.event.id {
            EventId::Own(id) => id.to_string(),
            EventId::Content(form) => {
                let mut line = Vec::new();
                canonical_line(&mut line, self.base, self.scored.event.event_time, *form, self.user, self.computer);
                content_id(&line).iter().map(|b| char::from(*b)).collect()
            }
        }
    }

    /// The decision as a JSON object: what fired, for whom, where, when, and the figures behind it.
    pub fn to_value(&self) -> serde_json::Value {
        let (scored, windows) = (self.scored, &self.scored.event.windows);
        serde_json::json!({
            "event_id": self.event_id(),
            "event_time": format_rfc3339(scored.event.event_time),
            "user_id": self.user,
            "computer_id": self.computer,
            "risk_score": scored.score,
            "risk_level": RiskLevel::of(scored.score).name(),
            "risk_flags": self.rules.names(scored.flags).collect::<Vec<_>>(),
            "login_count_1h": windows.logons_1h,
            "unique_computers_1h": windows.computers_1h,
            "host_popularity": scored.popularity,
        })
    }
}

/// Takes decisions as they are made. It is called from the engine's thread and must not block for long.
pub trait DecisionSink: Send + Sync {
    /// The lowest score that is handed over; below it [`DecisionSink::decided`] is not called.
    fn min_score(&self) -> u8;
    /// A decision was made.
    fn decided(&self, decision: Decision<'_>);
    /// Opens the target again, as it may have been moved or replaced. If that fails, the failure is logged and the old one kept.
    fn reopen(&self) {}
}

/// Takes no decisions.
pub struct NoSink;

impl DecisionSink for NoSink {
    fn min_score(&self) -> u8 {
        u8::MAX
    }
    fn decided(&self, _: Decision<'_>) {}
}

/// Appends a line of JSON for each decision to a file.
pub struct FileSink {
    min_score: u8,
    path: PathBuf,
    file: Mutex<Appended>,
}

/// The file, and what became of the last line.
struct Appended {
    file: File,
    /// Whether the last line may be there in part.
    torn: bool,
    /// How many decisions in a row could not be written.
    failed: u64,
}

impl FileSink {
    /// Opens the file for appending, or creates it.
    ///
    /// # Errors
    /// The file can neither be opened nor created.
    pub fn open(path: &Path, min_score: u8) -> std::io::Result<FileSink> {
        let file = Mutex::new(Appended { file: open_appending(path)?, torn: false, failed: 0 });
        Ok(FileSink { min_score, path: path.to_owned(), file })
    }
}

fn open_appending(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

impl DecisionSink for FileSink {
    fn min_score(&self) -> u8 {
        self.min_score
    }

    fn decided(&self, decision: Decision<'_>) {
        let line = format!("{}\n", decision.to_value());
        let mut to = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A reader of the file finds whole lines, but for the one that was cut off.
        let written = if to.torn { to.file.write_all(b"\n") } else { Ok(()) };
        match written.and_then(|()| to.file.write_all(line.as_bytes())) {
            Ok(()) => {
                if to.failed > 0 {
                    tracing::warn!(
                        target: TARGET, decisions = to.failed,
                        "decisions were not written to the decisions file; they are in the tables"
                    );
                }
                (to.torn, to.failed) = (false, 0);
            }
            Err(error) => {
                if to.failed == 0 {
                    tracing::warn!(target: TARGET, %error, path = %self.path.display(), "decisions cannot be written to the decisions file; they will be in the tables");
                }
                to.torn = true;
                to.failed += 1;
            }
        }
    }

    fn reopen(&self) {
        let path = self.path.display();
        // Not under the lock: a file system that hangs must not delay the threads that decide.
        match open_appending(&self.path) {
            Ok(file) => {
                let mut to = self.file.lock().unwrap_or_else(PoisonError::into_inner);
                (to.file, to.torn) = (file, false);
                tracing::info!(target: TARGET, %path, "the decisions file was opened anew");
            }
            Err(error) => {
                tracing::warn!(target: TARGET, %path, %error, "the decisions file cannot be opened anew; the one that is open is written on");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_engine::flags::Flags;
    use authpulse_engine::rows::{AcceptedEvent, Windows};

    #[test]
    fn a_file_that_was_moved_is_written_on_until_it_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("decisions"), dir.path().join("decisions.1"));
        let sink = FileSink::open(&path, 0).unwrap();
        let scored = ScoredEvent {
            event: AcceptedEvent {
                event_time: EventTime::default(),
                ingestion_time: Default::default(),
                user: Default::default(),
                computer: Default::default(),
                id: EventId::Own("own".into()),
                windows: Windows::default(),
                new_device: false,
                attributes: Default::default(),
            },
            popularity: None,
            flags: Flags::default(),
            score: 0,
        };
        let rules = RuleSet::default();
        let write = |user: &str| {
            sink.decided(Decision { scored: &scored, user, computer: "C1", base: EventTime::default(), rules: &rules })
        };
        let users = |path: &Path| -> Vec<String> {
            let text = std::fs::read_to_string(path).unwrap();
            let user =
                |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["user_id"].as_str().unwrap().to_owned();
            text.lines().map(user).collect()
        };
        write("U1");
        std::fs::rename(&path, &moved).unwrap();
        write("U2");
        sink.reopen();
        write("U3");
        // A directory in the way is refused; the file that is open stays.
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        sink.reopen();
        write("U4");
        std::fs::remove_dir(&path).unwrap();
        sink.reopen();
        write("U5");
        assert_eq!(users(&moved), ["U1", "U2"]);
        assert_eq!(users(&path), ["U5"]);
    }
}
