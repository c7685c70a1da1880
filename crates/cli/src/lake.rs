//! Opening a local lake and a local stream, and the configuration that goes with them.

use anyhow::{Context, Result, bail};
use authpulse_consumer::config::{Config, Decisions};
use authpulse_consumer::env::{Ids, Inspect, Probe, RandomIds, SystemClock, TokioWork};
use authpulse_consumer::sink::{DecisionSink, FileSink, LogSink, NoSink};
use authpulse_consumer::{Env, Options};
use authpulse_lake::lock::LockError;
use authpulse_lake::{FileCommitterLock, Lake, LakeLock, LocalStore, SqliteCatalog, SqliteJournal};
use authpulse_lease::{Fleet, LocalLeases};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The version of the lake's layout that this program writes, and the newest that it reads.
const LAYOUT: u32 = 1;
/// The file that marks a directory as a lake.
const MARKER: &str = "lake.json";

/// How long a consumer that an interrupted demo left behind may take to let go of the lake: it looks for its parent every
/// 200 ms and then stops as a service does.
pub const LET_GO: Duration = Duration::from_secs(25);
/// How often to look whether it has.
pub const LET_GO_POLL: Duration = Duration::from_millis(100);

/// Reads the configuration, or takes the defaults.
///
/// # Errors
/// The file cannot be read, or everything that is wrong with it.
pub fn read_config(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else { return Ok(Config::default()) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("configuration {} cannot be read", path.display()))?;
    Config::parse(&text).map_err(|faults| {
        anyhow::anyhow!("configuration {} has {} fault(s):\n  {}", path.display(), faults.len(), faults.join("\n  "))
    })
}

fn sink(config: &Config) -> Result<Arc<dyn DecisionSink>> {
    Ok(match &config.decisions {
        Decisions::None => Arc::new(NoSink),
        Decisions::Log => Arc::new(LogSink { min_score: config.decisions_min_score }),
        Decisions::File(path) => {
            let file = FileSink::open(path, config.decisions_min_score);
            Arc::new(file.with_context(|| format!("decisions file {} cannot be opened", path.display()))?)
        }
    })
}

/// What a command does with a lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It writes: makes the lake if it is missing and refuses one that another process has.
    Write(&'static str),
    /// It writes beside others that do the same: as above, but refuses only one that another process has alone.
    Share(&'static str),
    /// It only reads a lake that must exist.
    Read,
}

/// An open lake.
pub struct OpenLake {
    /// Everything the consumer needs.
    pub env: Env,
    /// Held while the lake is written to.
    _lock: Option<LakeLock>,
}

/// Opens the lake in a directory.
///
/// # Errors
/// It is in use, of a newer version, no lake, or cannot be read.
pub fn open(dir: &Path, config: &Config, access: Access) -> Result<OpenLake> {
    let (lock, sink) = match access {
        Access::Write(command) | Access::Share(command) => {
            check_marker(dir, true)?;
            // Before the lake is made: one that is refused is not begun.
            let sink = sink(config)?;
            make_lake_directory(dir)?;
            let shared = matches!(access, Access::Share(_));
            let lock = if shared { LakeLock::share(dir, command)? } else { LakeLock::acquire(dir, command)? };
            (Some(lock), sink)
        }
        Access::Read => {
            check_marker(dir, false)?;
            (None, Arc::new(NoSink) as Arc<dyn DecisionSink>)
        }
    };
    let dir = std::path::absolute(dir)?;
    let store = Arc::new(LocalStore::open(&dir)?);
    let journal = Arc::new(SqliteJournal::open(dir.join("journal.db"))?);
    let catalog = Arc::new(SqliteCatalog::open(dir.join("catalog.db"))?);
    let probe = crash_probe();
    let table_probe = probe.clone();
    let lake = Lake::new(store.clone(), catalog).with_probe(Arc::new(move |point| table_probe(point, "")));
    let env = Env {
        store,
        journal,
        lake: Arc::new(lake),
        committer: Arc::new(FileCommitterLock::new(&dir)),
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        work: Arc::new(TokioWork),
        sink,
        probe,
        inspect: failing_inspect(),
    };
    Ok(OpenLake { env, _lock: lock })
}

/// Opens a lake that another process is about to let go of; gives up after [`LET_GO`], or once `stop` holds true.
///
/// # Errors
/// As for [`open`].
pub async fn open_when_free(
    dir: &Path,
    config: &Config,
    access: Access,
    stop: &watch::Receiver<bool>,
) -> Result<OpenLake> {
    let started = Instant::now();
    let mut told = false;
    loop {
        match open(dir, config, access) {
            Err(error) if is_held(&error) && started.elapsed() < LET_GO && !*stop.borrow() => {
                if !told {
                    tracing::info!("waiting: {error}");
                    told = true;
                }
                tokio::time::sleep(LET_GO_POLL).await;
            }
            outcome => return outcome,
        }
    }
}

/// Whether an error says that another process has the lake.
fn is_held(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(LockError::Held { .. }))
}

fn check_marker(dir: &Path, may_be_missing: bool) -> Result<()> {
    LocalStore::check_name(dir)?;
    let path = dir.join(MARKER);
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let marker: serde_json::Value =
                serde_json::from_str(&text).with_context(|| format!("{} is damaged: restore it", path.display()))?;
            match marker["layout"].as_u64() {
                Some(layout) if layout <= u64::from(LAYOUT) => Ok(()),
                Some(layout) => bail!(
                    "lake {} has layout {layout}, this program reads up to {LAYOUT}: run a newer version of authpulse",
                    dir.display()
                ),
                None => bail!("{} names no layout: restore it", path.display()),
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A marker that was being written when the process ended is no lake yet.
            let unmade = |e: std::fs::DirEntry| e.file_name().to_string_lossy().starts_with(MARKER);
            let is_empty = !dir.exists() || std::fs::read_dir(dir)?.all(|e| e.is_ok_and(unmade));
            if may_be_missing && is_empty {
                Ok(())
            } else if dir.exists() && !is_empty {
                bail!(
                    "{} is not a lake (it has no {MARKER}), and it is not empty: name another directory",
                    dir.display()
                )
            } else {
                bail!(
                    "there is no lake at {}: make one with `authpulse backfill` or `authpulse consume`",
                    dir.display()
                )
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(error).with_context(|| format!("{} is damaged: restore it", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("lake {}: {MARKER} cannot be read", dir.display())),
    }
}

/// Makes sure that a directory is a lake, or makes it one where it is missing or empty.
///
/// # Errors
/// It is something else, of a newer version, or cannot be written to.
pub fn make_lake_directory(dir: &Path) -> Result<()> {
    check_marker(dir, true)?;
    std::fs::create_dir_all(dir).with_context(|| format!("lake {} cannot be made", dir.display()))?;
    make_marker(dir)
}

fn make_marker(dir: &Path) -> Result<()> {
    let path = dir.join(MARKER);
    if !path.exists() {
        let text = format!("{{\"what\":\"AuthPulse lake\",\"layout\":{LAYOUT}}}\n");
        let temporary = dir.join(format!("{MARKER}.new"));
        let write = std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, &path));
        write.with_context(|| format!("lake {} cannot be written to", dir.display()))?;
    }
    Ok(())
}

/// `AUTHPULSE_CRASH=POINT[@N]` ends the process, without any clean-up, the Nth time it comes to a named point, and
/// `AUTHPULSE_FAIL_AT=POINT[@N]` panics there. For tests; the names are in CONTRIBUTING.md.
pub fn crash_probe() -> Probe {
    let (crash, fail) = (named_point("AUTHPULSE_CRASH"), named_point("AUTHPULSE_FAIL_AT"));
    if crash.is_none() && fail.is_none() {
        return Arc::new(|_, _| {});
    }
    let comes_to = |named: &Option<(String, AtomicU32)>, at: &str| {
        named.as_ref().is_some_and(|(point, left)| at == point && left.fetch_sub(1, Ordering::SeqCst) == 1)
    };
    Arc::new(move |at, _| {
        if comes_to(&crash, at) {
            eprintln!("AUTHPULSE_CRASH: ending at '{at}'");
            std::process::abort();
        }
        assert!(!comes_to(&fail, at), "AUTHPULSE_FAIL_AT: failing at '{at}'");
    })
}

/// What a variable holds in the form `POINT[@N]`, with N counting down.
fn named_point(variable: &str) -> Option<(String, AtomicU32)> {
    let wanted = std::env::var(variable).ok()?;
    Some(match wanted.rsplit_once('@') {
        Some((point, n)) => (point.to_owned(), AtomicU32::new(n.parse().unwrap_or(1))),
        None => (wanted, AtomicU32::new(1)),
    })
}

/// `AUTHPULSE_FAIL_ON=TEXT` panics on every record that holds the text, as a bug in judging would. For tests.
fn failing_inspect() -> Option<Inspect> {
    let text = std::env::var("AUTHPULSE_FAIL_ON").ok().filter(|text| !text.is_empty())?;
    Some(Arc::new(move |payload| {
        let holds = payload.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!holds, "AUTHPULSE_FAIL_ON: failing on a record with '{text}'");
    }))
}

/// The directory of `local:DIR`.
///
/// # Errors
/// If it is not of that form.
pub fn local_stream(text: &str) -> Result<PathBuf> {
    match text.split_once(':') {
        Some(("local", dir)) if !dir.is_empty() => Ok(PathBuf::from(dir)),
        _ => bail!("'{text}' is not a stream such as local:DIR"),
    }
}

/// This worker's part in the leases of a local stream's shards, for one lake.
///
/// # Errors
/// The leases beside the stream cannot be read or written.
pub fn fleet(stream: &Path, lake: &Env, options: &Options) -> Result<Fleet> {
    // Leases are for one application of the stream, and a lake has one consumer of a stream, of however many workers.
    let application = lake.store.uri("");
    let worker = RandomIds.commit_id();
    let leases = LocalLeases::open(stream, &application, &worker)?;
    Ok(Fleet::new(Arc::new(leases), worker, options.leases))
}

/// The leases of a local stream's shards, for one lake, to look at; none where no worker has ever run.
///
/// # Errors
/// They cannot be read.
pub fn leases_of(stream: &Path, lake: &Env) -> Result<Option<LocalLeases>> {
    if !LocalLeases::exist(stream) {
        return Ok(None);
    }
    Ok(Some(LocalLeases::open(stream, &lake.store.uri(""), &RandomIds.commit_id())?))
}

/// The options of a command.
pub fn options(config: &Config) -> Arc<Options> {
    Arc::new(config.options.clone())
}
