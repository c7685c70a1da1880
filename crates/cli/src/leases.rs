//! `authpulse leases`: which worker works on which shard, and how to take leases from workers that are gone.

use crate::args::{LeasesCommand, LeasesOf};
use crate::lake::{Access, LakeLocation, OpenLake, application, leases_of, open, read_config};
use crate::output::{say, tell};
use crate::stream::{StreamLocation, kinesis, open_to_look};
use anyhow::{Result, bail};
use authpulse_event::ShardId;
use authpulse_journal::log::read_tail;
use authpulse_journal::open::journal_key;
use authpulse_lease::operate::{Released, alive, release, reset};
use authpulse_lease::{Lease, LeaseStore, LocalLeases};
use authpulse_settings::config::Config;
use authpulse_stream::{Stream, StreamDescription};
use serde::Serialize;
use std::fmt;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How often the counters of leases are read while they are watched.
const LOOK: Duration = Duration::from_secs(1);

/// Leases that exist.
pub enum Leases {
    /// Beside an embedded stream.
    Local(LocalLeases),
    /// In DynamoDB.
    Kinesis(kinesis::Leases),
}

impl Leases {
    /// The store that has them.
    pub fn store(&self) -> &dyn LeaseStore {
        match self {
            Leases::Local(leases) => leases,
            Leases::Kinesis(leases) => leases.store(),
        }
    }
}

/// The leases of a stream: for an embedded stream those of a lake, where `lake` is its name in leases; for one in Kinesis those of an
/// application. None if that is not named, or no worker has ever run.
///
/// # Errors
/// The leases cannot be read, or the stream in Kinesis cannot be reached.
pub async fn find(stream: &StreamLocation, app: Option<&str>, lake: Option<&str>) -> Result<Option<Leases>> {
    Ok(match (stream, app, lake) {
        (StreamLocation::Local(dir), _, Some(lake)) => leases_of(dir, lake)?.map(Leases::Local),
        (StreamLocation::Kinesis(name), Some(app), _) => {
            Some(Leases::Kinesis(kinesis::KinesisReader::open(name).await?.leases(app).await?))
        }
        (StreamLocation::Local(_), _, None) | (StreamLocation::Kinesis(_), None, _) => None,
    })
}

/// What a command works on.
struct LeaseTarget {
    stream: Box<dyn Stream>,
    description: StreamDescription,
    leases: Leases,
    lake: Option<OpenLake>,
    /// How long a lease may go without being renewed.
    duration: Duration,
}

/// The one lake that an embedded stream was read into, as its leases call it.
fn only_lake(stream: &Path) -> Result<String> {
    let mut lakes = LocalLeases::applications(stream)?;
    match (lakes.pop(), lakes.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => bail!("there are no leases of {}: no worker has run yet", stream.display()),
        (Some(last), false) => bail!(
            "name the lake whose leases are meant with --lake; the stream was read into {} and {last}",
            lakes.join(", ")
        ),
    }
}

impl LeaseTarget {
    /// As [`LeaseTarget::open`]; but the lake of an embedded stream may be gone, and need not be named if there is only one.
    async fn open_to_reset(of: &LeasesOf) -> Result<LeaseTarget> {
        let StreamLocation::Local(dir) = StreamLocation::parse(&of.stream)? else { return LeaseTarget::open(of).await };
        if of.app.is_some() {
            return LeaseTarget::open(of).await;
        }
        let config = read_config(of.config.as_deref())?;
        let stream = open_to_look(&StreamLocation::Local(dir.clone())).await?;
        let named = of.lake.as_ref().map(|lake| LakeLocation::new(lake, of.catalog.as_deref())).transpose()?;
        let lake = match &named {
            None => None,
            Some(location) => match open(location, &config, Access::Read).await {
                Ok(lake) => Some(lake),
                Err(error) => {
                    tell!("the lake is not looked into: {error:#}");
                    None
                }
            },
        };
        let name = named.as_ref().map_or_else(|| only_lake(&dir), application)?;
        let Some(leases) = leases_of(&dir, &name)? else {
            bail!("there are no leases of {}: no worker of this lake has run yet", of.stream)
        };
        LeaseTarget::of(stream, Leases::Local(leases), lake, &config).await
    }

    async fn of(
        stream: Box<dyn Stream>,
        leases: Leases,
        lake: Option<OpenLake>,
        config: &Config,
    ) -> Result<LeaseTarget> {
        let description = stream.describe().await?;
        let micros = u64::try_from(config.options.leases.duration).unwrap_or(0);
        Ok(LeaseTarget { stream, description, leases, lake, duration: Duration::from_micros(micros) })
    }

    async fn open(of: &LeasesOf) -> Result<LeaseTarget> {
        let config = read_config(of.config.as_deref())?;
        let location = StreamLocation::parse(&of.stream)?;
        match (&location, &of.app, &of.lake) {
            (StreamLocation::Local(_), Some(_), _) => {
                bail!(
                    "--app is for streams in Kinesis: the leases of an embedded one are of its lake, name that with --lake"
                )
            }
            (StreamLocation::Local(_), _, None) => bail!("name the lake whose leases are meant with --lake"),
            (StreamLocation::Kinesis(_), None, _) => {
                bail!(
                    "name the application whose leases are meant with --app: it is the name of their table in DynamoDB"
                )
            }
            _ => {}
        }
        let stream = open_to_look(&location).await?;
        let lake = match &of.lake {
            Some(dir) => Some(open(&LakeLocation::new(dir, of.catalog.as_deref())?, &config, Access::Read).await?),
            None => None,
        };
        let name = lake.as_ref().map(|lake| lake.env.store.uri(""));
        let Some(leases) = find(&location, of.app.as_deref(), name.as_deref()).await? else {
            bail!("there are no leases of {}: no worker of this lake has run yet", of.stream)
        };
        LeaseTarget::of(stream, leases, lake, &config).await
    }

    /// The stream's name for the shard of a lease; the key itself, if the lease is not of this stream.
    fn shard_of<'a>(&self, key: &'a str) -> &'a str {
        let suffix = journal_key(&self.description, &ShardId::new("")).to_string();
        key.strip_suffix(&suffix).unwrap_or(key)
    }

    /// How far the lake's journal of a shard goes: a position, and the number of its last entry.
    async fn journal(&self, key: &str) -> Result<Option<(String, u64)>> {
        let Some(lake) = &self.lake else { return Ok(None) };
        Ok(match read_tail(&lake.env, &ShardId::new(key)).await? {
            Some(tail) => Some((tail.position()?.to_string(), tail.n)),
            None => None,
        })
    }

    /// Refuses while a leader of KCL 3 is alive: it assigns leases by its own rules, and nothing is changed under its hands.
    async fn refuse_a_living_leader(&self) -> Result<()> {
        match &self.leases {
            Leases::Local(_) => Ok(()),
            Leases::Kinesis(leases) => leases.refuse_a_living_leader().await,
        }
    }
}

/// Runs `authpulse leases`.
///
/// # Errors
/// The stream, its leases or the lake cannot be read; no lease is meant; a worker or a leader of KCL 3 is alive; or the results cannot be
/// written.
pub async fn run(command: LeasesCommand) -> Result<ExitCode> {
    match command {
        LeasesCommand::List { of, json } => {
            let listed = list(&LeaseTarget::open(&of).await?).await?;
            match json {
                true => say!("{}", serde_json::to_string_pretty(&listed)?)?,
                false => say!("{listed}")?,
            }
        }
        LeasesCommand::Release { of, shard, worker, all: _ } => {
            release_all(&LeaseTarget::open(&of).await?, &shard, worker.as_deref()).await?;
        }
        LeasesCommand::Reset { of, force } => reset_all(&LeaseTarget::open_to_reset(&of).await?, force).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// All leases, for people and as JSON.
#[derive(Serialize)]
struct Listed {
    stream: String,
    leases: Vec<ListedLease>,
}

#[derive(Serialize)]
struct ListedLease {
    /// The shard's name in the stream.
    shard: String,
    /// The lease's name, which is that of the shard's journal.
    lease: String,
    owner: Option<String>,
    next_owner: Option<String>,
    counter: u64,
    /// Sequence number and sub-sequence number.
    checkpoint: Option<String>,
    ended: bool,
    parents: Vec<String>,
    children: Vec<String>,
    /// Where the lake's journal stands, which decides; none without --lake, or without an entry.
    journal: Option<String>,
    journal_entry: Option<u64>,
}

async fn list(on: &LeaseTarget) -> Result<Listed> {
    let shards = on.stream.shards().await?;
    let mut leases = Vec::new();
    for lease in on.leases.store().list().await? {
        let shard = on.shard_of(&lease.key).to_owned();
        let described = shards.iter().find(|described| described.id.as_str() == shard);
        let children = shards.iter().filter(|other| other.parents.iter().any(|parent| parent.as_str() == shard));
        let (journal, journal_entry) = on.journal(&lease.key).await?.unzip();
        leases.push(ListedLease {
            owner: lease.owner,
            next_owner: lease.next_owner,
            counter: lease.counter,
            checkpoint: lease.checkpoint.map(|at| at.to_string()),
            ended: lease.ended,
            parents: described.iter().flat_map(|shard| &shard.parents).map(ShardId::to_string).collect(),
            children: children.map(|child| child.id.to_string()).collect(),
            lease: lease.key,
            shard,
            journal,
            journal_entry,
        });
    }
    Ok(Listed { stream: on.description.name.clone(), leases })
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} leases of stream '{}'", self.leases.len(), self.stream)?;
        self.leases.iter().try_for_each(|lease| write!(f, "\n{lease}"))
    }
}

impl fmt::Display for ListedLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = match (&self.owner, self.ended) {
            (Some(owner), _) => format!("worker {owner}"),
            (None, true) => "ended".to_owned(),
            (None, false) => "nobody works on it".to_owned(),
        };
        let next = self.next_owner.as_ref().map_or(String::new(), |next| format!(", asked for by {next}"));
        write!(f, "{}: {owner}{next}, counter {}", self.shard, self.counter)?;
        if let Some(at) = &self.checkpoint {
            write!(f, ", checkpoint {at}")?;
        }
        if let (Some(at), Some(n)) = (&self.journal, self.journal_entry) {
            write!(f, ", journal {at} (entry {n})")?;
        }
        for (what, shards) in [("parents", &self.parents), ("children", &self.children)] {
            if !shards.is_empty() {
                write!(f, ", {what} {}", shards.join(" "))?;
            }
        }
        Ok(())
    }
}

async fn release_all(on: &LeaseTarget, shards: &[String], worker: Option<&str>) -> Result<()> {
    let store = on.leases.store();
    let leases = store.list().await?;
    let is_of = |lease: &&Lease, name: &String| lease.key == *name || on.shard_of(&lease.key) == name;
    for name in shards {
        if !leases.iter().any(|lease| is_of(&lease, name)) {
            let known: Vec<&str> = leases.iter().map(|lease| on.shard_of(&lease.key)).collect();
            bail!("there is no lease of shard '{name}'; there are those of {}", known.join(", "));
        }
    }
    let is_meant = |lease: &&Lease| match worker {
        Some(worker) => lease.owner.as_deref() == Some(worker),
        None => shards.is_empty() || shards.iter().any(|name| is_of(lease, name)),
    };
    let meant: Vec<&Lease> = leases.iter().filter(is_meant).collect();
    if let (Some(worker), true) = (worker, meant.is_empty()) {
        bail!("worker '{worker}' has no lease; `authpulse leases list` tells who has");
    }
    on.refuse_a_living_leader().await?;
    let mut released = 0;
    // If nobody reads the output, the rest is released all the same.
    let mut said = Ok(());
    for lease in meant {
        let shard = on.shard_of(&lease.key);
        // Only from the worker that had it when it was chosen, not from one that took it since.
        match release(store, &lease.key, lease.owner.as_deref().or(worker)).await? {
            Released::From(owner) => {
                released += 1;
                said = said.and(say!("{shard}: released, worker {owner} had it"));
            }
            Released::WasFree => said = said.and(say!("{shard}: nobody had it")),
            Released::Moved(owner) => {
                said = said.and(say!("{shard}: worker {owner} has taken it meanwhile; left alone"));
            }
            Released::Gone => said = said.and(say!("{shard}: its lease is gone")),
        }
    }
    said?;
    say!(
        "{released} released; the next worker that looks takes them at once, and goes on where the lake's journal stands"
    )?;
    Ok(())
}

async fn reset_all(on: &LeaseTarget, force: bool) -> Result<()> {
    on.refuse_a_living_leader().await?;
    let store = on.leases.store();
    let leases = store.list().await?;
    let alive = match force {
        true => "whether anybody is alive was not looked at (--force)".to_owned(),
        false => refuse_the_living(on, &leases).await?,
    };
    let done = reset(store, &leases).await?;
    say!("{alive}")?;
    for key in &done.left {
        say!("{}: somebody changed it meanwhile; left alone", on.shard_of(key))?;
    }
    say!("{} leases removed", done.removed.len())?;
    if let (Leases::Local(leases), true) = (&on.leases, done.left.is_empty()) {
        leases.forget_destination()?;
        if on.lake.is_none() {
            say!("a lake that is made at this place now begins anew")?;
        }
    }
    say!(
        "a lake that has not read this stream begins at its --start (a first `consume` without one: the oldest record)"
    )?;
    let mut known = 0;
    for key in &done.removed {
        if let Some((at, entry)) = on.journal(key).await? {
            known += 1;
            say!("{}: this lake goes on after {at} (entry {entry})", on.shard_of(key))?;
        }
    }
    if known > 0 || on.lake.is_none() {
        say!("a lake that has read it goes on where its journal stands: that position beats a lease's checkpoint")?;
    }
    if !done.left.is_empty() {
        bail!("a worker is alive: {} leases were left alone; stop it and run this again", done.left.len());
    }
    Ok(())
}

/// Makes sure that no worker renews a lease; returns in words how that is known.
async fn refuse_the_living(on: &LeaseTarget, leases: &[Lease]) -> Result<String> {
    let owned = leases.iter().filter(|lease| lease.owner.is_some()).count();
    if owned == 0 {
        return Ok("nobody is alive: no lease has an owner".to_owned());
    }
    if matches!(on.leases, Leases::Local(_)) {
        let mut names: Vec<&str> = leases.iter().filter_map(|lease| lease.owner.as_deref()).collect();
        names.dedup();
        bail!(
            "a worker is alive, its process holds its lock: {}; stop it first, or use --force (no row can be lost)",
            names.join(", ")
        );
    }
    let seconds = on.duration.as_secs_f64();
    tell!("watching the counters of {owned} leases that have an owner for {seconds} s");
    let begin = Instant::now();
    while begin.elapsed() < on.duration {
        tokio::time::sleep(LOOK.min(on.duration)).await;
        let now = on.leases.store().list().await?;
        if let Some((owner, key)) = alive(leases, &now).into_iter().next() {
            bail!(
                "worker {owner} is alive: it has just renewed the lease of {}; stop it first, or use --force (no row can be lost)",
                on.shard_of(&key)
            );
        }
    }
    Ok(format!("nobody is alive: the counters of {owned} leases stood still for {seconds} s"))
}
