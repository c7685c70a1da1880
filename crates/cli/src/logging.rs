//! The log: which lines are written, and how they look. It goes to standard error, by way of [`crate::output`].

use crate::output::json::JsonLines;
use crate::output::{LogFormat, LogLine, has_colours};
use std::ffi::OsStr;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The variable that holds the filter.
const VARIABLE: &str = "AUTHPULSE_LOG";
/// What is logged where it is not set.
const DEFAULT: &str = "warn";
/// The target of the lines that say when a service began and ended. No filter hides them.
pub const SERVICE: &str = "authpulse::service";

/// Names the crates that this program may be built of. A target in the filter must begin with one of them.
const LOCK: &str = include_str!("../../../Cargo.lock");

/// Starts logging.
///
/// # Errors
/// The filter is not UTF-8, or names something that is no level and no crate of this build; the error says which, in words.
pub fn start(format: LogFormat) -> Result<(), String> {
    let filter = filter(std::env::var_os(VARIABLE).as_deref())?;
    // Failures to log are not reported: the library would do so with a print that panics where standard error takes nothing.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| LogLine).log_internal_errors(false);
    match format {
        LogFormat::Text => builder.with_target(false).with_ansi(has_colours()).init(),
        LogFormat::Json => builder.with_ansi(false).event_format(JsonLines).init(),
    }
    Ok(())
}

fn filter(text: Option<&OsStr>) -> Result<EnvFilter, String> {
    let text = text.unwrap_or_default();
    let wrong = |why: String| format!("{VARIABLE}='{}' cannot be used: {why}", text.to_string_lossy());
    let Some(readable) = text.to_str() else { return Err(wrong("it is not UTF-8".to_owned())) };
    let pieces: Vec<&str> = readable.split(',').map(str::trim).filter(|piece| !piece.is_empty()).collect();
    for piece in &pieces {
        if let Some(target) = target(piece)
            && !begins_with_a_crate(target)
        {
            return Err(wrong(format!(
                "'{target}' is neither a level (off, error, warn, info, debug, trace) nor does it begin with a crate of this build, as \
                 authpulse, authpulse_consumer and authpulse_lake do"
            )));
        }
    }
    let text = if pieces.is_empty() { DEFAULT.to_owned() } else { pieces.join(",") };
    let parsed = EnvFilter::builder().parse(text).map_err(|_| {
        wrong("give a level (off, error, warn, info, debug, trace), CRATE=LEVEL, or several of these, with commas between".to_owned())
    })?;
    let service = format!("{SERVICE}=info").parse().expect("it is a directive");
    Ok(parsed.add_directive(service))
}

/// The target that a directive names, if it names one.
fn target(directive: &str) -> Option<&str> {
    let name = directive.split(['=', '[']).next().unwrap_or_default();
    let is_level = name.len() == directive.len() && name.parse::<LevelFilter>().is_ok();
    (!is_level && !name.is_empty()).then_some(name)
}

/// Crate names that log targets kept when their code moved to other crates, so that filters keep their meaning.
const KEPT: &[&str] = &["authpulse_consumer"];

fn begins_with_a_crate(target: &str) -> bool {
    let first = target.split("::").next().unwrap_or_default();
    if KEPT.contains(&first) {
        return true;
    }
    let mut packages = LOCK.lines().filter_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'));
    packages.any(|name| name.replace('-', "_") == first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn a_filter_that_would_hide_lines_by_mistake_is_refused() {
        let refused = |text: &[u8]| filter(Some(OsStr::from_bytes(text))).err();
        for fine in [
            "",
            " ",
            ",",
            "off",
            "WARN",
            "3",
            "info,authpulse_consumer=debug",
            "warn, authpulse_lease=trace",
            "authpulse::decision=info",
            "authpulse_consumer",
            "iceberg=off",
            "info,hyper=warn,rustls=warn,tokio::task=trace",
            "authpulse_lake=debug",
            "[commit]=info",
            "authpulse_consumer[commit]=info",
        ] {
            assert_eq!(refused(fine.as_bytes()), None, "{fine}");
        }
        for (wrong, names) in [
            (&b"wran"[..], "'wran' is neither a level"),
            (b"info,wran", "'wran' is neither a level"),
            (b"warning", "'warning' is neither a level"),
            (b"authpuls=info", "'authpuls' is neither"),
            (b"authpulse_consumers::drive", "'authpulse_consumers::drive'"),
            (b"toki=debug", "authpulse_lake"),
            (b"warn=authpulse", "'warn'"),
            (b"authpulse=wran", "CRATE=LEVEL"),
            (b"=", "CRATE=LEVEL"),
            (b"9", "'9'"),
            (b"\xff", "not UTF-8"),
        ] {
            let told = refused(wrong).unwrap_or_default();
            assert!(told.contains(names) && told.starts_with("AUTHPULSE_LOG='"), "{wrong:?}: {told}");
        }
    }

    #[test]
    fn the_start_of_a_service_is_told_whatever_the_filter() {
        for text in ["", "off", "authpulse=off"] {
            let shown = filter(Some(OsStr::new(text))).expect("it is one").to_string();
            assert!(shown.contains("authpulse::service=info"), "{shown}");
        }
    }
}
