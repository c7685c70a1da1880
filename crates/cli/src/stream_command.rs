//! `authpulse stream`: makes, shows, splits, merges, closes and deletes streams.

use crate::args::StreamCommand;
use crate::output::say;
use crate::stream::{self, kinesis, open_to_look};
use anyhow::{Context, Result, bail};
use authpulse_event::ShardId;
use authpulse_event::time::{Span, format_rfc3339};
use authpulse_stream::local::LocalStream;
use authpulse_stream::{CreateOptions, Stream, StreamWriter};
use futures::{StreamExt, TryStreamExt};
use std::process::ExitCode;

/// Runs `authpulse stream`.
///
/// # Errors
/// The stream does not exist or cannot be reached, it cannot do what is asked of it, or the results cannot be written.
pub async fn run(command: StreamCommand) -> Result<ExitCode> {
    match command {
        StreamCommand::Create { stream, shards, on_demand, retention_hours } => {
            let location = stream::StreamLocation::parse(&stream.text())?;
            create(&location, shards, on_demand, retention_hours).await?;
            describe(&*open_to_look(&location).await?, Look::Shards).await?;
        }
        StreamCommand::Describe { stream } => {
            let location = stream::StreamLocation::parse(&stream.text())?;
            describe(&*open_to_look(&location).await?, Look::Tips).await?;
            if let stream::StreamLocation::Kinesis(name) = &location {
                say!("{}", kinesis::particulars(name).await?)?;
            }
        }
        StreamCommand::Deregister { stream, app } => {
            let stream = stream.text();
            match stream::StreamLocation::parse(&stream)? {
                stream::StreamLocation::Local(_) => bail!("consumers are registered on streams in Kinesis"),
                stream::StreamLocation::Kinesis(name) => {
                    kinesis::deregister(&name, &app).await?;
                    say!("{app} is deregistered from {stream}")?;
                }
            }
        }
        StreamCommand::Split { stream, shard } => {
            let location = stream::StreamLocation::parse(&stream)?;
            let opened = open_to_look(&location).await?;
            split(&location, &*opened, &shard).await?;
            describe(&*opened, Look::Shards).await?;
        }
        StreamCommand::Merge { stream, left, right } => {
            let location = stream::StreamLocation::parse(&stream)?;
            let (left, right) = (ShardId::new(left), ShardId::new(right));
            match &location {
                stream::StreamLocation::Local(dir) => drop(LocalStream::open(dir)?.merge(&left, &right).await?),
                stream::StreamLocation::Kinesis(name) => kinesis::merge(name, &left, &right).await?,
            }
            describe(&*open_to_look(&location).await?, Look::Shards).await?;
        }
        StreamCommand::Close { stream } => match stream::StreamLocation::parse(&stream.text())? {
            stream::StreamLocation::Local(dir) => {
                let stream = LocalStream::open(dir)?;
                stream.close().await?;
                describe(&stream, Look::Tips).await?;
            }
            stream::StreamLocation::Kinesis(name) => bail!(
                "kinesis:{name} cannot be closed: seal its lake with `authpulse consume --seal`, or delete the stream with \
                 `authpulse stream delete`"
            ),
        },
        StreamCommand::Delete { stream, yes: _ } => match stream::StreamLocation::parse(&stream.text())? {
            stream::StreamLocation::Local(dir) => {
                bail!("an embedded stream is deleted with its directory, {}", dir.display())
            }
            stream::StreamLocation::Kinesis(name) => {
                kinesis::delete(&name).await?;
                say!("kinesis:{name} is deleted")?;
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}

async fn create(
    location: &stream::StreamLocation,
    shards: u32,
    on_demand: bool,
    retention_hours: Option<u32>,
) -> Result<()> {
    match location {
        stream::StreamLocation::Local(_) if on_demand => bail!("--on-demand is for streams in Kinesis"),
        stream::StreamLocation::Local(dir) => {
            let retention = Span::hours(retention_hours.unwrap_or(168).into());
            LocalStream::create(dir, CreateOptions { shards, retention, ..CreateOptions::default() })?;
        }
        stream::StreamLocation::Kinesis(_) if retention_hours.is_some() => bail!(
            "a stream in Kinesis is made with a retention of 24 hours: leave --retention-hours out, and lengthen it with \
             `aws kinesis increase-stream-retention-period`"
        ),
        stream::StreamLocation::Kinesis(name) => kinesis::create(name, (!on_demand).then_some(shards)).await?,
    }
    Ok(())
}

async fn split(location: &stream::StreamLocation, opened: &dyn Stream, shard: &str) -> Result<()> {
    let id = ShardId::new(shard);
    let shards = opened.shards().await?;
    let found = shards
        .iter()
        .find(|s| s.id == id)
        .with_context(|| format!("there is no shard '{shard}': `authpulse stream describe` names them"))?;
    match location {
        stream::StreamLocation::Local(dir) => drop(LocalStream::open(dir)?.split(&id, stream::middle(found)).await?),
        stream::StreamLocation::Kinesis(name) => kinesis::split(name, found).await?,
    }
    Ok(())
}

/// How many tips are looked for at the same time.
const TIPS_AT_ONCE: usize = 16;

/// How closely a stream is described.
#[derive(Clone, Copy)]
enum Look {
    /// Its shards alone.
    Shards,
    /// The newest record of each as well, for which shards are read.
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
