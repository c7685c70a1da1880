//! Logs go to standard error; results go to standard output.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging; `AUTHPULSE_LOG` holds a filter such as `warn` or `authpulse_consumer=debug`.
pub fn start(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env("AUTHPULSE_LOG").unwrap_or_else(|_| EnvFilter::new("warn,authpulse::decision=info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
}
