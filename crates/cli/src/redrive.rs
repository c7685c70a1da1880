//! `authpulse redrive`: puts dead letters into a stream again.

use crate::args::Redrive;
use crate::lake::{Access, open, read_config};
use crate::output::say;
use crate::report::thousands;
use crate::signals::stop_signal;
use crate::stream::{StreamLocation, kinesis};
use anyhow::{Result, bail};
use authpulse_service::redrive::{REDRIVABLE, RedriveOptions, redrive};
use authpulse_stream::LocalStream;
use std::path::Path;
use std::process::ExitCode;

/// Runs the command.
///
/// # Errors
/// The options do not go together; the configuration, the lake or the stream cannot be used; or the results cannot be written.
pub async fn run(args: Redrive) -> Result<ExitCode> {
    let stop = stop_signal(None)?;
    let config = read_config(args.config.as_deref())?;
    let location = StreamLocation::parse(&args.stream)?;
    if matches!(location, StreamLocation::Local(_)) && (args.no_aggregate || args.progress.is_some()) {
        bail!("--no-aggregate and --progress are for streams in Kinesis");
    }
    let options = RedriveOptions {
        reasons: REDRIVABLE.into_iter().filter(|reason| args.reason.iter().any(|name| name == reason.name())).collect(),
        since: args.since,
        until: args.until,
        dry_run: args.dry_run,
        base: config.options.engine.time.base,
    };
    let lake = open(&args.lake.location()?, &config, Access::Read).await?;
    let done = match &location {
        StreamLocation::Local(dir) => redrive(&lake.env, &LocalStream::open(dir)?, &options, &stop).await?,
        StreamLocation::Kinesis(name) => {
            let progress = args.progress.as_deref().unwrap_or(Path::new("."));
            let writer = kinesis::Writer::open(name, !args.no_aggregate, Some(progress)).await?;
            redrive(&lake.env, writer.stream(), &options, &stop).await?
        }
    };
    for name in &done.named {
        say!("not put: {name}")?;
    }
    let unsent = done.shortened + done.no_event;
    if unsent > done.named.len() as u64 {
        say!("not put: and {} more", thousands(unsent - done.named.len() as u64))?;
    }
    let found: Vec<String> = done.found.iter().map(|(reason, n)| format!("{} {reason}", thousands(*n))).collect();
    say!("found       {}", if found.is_empty() { "no dead letter".to_owned() } else { found.join(", ") })?;
    say!("{} {}", if args.dry_run { "would put  " } else { "put        " }, thousands(done.sent))?;
    say!("put before  {}", thousands(done.sent_before))?;
    say!("shortened   {} (a dead letter keeps the first 64 KiB)", thousands(done.shortened))?;
    say!("no event    {}", thousands(done.no_event))?;
    if done.stopped {
        say!("stopped; run the same command again to go on")?;
    }
    Ok(ExitCode::SUCCESS)
}
