//! What a line on standard error looks like: for people as it is, for programs as one JSON object that says where it comes from.

use super::queue::Lost;
use authpulse_event::advice;
use authpulse_event::time::format_rfc3339;
use authpulse_journal::env::{Clock, SystemClock};
use authpulse_lake::Remedy;
use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Map, Value};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The command-line arguments that ask for it.
    pub fn words(self) -> [&'static str; 2] {
        ["--log-format", if self == LogFormat::Json { "json" } else { "text" }]
    }
}

/// Where lines come from, as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// This process, by its name in leases.
    pub worker: Option<String>,
    /// The name of the host.
    pub host: Option<String>,
    /// The application of the stream.
    pub app: Option<String>,
    /// The stream.
    pub stream: Option<String>,
}

struct Form {
    format: LogFormat,
    from: Origin,
}

static FORM: RwLock<Form> =
    RwLock::new(Form { format: LogFormat::Text, from: Origin { worker: None, host: None, app: None, stream: None } });

fn form() -> RwLockReadGuard<'static, Form> {
    FORM.read().unwrap_or_else(PoisonError::into_inner)
}

/// Sets the form of all lines from now on.
pub fn set_format(format: LogFormat) {
    FORM.write().unwrap_or_else(PoisonError::into_inner).format = format;
}

/// The form of lines.
pub fn format() -> LogFormat {
    form().format
}

/// Changes the origin that lines name.
pub fn set_from(change: impl FnOnce(&mut Origin)) {
    change(&mut FORM.write().unwrap_or_else(PoisonError::into_inner).from);
}

/// The name of this process in its leases, if it is set.
pub fn worker() -> Option<String> {
    form().from.worker.clone()
}

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Somebody may want to know.
    Info,
    /// Something may need a look.
    Warn,
    /// The command failed.
    Error,
    /// Something panicked.
    Panic,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Info => "INFO",
            Level::Warn => "WARN",
            Level::Error | Level::Panic => "ERROR",
        }
    }
}

#[derive(Serialize)]
struct Object<'a> {
    timestamp: String,
    level: &'a str,
    fields: &'a Map<String, Value>,
    target: &'a str,
    #[serde(flatten)]
    from: &'a Origin,
}

/// A line of JSON, without the line break.
pub fn json(level: &str, target: &str, fields: &Map<String, Value>) -> String {
    let form = form();
    let timestamp = format_rfc3339(SystemClock.now());
    let object = Object { timestamp, level, fields, target, from: &form.from };
    serde_json::to_string(&object).expect("keys are strings")
}

/// The target of messages that are no log lines.
const TARGET: &str = "authpulse";

/// A message in the form that was asked for, with its line break.
pub fn message(level: Level, words: &str) -> Vec<u8> {
    let mut line = match (format(), level) {
        (LogFormat::Text, Level::Info | Level::Panic) => words.to_owned(),
        (LogFormat::Text, Level::Warn) => format!("warning: {words}"),
        (LogFormat::Text, Level::Error) => format!("error: {words}"),
        (LogFormat::Json, _) => {
            let fields = Map::from_iter([("message".to_owned(), Value::from(words))]);
            json(level.name(), TARGET, &fields)
        }
    };
    line.push('\n');
    line.into_bytes()
}

/// The error that ends a command, and what to do about it where the error itself does not say so.
pub fn error(words: &str, remedy: Option<Remedy>) -> Vec<u8> {
    let advice = remedy.and_then(Remedy::advice).filter(|_| !advice::is_in(words));
    match format() {
        LogFormat::Text => {
            let mut lines = message(Level::Error, words);
            lines.extend(advice.into_iter().flat_map(|advice| format!("help: {advice}\n").into_bytes()));
            lines
        }
        LogFormat::Json => {
            let said = [("message", Some(words)), ("remedy", remedy.map(Remedy::name)), ("help", advice)];
            let said = said.into_iter().filter_map(|(key, value)| Some((key.to_owned(), Value::from(value?))));
            let mut line = json(Level::Error.name(), TARGET, &said.collect());
            line.push('\n');
            line.into_bytes()
        }
    }
}

/// A decision in the form that was asked for, with its line break.
pub fn decision(decision: Value) -> Vec<u8> {
    let mut line = match format() {
        LogFormat::Text => decision.to_string(),
        LogFormat::Json => {
            let fields = Map::from_iter([("message".to_owned(), "decision".into()), ("decision".to_owned(), decision)]);
            json(Level::Info.name(), "authpulse::decision", &fields)
        }
    };
    line.push('\n');
    line.into_bytes()
}

/// The line that says how many lines could not be written.
pub fn lost(lost: Lost) -> Vec<u8> {
    let of = |n: u64, what: &str| (n > 0).then(|| format!("{n} {what}"));
    let what = [of(lost.lines, "lines"), of(lost.decisions, "decisions")];
    let what: Vec<String> = what.into_iter().flatten().collect();
    let tables = if lost.decisions > 0 { "; decisions are in the tables" } else { "" };
    message(Level::Warn, &format!("{} could not be written here{tables}", what.join(" and ")))
}
