//! Streams in Kinesis.

use super::Reading;
use super::{Start, lake_name, parse_start, remember_start};
use crate::output::tell;
use anyhow::{Context, Result, bail};
use authpulse_aws::{ANSWER, Aws};
use authpulse_event::time::HOUR;
use authpulse_event::{Position, ShardId};
use authpulse_journal::Env;
use authpulse_journal::env::{Ids, RandomIds};
use authpulse_journal::log::read_tail;
use authpulse_journal::open::journal_key;
use authpulse_kinesis::limits::AT_HAND_BYTES;
use authpulse_kinesis::pack::Packing;
use authpulse_kinesis::{
    Address, AwsKinesis, Control, DynamoDbLeases, FileProgress, KinesisStream, KinesisWriter, MemoryProgress,
    NewStream, ProgressStore, StartAt, Time,
};
use authpulse_lease::{Fleet, LeaseStore};
use authpulse_settings::Options;
use authpulse_stream::{ShardDescription, Stream, StreamDescription};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn address(name: &str) -> Result<Address> {
    Address::parse(name).map_err(anyhow::Error::msg)
}

/// What tells streams apart: one that was deleted and created again under its name is another.
fn identity(description: &StreamDescription) -> String {
    format!("{} {}", description.name, description.created.micros())
}

/// A seed that differs from process to process, so that many do not retry at the same moment.
fn seed() -> u64 {
    u64::from_str_radix(&RandomIds.commit_id().replace('-', "")[..16], 16).unwrap_or_else(|_| std::process::id().into())
}

/// A stream to send into.
pub struct Writer(KinesisWriter);

impl Writer {
    /// Opens a stream that exists. `progress` is the directory that keeps how far a job is; without one, only this process knows.
    ///
    /// # Errors
    /// The stream does not exist or cannot be reached, or the directory cannot be used.
    pub async fn open(name: &str, aggregate: bool, progress: Option<&Path>) -> Result<Writer> {
        let reader = KinesisReader::open(name).await?;
        let identity = identity(&reader.stream().describe().await?);
        let progress: Arc<dyn ProgressStore> = match progress {
            Some(directory) => {
                let progress = FileProgress::new(directory, &identity);
                progress.check()?;
                Arc::new(progress)
            }
            None => Arc::new(MemoryProgress::default()),
        };
        let packing = Packing { aggregate, ..Packing::default() };
        let time = reader.api.times();
        Ok(Writer(KinesisWriter::new(reader.api, time, progress, packing, &reader.address.to_string(), seed())))
    }

    /// The stream to put records into.
    pub fn stream(&self) -> &dyn authpulse_stream::StreamWriter {
        &self.0
    }

    /// What was put and what it costs, in words; none if nothing was put.
    pub async fn told(&self) -> Option<String> {
        let cost = self.0.cost().await;
        let more = |n: u64, what: &str| if n > 0 { format!(", {n} {what}") } else { String::new() };
        (cost.records > 0).then(|| {
            format!(
                "{} Kinesis records in {} calls{}{}\n{cost}",
                cost.records,
                cost.calls,
                more(cost.throttled, "throttled and sent again"),
                more(cost.misplaced, "events sent again after a reshard")
            )
        })
    }
}

/// A stream to read; where reading begins is said later.
pub struct KinesisReader {
    api: Arc<AwsKinesis>,
    address: Address,
    aws: Aws,
}

/// The leases of an application, for operators.
pub struct Leases(DynamoDbLeases);

impl Leases {
    /// The store that has them.
    pub fn store(&self) -> &dyn LeaseStore {
        &self.0
    }

    /// Refuses if a leader of KCL 3 assigns these leases. Where there has been one, this takes 35 s to tell.
    ///
    /// # Errors
    /// A leader is alive, or the table cannot be read to find out.
    pub async fn refuse_a_living_leader(&self) -> Result<()> {
        Ok(self.0.refuse_a_living_leader().await?)
    }
}

/// A stream as a consumer reads it, and its leases.
pub struct Consumed {
    /// The stream.
    pub stream: Arc<dyn Stream>,
    /// This worker's part in the leases.
    pub fleet: Fleet,
}

impl KinesisReader {
    /// Opens a stream that exists.
    ///
    /// # Errors
    /// It does not exist, or cannot be reached.
    pub async fn open(name: &str) -> Result<KinesisReader> {
        let (aws, address) = (Aws::load(ANSWER).await?, address(name)?);
        let api = Arc::new(AwsKinesis::open(&aws, &address).await?);
        Ok(KinesisReader { api, address, aws })
    }

    /// The stream, read from its oldest record.
    pub fn stream(&self) -> KinesisStream {
        self.stream_from(StartAt::TrimHorizon)
    }

    fn stream_from(&self, start: StartAt) -> KinesisStream {
        KinesisStream::new(self.api.clone(), self.api.times(), start, &self.address.to_string(), seed())
    }

    /// The leases of an application whose table exists, to look at or to operate on.
    ///
    /// # Errors
    /// There is no such table, or it cannot be reached.
    pub async fn leases(&self, application: &str) -> Result<Leases> {
        let stream = self.stream();
        let description = stream.describe().await?;
        Ok(Leases(DynamoDbLeases::look(&self.aws, application, &description, Arc::new(stream)).await?))
    }

    /// Opens the stream and its leases for a lake.
    ///
    /// # Errors
    /// The lake, the stream, the table of leases or the consumer of fan-out cannot be used.
    pub async fn consume(
        &self,
        lake: &Env,
        options: &Options,
        application: &str,
        start: Start,
        reading: Reading,
        worker: &str,
    ) -> Result<Consumed> {
        let description = self.stream().describe().await?;
        let now = self.api.times().now();
        let start = remember_start(&*lake.store, &identity(&description), start, now).await?;
        // At most a quarter of `memory` is read ahead of the shards.
        let room = usize::try_from(options.memory / 4).map_or(AT_HAND_BYTES, |part| part.min(AT_HAND_BYTES));
        let stream = self.stream_from(start.map_or(StartAt::TrimHorizon, StartAt::Time)).with_room(room);
        let listed: Arc<dyn Stream> = Arc::new(self.stream());
        let leases = DynamoDbLeases::open(&self.aws, application, &description, listed).await?;
        let leases = leases.bound_for(&lake_name(&*lake.store, &*lake.ids).await?);
        let mut stream = continue_from(stream, &leases, &description, lake).await?;
        match reading {
            Reading::Polling => tell!("reading {} by polling", self.address),
            Reading::FanOut => {
                stream = stream.with_fan_out(application);
                stream.register().await?;
                tell!("reading {} by enhanced fan-out, as its consumer {application}", self.address);
            }
        }
        let fleet = Fleet::new(Arc::new(leases), worker.to_owned(), options.leases);
        Ok(Consumed { stream: Arc::new(stream), fleet })
    }
}

/// Lets a lake go on where another application stopped: if the table has a checkpoint of a shard of which the lake has no entry, another
/// application wrote it. The KCL forgets the lease of a shard that it has read to the end once the children are begun. So a shard without a
/// lease counts as read, too, if it has children with one.
async fn continue_from(
    mut stream: KinesisStream,
    store: &DynamoDbLeases,
    description: &StreamDescription,
    lake: &Env,
) -> Result<KinesisStream> {
    // Leases first: if this lake's own workers ended one, the journal, read later, says so.
    let leases = store.list().await?;
    let shards: Vec<ShardDescription> = stream.shards().await?;
    let known: BTreeSet<ShardId> = lake.journal.shards().await?.into_iter().collect();
    let is_known = |shard: &ShardId| known.contains(&journal_key(description, shard));
    let lease_of = |shard: &ShardId| {
        let key = journal_key(description, shard);
        leases.iter().find(|lease| lease.key == key.as_str())
    };
    let mut left_out = BTreeSet::new();
    for shard in &shards {
        let lease = lease_of(&shard.id);
        let tail = match is_known(&shard.id) {
            true => read_tail(lake, &journal_key(description, &shard.id)).await?,
            false => None,
        };
        if let (Some(tail), Some(lease)) = (&tail, lease.filter(|lease| lease.ended))
            && !tail.end
        {
            // Another application has read this shard to its end, this lake has not: without a new lease nobody would read the rest.
            tracing::info!(shard = %shard.id, "another application has read this shard to its end, this lake has not: it goes on with it");
            store.remove(lease).await?;
        }
        // An entry may hold an advance or what was inherited, and no record yet: reading still begins where the other application stopped.
        let has_read = tail.as_ref().map(|tail| tail.position()).transpose()?.is_some_and(|at| at != Position::START);
        if has_read {
            continue;
        }
        let is_left_out = match lease {
            None => has_child(&shards, &shard.id, |child| lease_of(child).is_some() || is_known(child)),
            Some(lease) => lease.ended,
        };
        if is_left_out && tail.is_none() {
            tracing::info!(shard = %shard.id, "another application has read this shard to its end; it is left out");
            left_out.insert(&shard.id);
        } else if let Some(at) = lease.and_then(|lease| lease.checkpoint.as_ref()) {
            let sequence = at.sequence.parse().map_err(anyhow::Error::msg)?;
            tracing::info!(shard = %shard.id, %sequence, at.sub_sequence, "another application has read this shard up to here");
            stream.begin_after(&shard.id, Position { sequence, sub_sequence: at.sub_sequence });
        }
    }
    for shard in &shards {
        if shard.parents.iter().any(|parent| left_out.contains(parent)) {
            stream.begin_at_oldest(&shard.id);
        }
    }
    left_out.into_iter().for_each(|shard| stream.leave_out(shard));
    Ok(stream)
}

/// Whether a shard has a child, or a child of a child, for which `such` holds.
fn has_child(shards: &[ShardDescription], shard: &ShardId, such: impl Fn(&ShardId) -> bool) -> bool {
    let (mut seen, mut parents) = (BTreeSet::new(), vec![shard]);
    while let Some(parent) = parents.pop() {
        for child in shards.iter().filter(|other| other.parents.contains(parent)) {
            if such(&child.id) {
                return true;
            }
            // After many splits and merges, the same descendants are reached in many ways.
            if seen.insert(&child.id) {
                parents.push(&child.id);
            }
        }
    }
    false
}

/// Makes a stream and waits until it is there.
///
/// # Errors
/// The stream exists already, or may not be made.
pub async fn create(name: &str, shards: Option<u32>) -> Result<()> {
    let new = shards.map_or(NewStream::OnDemand, NewStream::Provisioned);
    Ok(control(name).await?.create(new).await?)
}

/// Splits a shard in the middle.
///
/// # Errors
/// There is no such shard, or it cannot be split.
pub async fn split(name: &str, shard: &ShardDescription) -> Result<()> {
    Ok(control(name).await?.split(&shard.id, super::middle(shard)).await?)
}

/// Merges two neighbouring shards.
///
/// # Errors
/// The shards cannot be merged.
pub async fn merge(name: &str, left: &ShardId, right: &ShardId) -> Result<()> {
    Ok(control(name).await?.merge(left, right).await?)
}

/// Deletes a stream with all that is in it.
///
/// # Errors
/// The stream does not exist, or may not be deleted.
pub async fn delete(name: &str) -> Result<()> {
    Ok(control(name).await?.delete().await?)
}

/// Says in words what only streams in Kinesis have: state, limits, and the consumers that are registered.
///
/// # Errors
/// The stream does not exist, or cannot be reached.
pub async fn particulars(name: &str) -> Result<String> {
    let reader = KinesisReader::open(name).await?;
    let summary = reader.stream().summary().await?;
    let held = format!(
        "{}, records are kept for {} h and have {} bytes at most",
        summary.status.to_lowercase(),
        summary.retention / HOUR,
        summary.max_record_bytes
    );
    // The right to look at shards does not include this call, and not every service that speaks Kinesis knows it.
    let consumers = match reader.api.consumers().await {
        Err(error) => format!("consumers of enhanced fan-out: unknown: {error}"),
        Ok(consumers) if consumers.is_empty() => "no consumers of enhanced fan-out".to_owned(),
        Ok(consumers) => {
            let one = |(name, status): &(String, String)| format!("{name} ({status})");
            format!("consumers of enhanced fan-out: {}", consumers.iter().map(one).collect::<Vec<_>>().join(", "))
        }
    };
    Ok(format!("{held}\n{consumers}"))
}

/// Deregisters a consumer.
///
/// # Errors
/// There is none of this name, or it may not be deregistered.
pub async fn deregister(name: &str, app: &str) -> Result<()> {
    let reader = KinesisReader::open(name).await?;
    reader.api.deregister(app).await.with_context(|| format!("{app} cannot be deregistered from {}", reader.address))
}

async fn control(name: &str) -> Result<Control> {
    Ok(Control::new(&Aws::load(ANSWER).await?, address(name)?))
}

/// The application, and where reading begins, as the command line names them.
///
/// # Errors
/// No application is named, or the start is neither a known word nor a time.
pub fn application_and_start(app: Option<&str>, start: Option<&str>) -> Result<(String, Start)> {
    let Some(app) = app else {
        bail!(
            "a stream in Kinesis is read by an application: name it with --app; it is also the name of its table in DynamoDB"
        )
    };
    let start = parse_start(start.unwrap_or("trim-horizon")).map_err(anyhow::Error::msg)?;
    Ok((app.to_owned(), start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::HashRange;

    #[test]
    fn children_are_found_over_generations_and_by_many_ways() {
        let shard = |id: String, parents: Vec<String>| ShardDescription {
            id: ShardId::new(&id),
            range: HashRange::FULL,
            parents: parents.iter().map(ShardId::new).collect(),
            closed: false,
        };
        // Split and merged 60 times: 2^60 ways from the first to the last.
        let mut shards = vec![shard("0".to_owned(), vec![]), shard("alone".to_owned(), vec![])];
        for n in 0..60 {
            shards.push(shard(format!("{n}-left"), vec![n.to_string()]));
            shards.push(shard(format!("{n}-right"), vec![n.to_string()]));
            shards.push(shard((n + 1).to_string(), vec![format!("{n}-left"), format!("{n}-right")]));
        }
        let has = |from: &str, to: &str| has_child(&shards, &ShardId::new(from), |child| *child == ShardId::new(to));
        assert!(has("0", "60") && has("7-left", "8") && has("59", "59-right"));
        assert!(!has("0", "0") && !has("8", "7-left") && !has("0", "alone") && !has("alone", "60"));
    }
}
