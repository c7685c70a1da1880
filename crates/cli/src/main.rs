//! `authpulse`: one binary over the crates; this crate only wires them together.

mod args;
mod backfill;
mod commands;
mod config;
mod consume;
mod demo;
mod evaluate;
mod followers;
mod generate;
mod give_up;
mod interval;
mod lake;
mod leases;
mod logging;
mod maintenance_turn;
mod output;
mod redrive;
mod remedy;
mod replay;
mod report;
mod rights;
mod signals;
mod status;
mod stop_request;
mod stream;
mod stream_command;
mod tables;
mod totals;
mod verify;

use authpulse_journal::env::{Ids, RandomIds};
use clap::Parser;
use output::{Level, LogFormat, ResultsLost};
use std::ffi::OsString;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code that a shell shows for an end by SIGPIPE.
const READER_GONE: u8 = 141;
/// The exit code where the command line, or a variable of the environment, cannot be used.
const USAGE: u8 = 2;
/// The exit code after a bug, as the standard library has it.
const PANICKED: u8 = 101;

fn main() -> ExitCode {
    // Before there is any other thread.
    rights::set(false);
    signals::start();
    output::start();
    let code = std::panic::catch_unwind(AssertUnwindSafe(run)).unwrap_or(ExitCode::from(PANICKED));
    output::finish();
    code
}

fn run() -> ExitCode {
    // Faults of the command line are reported in the form that it asks for.
    if asks_for_json(std::env::args_os()) {
        output::set_format(LogFormat::Json);
    }
    output::set_from(|from| {
        from.worker = Some(RandomIds.commit_id());
        from.host = Some(rustix::system::uname().nodename().to_string_lossy().into_owned());
    });
    let args = match args::Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            signals::let_through();
            return told_by_clap(&error);
        }
    };
    if !args.command.ends_in_order() {
        signals::let_through();
    }
    output::set_format(args.log_format);
    if let Err(words) = logging::start(args.log_format) {
        output::tell_at(Level::Error, &words);
        return ExitCode::from(USAGE);
    }
    output::progress_lines(args.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::tell_at(
                Level::Error,
                &format!(
                    "cannot start threads: {error}; see how many files and threads it may have (`ulimit -n`, `ulimit -u`)"
                ),
            );
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(commands::run(args.command)).unwrap_or_else(|error| code_of(&error));
    // What still runs by then, such as a commit that a stop gave up, may be ended at any instant.
    runtime.shutdown_background();
    code
}

/// Reports why a command failed. The reader of its results may have stopped reading (`authpulse status | head`): that is no error, since
/// everything that a command was to store is stored before it prints.
fn code_of(error: &anyhow::Error) -> ExitCode {
    match ResultsLost::of(error) {
        Some(lost) if lost.is_unread() => ExitCode::from(READER_GONE),
        _ => {
            output::tell_error(error);
            ExitCode::FAILURE
        }
    }
}

/// `--help` and `--version` are results, everything else is an error.
fn told_by_clap(error: &clap::Error) -> ExitCode {
    let words = error.render();
    if !error.use_stderr() {
        let words = match std::io::IsTerminal::is_terminal(&std::io::stdout()) && output::may_be_coloured() {
            true => words.ansi().to_string(),
            false => words.to_string(),
        };
        return match output::results::write(words) {
            Ok(()) => ExitCode::SUCCESS,
            Err(lost) => code_of(&lost.into()),
        };
    }
    match (output::line::format(), output::has_colours()) {
        (LogFormat::Text, true) => output::tell_as_is(words.ansi().to_string()),
        (LogFormat::Text, false) => output::tell_as_is(words.to_string()),
        (LogFormat::Json, _) => {
            let words = words.to_string();
            output::tell_at(Level::Error, words.trim_end().trim_start_matches("error: "));
        }
    }
    ExitCode::from(USAGE)
}

/// Whether `--log-format json` is on a command line, which may have faults elsewhere.
fn asks_for_json(words: impl Iterator<Item = OsString>) -> bool {
    let words: Vec<OsString> = words.collect();
    let (name, value) = ("--log-format", "json");
    words.iter().any(|word| *word == *format!("{name}={value}"))
        || words.windows(2).any(|two| two[0] == name && two[1] == value)
}
