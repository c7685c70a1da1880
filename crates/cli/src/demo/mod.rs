//! The demo: the whole path on one machine, with a second process as the consumer.
//!
//! ```text
//! this process:  generate --> events.txt --> replay (max) --> stream --.         .--> figures, riskiest users
//! second process:                                            consume --+--> lake
//! ```
//!
//! Everything it makes lies in the lake's directory. A plan that is written first and marked done last lets it continue.

mod findings;
mod plan;

use crate::args::Demo;
use crate::commands::{ALL_REJECTED, print_warnings, totals};
use crate::generate::ForDemo;
use crate::lake::{Access, LET_GO, LET_GO_POLL, Place, make, open, options, read_config};
use crate::output::{self, say, tell};
use crate::report::{rate, thousands};
use crate::signals::stop_signal;
use anyhow::{Context, Result, bail};
use authpulse_files::{self as input, Source};
use authpulse_lake::LakeLock;
use authpulse_producer::replay::{Outcome, Pace, ReplayOptions, ReplaySummary};
use authpulse_settings::config::Config;
use authpulse_stream::CreateOptions;
use authpulse_stream::local::LocalStream;
use plan::Plan;
use std::ffi::OsStr;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::watch;

const DEFAULT_EVENTS: u64 = 1_000_000;
/// How often it is looked whether the consumer has ended.
const CONSUMER_POLL: Duration = Duration::from_millis(20);

/// Where the demo's own files are within the lake.
struct Paths {
    events: PathBuf,
    labels: PathBuf,
    stream: PathBuf,
    plan: PathBuf,
}

impl Paths {
    /// Below a local lake; for one on S3 in a directory here that is named after it.
    fn new(place: &Place) -> Result<Paths> {
        let dir = match place {
            Place::Local(lake) => lake.join("demo"),
            Place::S3 { uri, .. } => {
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
/// What failed, and what to do.
pub async fn run(args: Demo) -> Result<ExitCode> {
    let place = match Place::new(&args.lake, args.catalog.as_deref())? {
        Place::Local(dir) => Place::Local(std::path::absolute(dir)?),
        place => place,
    };
    let paths = Paths::new(&place)?;
    let config_path = args.config.as_deref().map(std::path::absolute).transpose()?;
    // Before anything is made or removed, as for the input below.
    let config = read_config(config_path.as_deref())?;
    match &place {
        Place::Local(lake) if args.fresh => remove_demo(lake, &paths)?,
        Place::S3 { uri, .. } if args.fresh => {
            bail!("--fresh removes no lake on S3: name another prefix than {uri}, or remove it yourself")
        }
        _ => {}
    }
    // Before anything is made: a mistyped name or number must not leave a half-made demo behind.
    match &args.input {
        Some(path) => input::check(&[Source::File(path.clone())]).map(drop)?,
        None => to_generate(&Plan::new(&args)).check()?,
    }
    let plan = match Plan::read(&paths.plan)? {
        Some(plan) if plan.done => {
            bail!(
                "the demo's lake {} exists and is complete; look into it:\n{}\nor begin anew with --fresh, or with another --lake",
                args.lake.display(),
                next_commands(&args, &paths)
            )
        }
        Some(plan) => {
            plan.check_same_input(&args)?;
            tell!("continuing the interrupted demo in {}", args.lake.display());
            plan
        }
        None => {
            make(&place, &config).await?;
            let plan = Plan::new(&args);
            plan.write(&paths.plan)?;
            plan
        }
    };
    if let Place::Local(lake) = &place {
        wait_for_lake(lake).await?;
    }
    let started = Instant::now();
    let input = prepare_input(&plan, &paths)?;
    let generated = started.elapsed();

    let create = CreateOptions { name: "demo".to_owned(), shards: plan.shards, ..CreateOptions::default() };
    let stream = LocalStream::open_or_create(&paths.stream, create)?;
    let running = Instant::now();
    let mut stop = stop_signal(None)?;
    let mut consumer = start_consumer(&place, &paths, config_path.as_deref())?;
    let replayed = replay(&plan, input, &stream, &config, stop.clone()).await;
    let replayed_in = running.elapsed();
    let stopped = replayed.as_ref().is_ok_and(|summary| summary.outcome == Outcome::Stopped);
    if stopped || replayed.is_err() {
        // The consumer sees that its parent ends, or is stopped here, and stores what it has decided.
        end_child(&mut consumer);
    }
    let replayed = replayed.context("replaying into the embedded stream failed; run the demo again to continue")?;
    let status = match stopped {
        true => None,
        false => wait_for_consumer(&mut consumer, &mut stop).await?,
    };
    let Some(status) = status else {
        say!("stopped; run the same command again to continue")?;
        return Ok(ExitCode::SUCCESS);
    };
    if !status.success() {
        bail!("the consumer ended with {status}; what it stored is kept: run the demo again to continue");
    }
    let took = running.elapsed();
    let Shown { words, complete, all_rejected } =
        result(&args, &config, &place, &paths, &plan, &replayed, generated, replayed_in, took).await?;
    // Before it is printed: whoever reads may have gone.
    if complete {
        Plan { done: true, ..plan }.write(&paths.plan)?;
    }
    say!("{words}")?;
    if complete {
        say!("\nNext:\n{}", next_commands(&args, &paths))?;
    }
    if complete && all_rejected {
        bail!("{ALL_REJECTED}");
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// Waits until a consumer of an interrupted demo has let go of the lake. (One that had not taken it yet when its demo was
/// killed may do so after this look: the consumer that is started here waits again.)
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

fn start_consumer(place: &Place, paths: &Paths, config: Option<&Path>) -> Result<Child> {
    let program = std::env::current_exe().context("this program's own path cannot be found")?;
    Command::new(program)
        .args(output::line::format().words())
        .arg("consume")
        .arg("--stream")
        .arg(format!("local:{}", paths.stream.display()))
        .args(place.words())
        .arg("--with-parent")
        .arg(std::process::id().to_string())
        .args(config.into_iter().flat_map(|config| [OsStr::new("--config"), config.as_os_str()]))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("the consumer process cannot be started")
}

/// Waits for its end; none if this process was told to stop first, which ends it.
async fn wait_for_consumer(consumer: &mut Child, stop: &mut watch::Receiver<bool>) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = consumer.try_wait()? {
            return Ok(Some(status));
        }
        if *stop.borrow_and_update() {
            end_child(consumer);
            return Ok(None);
        }
        tokio::select! {
            () = tokio::time::sleep(CONSUMER_POLL) => {}
            _ = stop.changed() => {}
        }
    }
}

fn end_child(child: &mut Child) {
    // It may have ended by itself; then there is nothing to kill. What it stored stays, whatever the instant.
    let _ = child.kill();
    let _ = child.wait();
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
    crate::commands::replay_into(vec![Source::File(input)], stream, &options, stop).await
}

/// What a demo shows at its end.
struct Shown {
    words: String,
    /// Whether all of the input is in the tables.
    complete: bool,
    all_rejected: bool,
}

#[expect(clippy::too_many_arguments, reason = "the figures of one run, printed once")]
async fn result(
    args: &Demo,
    config: &Config,
    place: &Place,
    paths: &Paths,
    plan: &Plan,
    replayed: &ReplaySummary,
    generated: Duration,
    replayed_in: Duration,
    took: Duration,
) -> Result<Shown> {
    let open = open(place, config, Access::Read).await?;
    let totals = totals(&open.env, &options(config)).await?;
    let mut out = String::new();
    writeln!(out, "AuthPulse demo: {}\n", args.lake.display())?;
    if plan.input.is_none() {
        writeln!(out, "generated in {:.1} s: {}", generated.as_secs_f64(), paths.events.display())?;
    }
    writeln!(
        out,
        "replayed {} records in {:.1} s, landed after {:.1} s: {} events/s end to end\n",
        thousands(replayed.job.records()),
        replayed_in.as_secs_f64(),
        took.as_secs_f64(),
        rate(replayed.run.records(), took.as_secs_f64())
    )?;
    writeln!(out, "{totals}")?;
    let missing = entries_missing_in_tables(&open.env).await?;
    if missing > 0 {
        writeln!(out, "{missing} journal entries are not in the tables yet: run the demo again")?;
    }
    if totals.received != replayed.job.records() {
        writeln!(
            out,
            "{} records were replayed, {} were received: run `authpulse verify`",
            replayed.job.records(),
            totals.received
        )?;
    }
    let findings = findings::collect(&open.env, &config.options.engine, findings::read_labels(&paths.labels)?).await?;
    write!(out, "\n{findings}")?;
    print_warnings(&replayed.warnings);
    let complete = missing == 0
        && totals.adds_up()
        && totals.waiting + totals.unscored == 0
        && totals.received == replayed.job.records();
    Ok(Shown { words: out, complete, all_rejected: totals.received > 0 && totals.curated == 0 })
}

/// Entries that a table does not hold yet, at most over all tables.
async fn entries_missing_in_tables(env: &authpulse_journal::Env) -> Result<u64> {
    let mut missing = 0;
    for table in env.lake.made_tables().await? {
        let applied = env.lake.load(table).await?.applied()?;
        for shard in env.journal.shards().await? {
            let tail = env.journal.tail(&shard).await?.unwrap_or(0);
            missing = missing.max(tail - applied.get(&shard).copied().unwrap_or(0));
        }
    }
    Ok(missing)
}

fn next_commands(args: &Demo, paths: &Paths) -> String {
    let lake = args.lake.display();
    let stream = paths.stream.display();
    let config = args.config.as_ref().map_or(String::new(), |path| format!(" --config {}", path.display()));
    if let Some(catalog) = &args.catalog {
        let lake = format!("{lake} --catalog {catalog}");
        return format!(
            "  authpulse verify --lake {lake}{config}     # audit journal and tables, row by row\n  \
               authpulse status --lake {lake} --stream local:{stream}{config}\n  \
               docs/aws.md                         # the same tables through Athena, PyIceberg and DuckDB"
        );
    }
    let labels = paths.labels.display();
    let evaluate = match args.input {
        Some(_) => String::new(),
        None => format!(
            "  authpulse evaluate --lake {lake} --labels {labels}  # what so many alerts a day catch of the attacks\n"
        ),
    };
    format!(
        "  authpulse verify --lake {lake}{config}                    # audit journal and tables, row by row\n  \
           authpulse status --lake {lake} --stream local:{stream}{config}\n{evaluate}  \
           python3 docs/examples/riskiest_users.py {lake}     # the same tables through PyIceberg and DuckDB\n  \
           authpulse backfill --input FILE --lake ./history  # your own file, straight into a lake\n  \
         (authpulse is target/release/authpulse, or: cargo run --release -- …)"
    )
}
