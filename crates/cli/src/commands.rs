//! What each command does, short of the demo.

use crate::args::{Backfill, Command, ConfigCommand, Replay, ReplayClock, Status, StreamCommand, Verify};
use crate::lake::{Access, Place, crash_probe, open, options, read_config, tell_rights};
use crate::output::{self, say, tell};
use crate::report::{rate, thousands};
use crate::signals::stop_signal;
use crate::stream::{self, kinesis};
use anyhow::{Context, Result, bail};
use authpulse_audit::status::{TooNew, status};
use authpulse_audit::verify::{VerifyOptions, verify};
use authpulse_engine::settings::ARRIVAL_SLACK;
use authpulse_event::ShardId;
use authpulse_event::time::{Span, format_rfc3339};
use authpulse_files::{self as input, InputError, SortOptions, Source, find_disorder};
use authpulse_journal::ConsumerError;
use authpulse_journal::env::{Clock as _, SystemClock};
use authpulse_journal::log::{Entries, read_base};
use authpulse_journal::open::{check_settings, open_lake};
use authpulse_lake::Seal;
use authpulse_producer::progress::ProgressReporter;
use authpulse_producer::replay::{self, Clock, Outcome, Pace, ReplayOptions, ReplaySummary, Surroundings, SystemPace};
use authpulse_service::backfill::{BackfillRequest, Sorting, check_files, nothing_accepted, prepare, refuse_disorder};
use authpulse_service::drive::{Ended, run_backfill};
use authpulse_stream::local::LocalStream;
use authpulse_stream::{CreateOptions, Stream, StreamWriter};
use futures::{StreamExt, TryStreamExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use tokio::sync::watch;

/// Runs a command; the code is that of the process.
///
/// # Errors
/// What failed, on which input, and what to do.
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
        Command::Replay(args) => run_replay(args).await,
        Command::Consume(args) => crate::consume::run(args).await,
        Command::Backfill(args) => run_backfill_command(args).await,
        Command::Verify(args) => run_verify(args).await,
        Command::Status(args) => run_status(args).await,
        Command::Tables(command) => crate::tables::run(command).await,
        Command::Config(args) => run_config(args).await,
        Command::Stream(args) => run_stream(args).await,
        Command::Leases(command) => crate::leases::run(command).await,
        Command::Redrive(args) => crate::redrive::run(args).await,
        Command::Followers(command) => crate::followers::run(command).await,
    }
}

async fn run_backfill_command(args: Backfill) -> Result<ExitCode> {
    if args.give_up {
        return crate::give_up::run(args).await;
    }
    let stop = stop_signal(None)?;
    let mut config = read_config(args.config.as_deref())?;
    config.options.raw = args.raw;
    let files: Vec<Source> = args.input.iter().map(|text| Source::parse(text)).collect();
    check_files(&files)?;
    let place = Place::new(&args.lake, args.catalog.as_deref())?;
    tell_rights(&place, None, &config);
    let options = options(&config);
    if place.is_new() && !args.sort {
        match refuse_disorder(&files, &options, SystemClock.now(), &stop) {
            Err(ConsumerError::Input(InputError::ToldToEnd)) => return told_to_end(),
            outcome => outcome?,
        }
    }
    if let Some(dir) = &args.sort_dir {
        SortOptions::new(dir, options.engine.time.base).check()?;
    }
    let lake = open(&place, &config, Access::Write("authpulse backfill")).await?;
    let sort = args.sort.then(|| sorting(&place, args.sort_dir, &files));
    let request = BackfillRequest { files, keep_open: args.keep_open, sort, stop: stop.clone() };
    let started = Instant::now();
    let run = match prepare(&lake.env, options.clone(), &request).await {
        Ok(run) => run,
        Err(ConsumerError::Input(InputError::ToldToEnd)) => return told_to_end(),
        Err(ConsumerError::NothingToDo(words)) => {
            say!("{words}")?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => return Err(error.into()),
    };
    if run.lines_stored > 0 {
        tell!("continuing: {} lines are stored already", thousands(run.lines_stored));
    }
    let mut progress = ProgressReporter::new("backfill", run.progress.total_bytes(), "bytes");
    let tally = run.tally.clone();
    let ended = run_backfill(run, &lake.env, &options, stop, |bytes| progress.update(bytes)).await?;
    progress.finish();
    let totals = totals(&lake.env, &options).await?;
    let seconds = started.elapsed().as_secs_f64();
    // Before the results: whoever reads those may have gone.
    print_warnings(&tally.lock().unwrap_or_else(PoisonError::into_inner).warnings());
    let all_rejected = ended == Ended::Complete && nothing_accepted(&lake.env).await?;
    let said = say!("{totals}").and_then(|()| say!("{:.1} s, {} events/s", seconds, rate(totals.received, seconds)));
    if all_rejected {
        bail!("{ALL_REJECTED}");
    }
    said?;
    if ended == Ended::Stopped {
        return told_to_end();
    }
    Ok(ExitCode::SUCCESS)
}

/// The orderly end of a command that was told to stop before its input was at its end.
fn told_to_end() -> Result<ExitCode> {
    say!("stopped; run the same command again to go on")?;
    Ok(ExitCode::SUCCESS)
}

/// How a run is sorted: beside the lake, whose disk has the room, unless told otherwise.
fn sorting(place: &Place, dir: Option<PathBuf>, files: &[Source]) -> Sorting {
    let dir = dir.unwrap_or_else(|| match place {
        Place::Local(dir) => dir.clone(),
        Place::S3 { .. } => SortOptions::system_dir(),
    });
    let (total, reporter) = (input::check(files).ok().flatten(), Mutex::new(None::<ProgressReporter>));
    let progress = move |bytes| {
        let mut reporter = reporter.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes {
            Some(bytes) => reporter.get_or_insert_with(|| ProgressReporter::new("sort", total, "bytes")).update(bytes),
            None => reporter.take().iter_mut().for_each(ProgressReporter::finish),
        }
    };
    Sorting { dir, progress: Arc::new(progress) }
}

/// Why a command fails whose input was read to its end.
pub const ALL_REJECTED: &str = "every record of the input is rejected; the lake is kept, its table auth_events_rejected says why for each, \
                                and a later file or stream goes on";

/// Tells what is to be said of an input.
pub fn print_warnings(lines: &[String]) {
    for line in lines {
        output::tell_at(output::Level::Warn, line);
    }
}

/// What a lake holds, summed over its journals.
pub struct Totals {
    pub received: u64,
    pub curated: u64,
    pub rejected: std::collections::BTreeMap<String, u64>,
    pub waiting: u64,
    pub unscored: u64,
    /// Attributes that had no value of their form and were left out.
    pub fields_dropped: u64,
    pub sealed: Option<Seal>,
}

impl Totals {
    fn add(
        &mut self,
        (received, curated, fields_dropped): (u64, u64, u64),
        rejected: std::collections::BTreeMap<String, u64>,
    ) {
        self.received += received;
        self.fields_dropped += fields_dropped;
        self.curated += curated;
        for (reason, n) in rejected {
            *self.rejected.entry(reason).or_default() += n;
        }
    }

    /// Whether every record is accounted for.
    pub fn adds_up(&self) -> bool {
        self.received == self.curated + self.rejected.values().sum::<u64>() + self.waiting + self.unscored
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rejected: u64 = self.rejected.values().sum();
        writeln!(f, "received  {:>15}", thousands(self.received))?;
        writeln!(f, "curated   {:>15}", thousands(self.curated))?;
        writeln!(f, "rejected  {:>15}", thousands(rejected))?;
        for (reason, n) in &self.rejected {
            writeln!(f, "  {reason:<10}{:>13}", thousands(*n))?;
        }
        if self.waiting + self.unscored > 0 {
            writeln!(
                f,
                "open      {:>15}  (waiting {}, not yet scored {})",
                thousands(self.waiting + self.unscored),
                self.waiting,
                self.unscored
            )?;
        }
        if self.fields_dropped > 0 {
            let n = thousands(self.fields_dropped);
            writeln!(f, "left out  {n:>15}  (attributes without a value of their form)")?;
        }
        let sum = if self.adds_up() {
            "received = curated + rejected + open: it adds up"
        } else {
            "IT DOES NOT ADD UP: run authpulse verify"
        };
        write!(f, "{sum}")?;
        if let Some(sealed) = self.sealed {
            write!(f, "\n{sealed}")?;
        }
        Ok(())
    }
}

/// Sums a lake's journals.
///
/// # Errors
/// An entry cannot be read.
pub async fn totals(env: &authpulse_journal::Env, options: &Arc<authpulse_settings::Options>) -> Result<Totals> {
    let mut totals = Totals {
        received: 0,
        curated: 0,
        rejected: Default::default(),
        waiting: 0,
        unscored: 0,
        fields_dropped: 0,
        sealed: None,
    };
    let opened = open_lake(env, options).await?;
    let leaves = opened.registry.leaves();
    for shard in env.journal.shards().await? {
        let base = read_base(env, &shard).await?;
        let mut entries = Entries::after(env, &shard, base.as_ref().map_or(0, |base| base.through));
        if let Some(base) = base {
            totals.add((base.received, base.curated, base.fields_dropped), base.rejected);
        }
        while let Some(some) = entries.next().await? {
            for counts in some.into_iter().map(|entry| entry.counts) {
                totals.add((counts.received, counts.curated, counts.fields_dropped), counts.rejected);
            }
        }
        if leaves.contains_key(&shard)
            && let Some(tail) = opened.tails.get(&shard)
        {
            totals.waiting += tail.counts.waiting;
            totals.unscored += tail.counts.unscored;
            totals.sealed = totals.sealed.max(tail.seal());
        }
    }
    Ok(totals)
}

async fn run_replay(args: Replay) -> Result<ExitCode> {
    let stop = stop_signal(None)?;
    let config = read_config(args.config.as_deref())?;
    let place = stream::Place::parse(&args.stream)?;
    let pace = match (args.rate, args.speed, args.max) {
        (_, _, true) => Pace::Max,
        (_, Some(speed), _) => Pace::Speed(speed),
        (Some(rate), _, _) => Pace::Rate(rate),
        _ if args.clock.is_some() => Pace::Speed(1.0),
        _ => Pace::default(),
    };
    let options = ReplayOptions {
        pace,
        max_events: args.max_events,
        batch_size: args.batch_size,
        close: args.close,
        base: config.options.engine.time.base,
        clock: args.clock.map_or(Clock::Input, |ReplayClock::Now| Clock::Now),
    };
    let sources: Vec<Source> = args.input.iter().map(|text| Source::parse(text)).collect();
    options.check()?;
    // A pipe has no size, and what is read from it is gone.
    if input::check(&sources)?.is_some() && sources.len() > 1 {
        let (time, at_most) =
            (&config.options.engine.time, SystemClock.now().as_arrival_bound().as_event_time() + ARRIVAL_SLACK);
        match find_disorder(&sources, time.base, time.tolerance, at_most, &|| !*stop.borrow()) {
            Err(InputError::ToldToEnd) => return told_to_end(),
            found => {
                if let Some(disorder) = found? {
                    tracing::warn!("{disorder} where the stream is read; name the files in order of time");
                }
            }
        }
    }
    let (summary, told) = match &place {
        stream::Place::Local(_) if args.no_aggregate || args.progress.is_some() => {
            bail!("--no-aggregate and --progress are for streams in Kinesis")
        }
        stream::Place::Local(dir) => {
            let create = CreateOptions { shards: args.shards, ..CreateOptions::default() };
            let stream = LocalStream::open_or_create(dir, create)?;
            (replay_into(sources, &stream, &options, stop).await?, None)
        }
        stream::Place::Kinesis(_) if args.close => bail!(
            "a stream in Kinesis cannot be closed: leave --close out, and seal the lake with `authpulse consume --seal`"
        ),
        stream::Place::Kinesis(name) => {
            let progress = args.progress.clone().or_else(|| beside(&sources));
            let writer = kinesis::Writer::open(name, !args.no_aggregate, progress.as_deref()).await?;
            (replay_into(sources, writer.stream(), &options, stop).await?, writer.told().await)
        }
    };
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
    let ended = match summary.outcome {
        Outcome::Complete => "complete",
        Outcome::AlreadyComplete => "this input was sent before; nothing was sent again",
        Outcome::LimitReached => "stopped at --max-events; the input has more",
        Outcome::Stopped if summary.resumable => "stopped; run the same command again to go on",
        Outcome::Stopped => "stopped; what was read from a pipe cannot be continued",
    };
    print_warnings(&summary.warnings);
    say!("{ended}{}", if summary.closed { "; the stream is closed" } else { "" })?;
    Ok(ExitCode::SUCCESS)
}

/// The directory of the first file; none where the input is a pipe, which nobody can continue.
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

async fn run_verify(args: Verify) -> Result<ExitCode> {
    let config = read_config(args.config.as_deref())?;
    let lake = open(&Place::new(&args.lake, args.catalog.as_deref())?, &config, Access::Read).await?;
    let reporter = Mutex::new(None::<ProgressReporter>);
    let options = VerifyOptions {
        rules: config.options.engine.rules.clone(),
        progress: Arc::new(move |done, total| {
            let mut reporter = reporter.lock().unwrap_or_else(PoisonError::into_inner);
            reporter.get_or_insert_with(|| ProgressReporter::new("verify", Some(total), "rows")).update(done);
        }),
    };
    let report = verify(&lake.env, &options).await?;
    drop(options);
    say!("{report}")?;
    Ok(if report.difference.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run_status(args: Status) -> Result<ExitCode> {
    let config = read_config(args.config.as_deref())?;
    let lake = open(&Place::new(&args.lake, args.catalog.as_deref())?, &config, Access::Read).await?;
    let (mut stream, mut leases) = (None, None);
    if let Some(text) = &args.stream {
        let place = stream::Place::parse(text)?;
        if let (stream::Place::Local(_), Some(_)) = (&place, &args.app) {
            bail!("--app is for streams in Kinesis: the leases of an embedded one are of its lake");
        }
        stream = Some(open_to_look(&place).await?);
        leases = crate::leases::find(&place, args.app.as_deref(), Some(&lake.env.store.uri(""))).await?;
    }
    let store = leases.as_ref().map(|leases| leases.store());
    let status = status(&lake.env, stream.as_deref(), store).await?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&status)?)?;
    } else {
        say!("{status}")?;
    }
    match status.formats.too_new.first() {
        // All that can be read was shown.
        Some(TooNew { name, what }) => bail!("{name} is too new for this program: {what}"),
        None => Ok(ExitCode::SUCCESS),
    }
}

async fn run_config(command: ConfigCommand) -> Result<ExitCode> {
    match command {
        ConfigCommand::Show { config } => say!("{}", read_config(config.as_deref())?.show().trim_end())?,
        ConfigCommand::Check { config: path, lake, catalog } => {
            let config = read_config(Some(&path))?;
            if let Some(dir) = lake {
                let place = Place::new(&dir, catalog.as_deref())?;
                let lake = open(&place, &config, Access::Read).await?;
                for shard in lake.env.journal.shards().await? {
                    if let Some(tail) = authpulse_journal::log::read_tail(&lake.env, &shard).await? {
                        check_settings(&tail.time_rules, &config.options.engine)?;
                    }
                }
                say!("the lake {place} can go on with it")?;
            }
            say!("{} is valid (rule_set {})", path.display(), config.options.engine.rules.digest())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_stream(command: StreamCommand) -> Result<ExitCode> {
    match command {
        StreamCommand::Create { stream, shards, on_demand, retention_hours } => {
            let place = stream::Place::parse(&stream.text())?;
            match &place {
                stream::Place::Local(_) if on_demand => bail!("--on-demand is for streams in Kinesis"),
                stream::Place::Local(dir) => {
                    let retention = Span::hours(retention_hours.unwrap_or(168).into());
                    LocalStream::create(dir, CreateOptions { shards, retention, ..CreateOptions::default() })?;
                }
                stream::Place::Kinesis(_) if retention_hours.is_some() => bail!(
                    "a stream in Kinesis is made with a retention of 24 hours: leave --retention-hours out, and lengthen it with \
                     `aws kinesis increase-stream-retention-period`"
                ),
                stream::Place::Kinesis(name) => kinesis::create(name, (!on_demand).then_some(shards)).await?,
            }
            describe(&*open_to_look(&place).await?, Look::Shards).await?;
        }
        StreamCommand::Describe { stream } => {
            let place = stream::Place::parse(&stream.text())?;
            describe(&*open_to_look(&place).await?, Look::Tips).await?;
            if let stream::Place::Kinesis(name) = &place {
                say!("{}", kinesis::particulars(name).await?)?;
            }
        }
        StreamCommand::Deregister { stream, app } => {
            let stream = stream.text();
            match stream::Place::parse(&stream)? {
                stream::Place::Local(_) => bail!("consumers are registered on streams in Kinesis"),
                stream::Place::Kinesis(name) => {
                    kinesis::deregister(&name, &app).await?;
                    say!("{app} is deregistered from {stream}")?;
                }
            }
        }
        StreamCommand::Split { stream, shard } => {
            let place = stream::Place::parse(&stream)?;
            let opened = open_to_look(&place).await?;
            let id = ShardId::new(&shard);
            let shards = opened.shards().await?;
            let found = shards
                .iter()
                .find(|s| s.id == id)
                .with_context(|| format!("there is no shard '{shard}': `authpulse stream describe` names them"))?;
            match &place {
                stream::Place::Local(dir) => drop(LocalStream::open(dir)?.split(&id, stream::middle(found)).await?),
                stream::Place::Kinesis(name) => kinesis::split(name, found).await?,
            }
            describe(&*opened, Look::Shards).await?;
        }
        StreamCommand::Merge { stream, left, right } => {
            let place = stream::Place::parse(&stream)?;
            let (left, right) = (ShardId::new(left), ShardId::new(right));
            match &place {
                stream::Place::Local(dir) => drop(LocalStream::open(dir)?.merge(&left, &right).await?),
                stream::Place::Kinesis(name) => kinesis::merge(name, &left, &right).await?,
            }
            describe(&*open_to_look(&place).await?, Look::Shards).await?;
        }
        StreamCommand::Close { stream } => match stream::Place::parse(&stream.text())? {
            stream::Place::Local(dir) => {
                let stream = LocalStream::open(dir)?;
                stream.close().await?;
                describe(&stream, Look::Tips).await?;
            }
            stream::Place::Kinesis(name) => bail!(
                "kinesis:{name} cannot be closed: seal its lake with `authpulse consume --seal`, or delete the stream with \
                 `authpulse stream delete`"
            ),
        },
        StreamCommand::Delete { stream, yes: _ } => match stream::Place::parse(&stream.text())? {
            stream::Place::Local(dir) => bail!("an embedded stream is deleted with its directory, {}", dir.display()),
            stream::Place::Kinesis(name) => {
                kinesis::delete(&name).await?;
                say!("kinesis:{name} is deleted")?;
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

/// A stream that exists, to look at.
pub async fn open_to_look(place: &stream::Place) -> Result<Box<dyn Stream>> {
    Ok(match place {
        stream::Place::Local(dir) => Box::new(LocalStream::open(dir)?),
        stream::Place::Kinesis(name) => Box::new(kinesis::Reader::open(name).await?.stream()),
    })
}

/// Tips that are looked for at the same time.
const TIPS_AT_ONCE: usize = 16;

/// How closely a stream is described.
#[derive(Clone, Copy)]
enum Look {
    /// Its shards.
    Shards,
    /// And the newest record of each, for which shards are read.
    Tips,
}

async fn describe(stream: &dyn Stream, look: Look) -> Result<()> {
    let description = stream.describe().await?;
    say!(
        "stream '{}', created {}, {}",
        description.name,
        format_rfc3339(description.created),
        if description.closed { "closed" } else { "open" }
    )?;
    let shards = stream.shards().await?;
    let tips = match look {
        Look::Tips => {
            let tips = shards.iter().map(|shard| stream.tip(&shard.id));
            futures::stream::iter(tips).buffered(TIPS_AT_ONCE).map_ok(Some).try_collect().await?
        }
        Look::Shards => vec![None; shards.len()],
    };
    for (shard, tip) in shards.iter().zip(tips) {
        let parents: Vec<&str> = shard.parents.iter().map(ShardId::as_str).collect();
        say!(
            "{} {} {:<6}{}{}",
            shard.id,
            shard.range,
            if shard.closed { "closed" } else { "open" },
            tip.map_or(String::new(), |tip| format!(" tip {tip}")),
            if parents.is_empty() { String::new() } else { format!(" from {}", parents.join(", ")) }
        )?;
    }
    Ok(())
}
