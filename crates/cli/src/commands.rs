//! Which module runs which command.

use crate::args::Command;
use crate::output;
use anyhow::Result;
use std::process::ExitCode;

/// Runs a command and returns the exit code of the process.
///
/// # Errors
/// The error of the command that ran. Its text names what failed, on which input, and what to do.
pub async fn run(command: Command) -> Result<ExitCode> {
    let (stream, app) = match &command {
        Command::Consume(args) => (Some(&args.stream), args.app.as_ref()),
        Command::Replay(args) => (Some(&args.stream), None),
        Command::Redrive(args) => (Some(&args.stream), None),
        Command::Status(args) => (args.stream.as_ref(), args.app.as_ref()),
        _ => (None, None),
    };
    output::set_from(|from| (from.stream, from.app) = (stream.cloned(), app.cloned()));
    match command {
        Command::Demo(args) => crate::demo::run(args).await,
        Command::Generate(args) => crate::generate::run(&args),
        Command::Evaluate(args) => crate::evaluate::run(args).await,
        Command::Replay(args) => crate::replay::run(args).await,
        Command::Consume(args) => crate::consume::run(args).await,
        Command::Backfill(args) => crate::backfill::run(args).await,
        Command::Verify(args) => crate::verify::run(args).await,
        Command::Status(args) => crate::status::run(args).await,
        Command::Tables(command) => crate::tables::run(command).await,
        Command::Config(args) => crate::config::run(args).await,
        Command::Stream(args) => crate::stream_command::run(args).await,
        Command::Leases(command) => crate::leases::run(command).await,
        Command::Redrive(args) => crate::redrive::run(args).await,
        Command::Followers(command) => crate::followers::run(command).await,
    }
}
