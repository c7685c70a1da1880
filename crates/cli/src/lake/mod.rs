//! Opens lakes, wherever they are, with the leases of local streams and the configuration that go with them.

mod known;
mod local;
mod named;
#[cfg(feature = "aws")]
mod s3;
#[cfg(not(feature = "aws"))]
#[path = "no_s3.rs"]
mod s3;

pub use known::{application, fleet, leases_of, refuse_a_lost_lake};
pub use named::NamedLake;

use crate::output::{self, DecisionLines, tell};
use crate::rights;
use anyhow::{Context, Result, bail};
use authpulse_journal::Env;
use authpulse_journal::env::{Inspect, Probe, RandomIds, SystemClock, TokioWork};
use authpulse_journal::sink::{DecisionSink, FileSink, NoSink};
use authpulse_lake::lock::LockError;
use authpulse_lake::{CommitSettings, CommitterLock, Journal, Lake, LakeLock, ObjectStore, Shape, TablePointers};
use authpulse_settings::Options;
use authpulse_settings::config::{Config, Decisions};
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The version of the lake's layout that this program writes, and the newest that it reads.
const LAYOUT: u32 = 1;
/// The file that marks a place as a lake.
const MARKER: &str = "lake.json";

/// A maintenance that stops renewing its lock keeps it for this many times `lease_duration`: nobody is in a hurry to take it over.
const MAINTENANCE_LEASES: u32 = 3;

/// How long a consumer that an interrupted demo left behind may take to release the lake: it looks for its parent every 200 ms and then
/// stops as a service does.
pub const LET_GO: Duration = Duration::from_secs(25);
/// How often to check whether it has.
pub const LET_GO_POLL: Duration = Duration::from_millis(100);

/// Reads the configuration, or takes the defaults. From then on, new files get the rights that it sets.
///
/// # Errors
/// The file cannot be read, or has faults; the error lists all of them.
pub fn read_config(path: Option<&Path>) -> Result<Config> {
    let Some(path) = path else { return Ok(Config::default()) };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("configuration {} cannot be read", path.display()))?;
    let config = Config::parse(&text).map_err(|faults| {
        anyhow::anyhow!("configuration {} has {} fault(s):\n  {}", path.display(), faults.len(), faults.join("\n  "))
    })?;
    rights::set(config.group_read);
    Ok(config)
}

/// Warns if a lake, its stream or the file of decisions has other rights than new files will get.
pub fn tell_rights(location: &LakeLocation, stream: Option<&Path>, config: &Config) {
    let lake = if let LakeLocation::Local(dir) = location { Some(dir.as_path()) } else { None };
    let decisions = if let Decisions::File(path) = &config.decisions { Some(path.as_path()) } else { None };
    rights::tell(lake, stream.into_iter().chain(decisions), config.group_read);
}

fn sink(config: &Config) -> Result<Arc<dyn DecisionSink>> {
    Ok(match &config.decisions {
        Decisions::None => Arc::new(NoSink),
        Decisions::Log => Arc::new(DecisionLines { min_score: config.decisions_min_score }),
        Decisions::File(path) => {
            let file = FileSink::open(path, config.decisions_min_score);
            Arc::new(file.with_context(|| format!("decisions file {} cannot be opened", path.display()))?)
        }
    })
}

/// What a command does with a lake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access<'a> {
    /// It writes, and makes the lake if it is missing. A local lake that another process has is refused.
    Write(&'static str),
    /// It writes beside other processes that read the same input (the second value). As above, but a local lake is refused only if another
    /// process has it alone, or for another input.
    Share(&'static str, &'a str),
    /// It only reads a lake that must exist.
    Read,
}

/// Where a lake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LakeLocation {
    /// In a directory, with its catalog beside it.
    Local(PathBuf),
    /// On S3, with its tables in a Glue database.
    S3 {
        /// `s3://BUCKET/PREFIX`, without a `/` at its end.
        uri: String,
        /// The Glue database.
        database: String,
    },
}

/// The Glue database where none is named.
const DATABASE: &str = "authpulse";

impl LakeLocation {
    /// Reads `--lake` and `--catalog`.
    ///
    /// # Errors
    /// The two do not go together.
    pub fn new(lake: &Path, catalog: Option<&str>) -> Result<LakeLocation> {
        let uri = lake.to_str().filter(|text| text.contains("://"));
        match (uri, catalog) {
            (None, None) => Ok(LakeLocation::Local(lake.to_owned())),
            (None, Some(catalog)) => bail!(
                "--catalog {catalog} is for a lake on S3 (--lake s3://BUCKET/PREFIX); the lake {} has its own catalog",
                lake.display()
            ),
            (Some(uri), _) if !uri.starts_with("s3://") => {
                bail!("'{uri}' cannot be a lake: name a directory, or s3://BUCKET/PREFIX")
            }
            (Some(uri), None) => {
                bail!("the lake {uri} needs a catalog: add --catalog glue, or --catalog glue:DATABASE")
            }
            (Some(uri), Some(catalog)) => {
                let database = match catalog.split_once(':') {
                    None if catalog == "glue" => DATABASE,
                    Some(("glue", database)) if !database.is_empty() => database,
                    _ => bail!("'{catalog}' is no catalog: it is glue, or glue:DATABASE"),
                };
                Ok(LakeLocation::S3 { uri: uri.trim_end_matches('/').to_owned(), database: database.to_owned() })
            }
        }
    }

    /// Whether there is certainly no lake yet. A command that is refused by then leaves nothing behind.
    pub fn is_new(&self) -> bool {
        matches!(self, LakeLocation::Local(dir) if !dir.join(MARKER).exists())
    }

    /// The command-line arguments that name it.
    pub fn words(&self) -> Vec<OsString> {
        match self {
            LakeLocation::Local(dir) => vec!["--lake".into(), dir.into()],
            LakeLocation::S3 { uri, database } => {
                vec!["--lake".into(), uri.into(), "--catalog".into(), format!("glue:{database}").into()]
            }
        }
    }
}

impl fmt::Display for LakeLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LakeLocation::Local(dir) => dir.display().fmt(f),
            LakeLocation::S3 { uri, .. } => f.write_str(uri),
        }
    }
}

/// An open lake.
pub struct OpenLake {
    /// Everything the consumer needs.
    pub env: Env,
    /// The lock of the process that maintains the tables.
    pub maintenance: Arc<dyn CommitterLock>,
    /// The id in a local lake's marker, which no other lake has. None on S3, and if an older program made the lake and nobody has written
    /// to it since.
    id: Option<String>,
    /// Dropped before the lock: once that is released, no thread here works on the lake.
    _threads: EndOfWork,
    /// Held while a local lake is written to. On S3 there is none: the journal fences.
    _lock: Option<LakeLock>,
}

/// How long a command that ends waits for threads that still compute, or block in a file. With a service's 18 s, and the second for its
/// last lines, it is less than the 20 s after which the service is killed.
const END_OF_WORK: Duration = Duration::from_millis(500);

/// Ends the threads that store entries, while the runtime is still there.
struct EndOfWork(Arc<TokioWork>);

impl Drop for EndOfWork {
    fn drop(&mut self) {
        self.0.end(END_OF_WORK);
    }
}

/// The parts of a lake that differ between a directory and S3.
struct Parts {
    store: Arc<dyn ObjectStore>,
    journal: Arc<dyn Journal>,
    pointers: Arc<dyn TablePointers>,
    committer: Arc<dyn CommitterLock>,
    maintenance: Arc<dyn CommitterLock>,
    lock: Option<LakeLock>,
    id: Option<String>,
}

/// The name of this process in a lock, for people.
fn holder(access: Access<'_>) -> String {
    let command = match access {
        Access::Write(command) | Access::Share(command, _) => command,
        Access::Read => "authpulse",
    };
    format!("{command}, process {}", std::process::id())
}

/// Opens a lake.
///
/// # Errors
/// The lake is in use, missing, of a newer version, or cannot be reached or read; or the file of decisions cannot be opened.
pub async fn open(location: &LakeLocation, config: &Config, access: Access<'_>) -> Result<OpenLake> {
    let sink = match (access, location) {
        (Access::Read, _) => Arc::new(NoSink) as Arc<dyn DecisionSink>,
        // Both before the lake is made: a command that is refused begins none.
        (_, LakeLocation::Local(dir)) => {
            local::id_of(dir)?;
            sink(config)?
        }
        _ => sink(config)?,
    };
    let parts = match location {
        LakeLocation::Local(dir) => local::open(dir, config, access).await?,
        LakeLocation::S3 { uri, database } => s3::open(uri, database, config, access).await?,
    };
    let probe = crash_probe();
    let table_probe = probe.clone();
    let lake = Lake::new(parts.store.clone(), parts.pointers);
    let work = Arc::new(TokioWork::new().context("cannot start the threads that store entries")?);
    let commits = CommitSettings { gather_below: config.options.gather_below, ..CommitSettings::default() };
    let lake = lake.with_settings(commits).with_probe(Arc::new(move |point| table_probe(point, "")));
    let lake = lake.with_shape(Shape::default().with_rules(&config.options.engine.rules));
    let env = Env {
        store: parts.store,
        journal: parts.journal,
        lake: Arc::new(lake),
        committer: parts.committer,
        clock: Arc::new(SystemClock),
        ids: Arc::new(RandomIds),
        work: work.clone(),
        sink,
        probe,
        inspect: failing_inspect(),
    };
    Ok(OpenLake { env, maintenance: parts.maintenance, id: parts.id, _threads: EndOfWork(work), _lock: parts.lock })
}

/// Opens a lake that another process is about to release; gives up after [`LET_GO`], or once `stop` is true.
///
/// # Errors
/// As for [`open`].
pub async fn open_when_free(
    location: &LakeLocation,
    config: &Config,
    access: Access<'_>,
    stop: &watch::Receiver<bool>,
) -> Result<OpenLake> {
    let started = Instant::now();
    let mut told = false;
    loop {
        match open(location, config, access).await {
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

/// Makes an empty lake where there is none yet.
///
/// # Errors
/// The place holds something else than a lake, or cannot be written to.
pub async fn make(location: &LakeLocation, config: &Config) -> Result<()> {
    match location {
        LakeLocation::Local(dir) => local::make_directory(dir).await.map(|_| ()),
        LakeLocation::S3 { uri, database } => s3::open(uri, database, config, Access::Write("")).await.map(|_| ()),
    }
}

/// Checks the content of a lake's marker.
fn read_marker(text: &str, shown: &str) -> Result<serde_json::Value> {
    let marker: serde_json::Value =
        serde_json::from_str(text).with_context(|| format!("{shown} is damaged: restore it"))?;
    match marker["layout"].as_u64() {
        Some(layout) if layout <= u64::from(LAYOUT) => Ok(marker),
        Some(layout) => {
            bail!("{shown} has layout {layout}, this program reads up to {LAYOUT}: run a newer version of authpulse")
        }
        None => bail!("{shown} names no layout: restore it"),
    }
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
            tell!("AUTHPULSE_CRASH: ending at '{at}'");
            output::finish();
            std::process::abort();
        }
        assert!(!comes_to(&fail, at), "AUTHPULSE_FAIL_AT: failing at '{at}'");
    })
}

/// A variable's value in the form `POINT[@N]`, with N counting down.
fn named_point(variable: &str) -> Option<(String, AtomicU32)> {
    let wanted = std::env::var(variable).ok()?;
    Some(match wanted.rsplit_once('@') {
        Some((point, n)) => (point.to_owned(), AtomicU32::new(n.parse().unwrap_or(1))),
        None => (wanted, AtomicU32::new(1)),
    })
}

/// `AUTHPULSE_FAIL_ON=TEXT` panics on every record that holds the text, as a bug in admission would. For tests.
fn failing_inspect() -> Option<Inspect> {
    let text = std::env::var("AUTHPULSE_FAIL_ON").ok().filter(|text| !text.is_empty())?;
    Some(Arc::new(move |payload| {
        let holds = payload.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(!holds, "AUTHPULSE_FAIL_ON: failing on a record with '{text}'");
    }))
}

/// The options of a command.
pub fn options(config: &Config) -> Arc<Options> {
    Arc::new(config.options.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(not(feature = "aws"))]
    #[tokio::test]
    async fn a_build_without_aws_says_so() {
        let location = LakeLocation::new(Path::new("s3://b/p"), Some("glue")).unwrap();
        let told = open(&location, &Config::default(), Access::Read).await.err().unwrap().to_string();
        assert!(told.contains("built without AWS support: cargo build --release --features aws"), "{told}");
    }

    #[test]
    fn a_place_is_a_directory_or_s3_with_a_catalog() {
        let location = |lake: &str, catalog| LakeLocation::new(Path::new(lake), catalog);
        let s3 = |uri: &str, database: &str| LakeLocation::S3 { uri: uri.to_owned(), database: database.to_owned() };
        assert_eq!(location("./lake", None).unwrap(), LakeLocation::Local("./lake".into()));
        assert_eq!(location("s3://b/p/", Some("glue")).unwrap(), s3("s3://b/p", "authpulse"));
        assert_eq!(location("s3://b/p", Some("glue:soc")).unwrap(), s3("s3://b/p", "soc"));
        assert_eq!(s3("s3://b/p", "soc").words(), ["--lake", "s3://b/p", "--catalog", "glue:soc"]);
        for (lake, catalog, told) in [
            ("./lake", Some("glue"), "has its own catalog"),
            ("s3://b/p", None, "add --catalog glue"),
            ("s3://b/p", Some("glue:"), "it is glue, or glue:DATABASE"),
            ("s3://b/p", Some("hive"), "it is glue, or glue:DATABASE"),
            ("gs://b/p", Some("glue"), "name a directory, or s3://"),
        ] {
            let error = location(lake, catalog).unwrap_err().to_string();
            assert!(error.contains(told), "{lake} {catalog:?}: {error}");
        }
    }
}
