//! Where decisions go at the moment they are made: before they are committed, so that an alert does not wait for a table.
//!
//! After a crash a decision may be handed over again, with the same `event_id`, time, user and computer. These four tell decisions
//! apart: there are senders whose `event_id` names a kind of event.

use authpulse_engine::rows::EventId;
use authpulse_engine::rows::{RiskLevel, ScoredEvent};
use authpulse_event::Micros;
use authpulse_event::id::{canonical_line, content_id};
use authpulse_event::time::format_rfc3339;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// A decision with its names.
#[derive(Clone, Copy)]
pub struct Decision<'a> {
    /// What was decided.
    pub scored: &'a ScoredEvent,
    /// Who.
    pub user: &'a str,
    /// Where.
    pub computer: &'a str,
    /// What integer times count from; part of a content id.
    pub base: Micros,
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

    /// One line of JSON: what fired, for whom, where, when, and the figures behind it.
    pub fn to_json(&self) -> String {
        let (scored, windows) = (self.scored, &self.scored.event.windows);
        serde_json::json!({
            "event_id": self.event_id(),
            "event_time": format_rfc3339(scored.event.event_time),
            "user_id": self.user,
            "computer_id": self.computer,
            "risk_score": scored.score,
            "risk_level": RiskLevel::of(scored.score).name(),
            "risk_flags": scored.flags.iter().map(|f| f.name()).collect::<Vec<_>>(),
            "login_count_1h": windows.logins_1h,
            "unique_computers_1h": windows.computers_1h,
            "host_popularity": scored.popularity,
        })
        .to_string()
    }
}

/// Takes decisions as they are made. Called from the engine's thread: must not block for long.
pub trait DecisionSink: Send + Sync {
    /// The lowest score that is handed over; below it [`DecisionSink::decided`] is not called.
    fn min_score(&self) -> u8;
    /// A decision was made.
    fn decided(&self, decision: Decision<'_>);
}

/// Takes nothing.
pub struct NoSink;

impl DecisionSink for NoSink {
    fn min_score(&self) -> u8 {
        u8::MAX
    }
    fn decided(&self, _: Decision<'_>) {}
}

/// Writes a log line for each decision.
pub struct LogSink {
    /// The lowest score that is logged.
    pub min_score: u8,
}

impl DecisionSink for LogSink {
    fn min_score(&self) -> u8 {
        self.min_score
    }
    fn decided(&self, decision: Decision<'_>) {
        tracing::info!(target: "authpulse::decision", decision = %decision.to_json(), "decision");
    }
}

/// Appends a line of JSON for each decision to a file.
pub struct FileSink {
    min_score: u8,
    file: Mutex<std::fs::File>,
}

impl FileSink {
    /// Opens the file for appending, or makes it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn open(path: &Path, min_score: u8) -> std::io::Result<FileSink> {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        Ok(FileSink { min_score, file: Mutex::new(file) })
    }
}

impl DecisionSink for FileSink {
    fn min_score(&self) -> u8 {
        self.min_score
    }
    fn decided(&self, decision: Decision<'_>) {
        let line = decision.to_json() + "\n";
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::warn!(%error, "a decision could not be written to the decisions file; it will be in the tables");
        }
    }
}
