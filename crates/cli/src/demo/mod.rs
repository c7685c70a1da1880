//! The demo: the whole path on one machine, with a second process as the consumer.
//!
//! ```text
//! this process:  generate --> events.txt --> replay (max) --> stream --.         .--> figures, riskiest users
//! second process:                                            consume --+--> lake
//! ```
//!
//! Everything it makes lies in the lake's directory; for a lake on S3, the demo's own files lie in `authpulse-demo` in the working
//! directory. The plan is written first and marked done last, so that an interrupted demo can continue.

mod consumer;
mod findings;
mod plan;
mod result;

use crate::args::Demo;
use crate::generate::ForDemo;
use crate::lake::{LET_GO, LET_GO_POLL, LakeLocation, make, read_config};
use crate::output::{say, tell};
use crate::replay::replay_into;
use crate::signals::stop_signal;
use crate::totals::ALL_REJECTED;
use anyhow::{Context, Result, bail};
use authpulse_files::{self as input, Source};
use authpulse_lake::LakeLock;
use authpulse_producer::replay::{Outcome, Pace, ReplayOptions, ReplaySummary};
use authpulse_settings::config::Config;
use authpulse_stream::CreateOptions;
use authpulse_stream::local::LocalStream;
use consumer::Consumer;
use plan::Plan;
use result::{Run, Shown, next_commands, result};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use tokio::sync::watch;

const DEFAULT_EVENTS: u64 = 1_000_000;

/// Where the demo's own files are.
struct Paths {
    events: PathBuf,
    labels: PathBuf,
    stream: PathBuf,
    plan: PathBuf,
}

impl Paths {
    /// Within a local lake; for one on S3 in `authpulse-demo` in the working directory, under a name made of its URI.
    fn new(location: &LakeLocation) -> Result<Paths> {
        let dir = match location {
            LakeLocation::Local(lake) => lake.join("demo"),
            LakeLocation::S3 { uri, .. } => {
                let name = uri.trim_start_matches("s3://").replace('/', "-");
                std::path::absolute(Path::new("authpulse-demo").join(name))?
            }
        };
        Ok(Paths::within(&dir))
    }

    fn within(dir: &Path) -> Paths {
        Paths {
            events: dir.join("events.txt"),
            labels: dir.join("labels.csv"),
            stream: dir.join("stream"),
            plan: dir.join("plan.json"),
        }
    }
}

/// Runs the demo, or the rest of an interrupted one.
///
/// # Errors
/// The lake belongs to a complete demo or to something else, the input cannot be read, the consumer fails, every record was rejected, or
/// the results cannot be written.
pub async fn run(args: Demo) -> Result<ExitCode> {
    let location = match LakeLocation::new(&args.lake, args.catalog.as_deref())? {
        LakeLocation::Local(dir) => LakeLocation::Local(std::path::absolute(dir)?),
        location => location,
    };
    let paths = Paths::new(&location)?;
    let config_path = args.config.as_deref().map(std::path::absolute).transpose()?;
    // Before anything is made or removed, as for the input.
    let config = read_config(config_path.as_deref())?;
    let plan = begin(&args, &location, &paths, &config).await?;
    if let LakeLocation::Local(lake) = &location {
        wait_for_lake(lake).await?;
    }
    let started = Instant::now();
    let input = prepare_input(&plan, &paths)?;
    let generated = started.elapsed();
    let Some(run) = replay_and_consume(&location, &paths, &plan, input, &config, config_path.as_deref()).await? else {
        say!("stopped; run the same command again to continue")?;
        return Ok(ExitCode::SUCCESS);
    };
    let Shown { words, complete, all_rejected } =
        result(&args, &config, &location, &paths, &plan, generated, &run).await?;
    // Before it is printed: the reader may be gone by then.
    let plan = Plan { done: complete, ..plan };
    if complete {
        plan.write(&paths.plan)?;
    }
    say!("{words}")?;
    if complete {
        say!("\nNext:\n{}", next_commands(&args, &plan, &paths))?;
    }
    if complete && all_rejected {
        bail!("{ALL_REJECTED}");
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The plan of this demo: that of an interrupted one in the same lake, or a new one from the command line, for which a lake is made.
async fn begin(args: &Demo, location: &LakeLocation, paths: &Paths, config: &Config) -> Result<Plan> {
    match location {
        LakeLocation::Local(lake) if args.fresh => remove_demo(lake, paths)?,
        LakeLocation::S3 { uri, .. } if args.fresh => {
            bail!("--fresh removes no lake on S3: name another prefix than {uri}, or remove it yourself")
        }
        _ => {}
    }
    // Before anything is made: a mistyped name or number must not leave a half-made demo behind.
    match &args.input {
        Some(path) => input::check(&[Source::File(path.clone())]).map(drop)?,
        None => to_generate(&Plan::new(args)).check()?,
    }
    match Plan::read(&paths.plan)? {
        Some(plan) if plan.done => {
            bail!(
                "the demo's lake {} exists and is complete; look into it:\n{}\nor begin anew with --fresh, or with another --lake",
                args.lake.display(),
                next_commands(args, &plan, paths)
            )
        }
        Some(plan) => {
            plan.check_same_input(args)?;
            tell!("continuing the interrupted demo in {}", args.lake.display());
            Ok(plan)
        }
        None => {
            make(location, config).await?;
            let plan = Plan::new(args);
            plan.write(&paths.plan)?;
            Ok(plan)
        }
    }
}

/// Sends the input into the stream while another process stores it in the lake; none if this process was told to stop.
async fn replay_and_consume(
    location: &LakeLocation,
    paths: &Paths,
    plan: &Plan,
    input: PathBuf,
    config: &Config,
    config_path: Option<&Path>,
) -> Result<Option<Run>> {
    let create = CreateOptions { name: "demo".to_owned(), shards: plan.shards, ..CreateOptions::default() };
    let stream = LocalStream::open_or_create(&paths.stream, create)?;
    let running = Instant::now();
    let mut stop = stop_signal(None)?;
    let mut consumer = Consumer::start(location, &paths.stream, config_path)?;
    let replayed = replay(plan, input, &stream, config, stop.clone()).await;
    let replayed_in = running.elapsed();
    let stopped = replayed.as_ref().is_ok_and(|summary| summary.outcome == Outcome::Stopped);
    if stopped || replayed.is_err() {
        // Ends the consumer too. What it has stored stays, and the next run goes on from there.
        consumer.end();
    }
    let replayed = replayed.context("replaying into the embedded stream failed; run the demo again to continue")?;
    let status = match stopped {
        true => None,
        false => consumer.wait(&mut stop).await?,
    };
    let Some(status) = status else { return Ok(None) };
    if !status.success() {
        bail!("the consumer ended with {status}; what it stored is kept: run the demo again to continue");
    }
    Ok(Some(Run { replayed, replayed_in, took: running.elapsed() }))
}

/// Removes a lake that the demo made, and nothing else.
fn remove_demo(lake: &Path, paths: &Paths) -> Result<()> {
    if !lake.exists() {
        return Ok(());
    }
    let empty = std::fs::read_dir(lake)?.next().is_none();
    if !empty && !paths.plan.exists() {
        bail!("{} was not made by the demo, so --fresh does not remove it: name another --lake", lake.display());
    }
    let lock = LakeLock::acquire(lake, "authpulse demo --fresh")?;
    // The plan goes last: an interrupted removal can be repeated.
    for entry in std::fs::read_dir(lake)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name != "demo") {
            if path.is_dir() { std::fs::remove_dir_all(&path)? } else { std::fs::remove_file(&path)? }
        }
    }
    drop(lock);
    std::fs::remove_dir_all(lake).with_context(|| format!("{} cannot be removed", lake.display()))
}

/// Waits until the consumer of an interrupted demo has released the lake. (A consumer that had not taken it yet when its demo was killed
/// may take it after this check: the consumer that is started here waits again.)
async fn wait_for_lake(lake: &Path) -> Result<()> {
    let started = Instant::now();
    loop {
        match LakeLock::acquire(lake, "authpulse demo") {
            Ok(_) => return Ok(()),
            Err(error) if started.elapsed() > LET_GO => return Err(error.into()),
            Err(_) => tokio::time::sleep(LET_GO_POLL).await,
        }
    }
}

fn to_generate(plan: &Plan) -> ForDemo {
    ForDemo::new(plan.profile, plan.events.unwrap_or(DEFAULT_EVENTS), plan.seed, plan.attacks)
}

/// The file to replay: the user's, or a generated one. A file that was cut short by an interruption is made again.
fn prepare_input(plan: &Plan, paths: &Paths) -> Result<PathBuf> {
    if let Some(input) = &plan.input {
        return Ok(input.clone());
    }
    if !paths.events.exists() {
        let part = paths.events.with_extension("part");
        to_generate(plan).write(&part, &paths.labels)?;
        std::fs::rename(&part, &paths.events).context("the generated file cannot be renamed")?;
    }
    Ok(paths.events.clone())
}

async fn replay(
    plan: &Plan,
    input: PathBuf,
    stream: &LocalStream,
    config: &Config,
    stop: watch::Receiver<bool>,
) -> Result<ReplaySummary> {
    let options = ReplayOptions {
        pace: Pace::Max,
        max_events: plan.input.as_ref().and(plan.events),
        close: true,
        base: config.options.engine.time.base,
        ..ReplayOptions::default()
    };
    replay_into(vec![Source::File(input)], stream, &options, stop).await
}
