//! `authpulse replay`: sends the lines of files into a stream.

use crate::args::{Replay, ReplayClock};
use crate::lake::{crash_probe, read_config};
use crate::output::{print_warnings, say};
use crate::report::{rate, thousands};
use crate::signals::{ended_early, stop_signal};
use crate::stream::{self, kinesis};
use anyhow::{Result, bail};
use authpulse_engine::settings::ARRIVAL_SLACK;
use authpulse_event::EventTime;
use authpulse_event::time::format_rfc3339;
use authpulse_files::{self as input, InputError, Source, find_disorder};
use authpulse_journal::env::{Clock as _, SystemClock};
use authpulse_producer::progress::ProgressReporter;
use authpulse_producer::replay::{self, Clock, Outcome, Pace, ReplayOptions, ReplaySummary, Surroundings, SystemPace};
use authpulse_settings::config::Config;
use authpulse_stream::local::LocalStream;
use authpulse_stream::{CreateOptions, StreamWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::sync::watch;

/// The target of log lines. Operators may filter by it, so it stays what it was before this was a module of its own.
const TARGET: &str = "authpulse::commands";

/// Runs `authpulse replay`.
///
/// # Errors
/// The options do not go together, a file or the stream cannot be used, or the results cannot be written.
pub async fn run(args: Replay) -> Result<ExitCode> {
    let stop = stop_signal(None)?;
    let config = read_config(args.config.as_deref())?;
    let location = stream::StreamLocation::parse(&args.stream)?;
    let options = options(&args, config.options.engine.time.base);
    let sources: Vec<Source> = args.input.iter().map(|text| Source::parse(text)).collect();
    options.check()?;
    match warn_of_disorder(&sources, &config, &stop) {
        Err(InputError::ToldToEnd) => return ended_early(),
        outcome => outcome?,
    }
    let (summary, told) = send(&args, &location, sources, &options, stop).await?;
    tell(&summary, told)?;
    Ok(ExitCode::SUCCESS)
}

/// How the input is sent, as the command line says it.
fn options(args: &Replay, base: EventTime) -> ReplayOptions {
    let pace = match (args.rate, args.speed, args.max) {
        (_, _, true) => Pace::Max,
        (_, Some(speed), _) => Pace::Speed(speed),
        (Some(rate), _, _) => Pace::Rate(rate),
        _ if args.clock.is_some() => Pace::Speed(1.0),
        _ => Pace::default(),
    };
    ReplayOptions {
        pace,
        max_events: args.max_events,
        batch_size: args.batch_size,
        close: args.close,
        base,
        clock: args.clock.map_or(Clock::Input, |ReplayClock::Now| Clock::Now),
    }
}

/// Reads all files, and warns if they are not in order of time. A pipe is left out: it has no size, and what is read from it is gone.
fn warn_of_disorder(sources: &[Source], config: &Config, stop: &watch::Receiver<bool>) -> Result<(), InputError> {
    if input::check(sources)?.is_none() || sources.len() < 2 {
        return Ok(());
    }
    let (time, at_most) =
        (&config.options.engine.time, SystemClock.now().as_arrival_bound().as_event_time() + ARRIVAL_SLACK);
    if let Some(disorder) = find_disorder(sources, time.base, time.tolerance, at_most, &|| !*stop.borrow())? {
        tracing::warn!(target: TARGET, "{disorder} where the stream is read; name the files in order of time");
    }
    Ok(())
}

/// Replays into the stream that was named. For one in Kinesis, also returns in words what it took.
async fn send(
    args: &Replay,
    location: &stream::StreamLocation,
    sources: Vec<Source>,
    options: &ReplayOptions,
    stop: watch::Receiver<bool>,
) -> Result<(ReplaySummary, Option<String>)> {
    match location {
        stream::StreamLocation::Local(_) if args.no_aggregate || args.progress.is_some() => {
            bail!("--no-aggregate and --progress are for streams in Kinesis")
        }
        stream::StreamLocation::Local(dir) => {
            let create = CreateOptions { shards: args.shards, ..CreateOptions::default() };
            let stream = LocalStream::open_or_create(dir, create)?;
            Ok((replay_into(sources, &stream, options, stop).await?, None))
        }
        stream::StreamLocation::Kinesis(_) if args.close => bail!(
            "a stream in Kinesis cannot be closed: leave --close out, and seal the lake with `authpulse consume --seal`"
        ),
        stream::StreamLocation::Kinesis(name) => {
            let progress = args.progress.clone().or_else(|| beside(&sources));
            let writer = kinesis::Writer::open(name, !args.no_aggregate, progress.as_deref()).await?;
            Ok((replay_into(sources, writer.stream(), options, stop).await?, writer.told().await))
        }
    }
}

/// Prints what a replay has sent, and how it ended.
fn tell(summary: &ReplaySummary, told: Option<String>) -> Result<()> {
    if let Some(line) = summary.resumed_from {
        say!("continued after line {}", thousands(line))?;
    }
    let (run, seconds) = (summary.run, summary.elapsed.as_secs_f64());
    say!(
        "sent {} records ({} of them do not parse) of {} lines in {seconds:.1} s, {} records/s",
        thousands(run.records()),
        thousands(run.unparsed),
        thousands(run.lines),
        rate(run.records(), seconds)
    )?;
    say!("{} records of this input are in the stream", thousands(summary.job.records()))?;
    if let Some(shift) = summary.shift {
        say!(
            "event times are shifted: {} became {}, distances are divided by {}",
            format_rfc3339(shift.first),
            format_rfc3339(shift.start),
            shift.speed
        )?;
    }
    if let Some(told) = told {
        say!("{told}")?;
    }
    print_warnings(&summary.warnings);
    let closed = if summary.closed { "; the stream is closed" } else { "" };
    say!("{}{closed}", how_it_ended(summary.outcome, summary.resumable))?;
    Ok(())
}

fn how_it_ended(outcome: Outcome, resumable: bool) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::AlreadyComplete => "this input was sent before; nothing was sent again",
        Outcome::LimitReached => "stopped at --max-events; the input has more",
        Outcome::Stopped if resumable => "stopped; run the same command again to go on",
        Outcome::Stopped => "stopped; what was read from a pipe cannot be continued",
    }
}

/// The directory of the first file; none for a pipe, since that cannot be continued.
fn beside(sources: &[Source]) -> Option<PathBuf> {
    match sources.first()? {
        Source::File(path) => Some(match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        }),
        _ => None,
    }
}

/// Replays with progress on the terminal.
///
/// # Errors
/// The input or the stream fails.
pub async fn replay_into(
    sources: Vec<Source>,
    stream: &dyn StreamWriter,
    options: &ReplayOptions,
    stop: watch::Receiver<bool>,
) -> Result<ReplaySummary> {
    let mut reporter: Option<ProgressReporter> = None;
    let mut show = |status: replay::Status| {
        let reporter = reporter.get_or_insert_with(|| {
            let mut reporter = ProgressReporter::new("replay", status.estimated_records(), "records");
            reporter.start_at(status.job.records());
            reporter
        });
        if let Some(total) = status.estimated_records() {
            reporter.set_total(total);
        }
        reporter.update(status.job.records());
    };
    let probe = crash_probe();
    let around = Surroundings {
        clock: &SystemPace::default(),
        stop,
        probe: &move |point| probe(point, ""),
        progress: &mut show,
    };
    let summary = replay::replay(sources.into(), stream, options, around).await?;
    if let Some(mut reporter) = reporter {
        reporter.finish();
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command};
    use clap::Parser;

    fn pace(words: &[&str]) -> Pace {
        let all = [&["authpulse", "replay", "--input", "f", "--stream", "local:s"], words].concat();
        let Ok(Args { command: Command::Replay(args), .. }) = Args::try_parse_from(all) else {
            panic!("{words:?} is no replay")
        };
        options(&args, EventTime::default()).pace
    }

    #[test]
    fn the_pace_is_the_one_that_is_given_and_that_of_events_where_their_times_are_now() {
        assert_eq!(pace(&[]), Pace::default());
        assert_eq!(pace(&["--rate", "7"]), Pace::Rate(7.0));
        assert_eq!(pace(&["--max"]), Pace::Max);
        assert_eq!(pace(&["--clock", "now"]), Pace::Speed(1.0));
        assert_eq!(pace(&["--clock", "now", "--speed", "60"]), Pace::Speed(60.0));
    }
}
