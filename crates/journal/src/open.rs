//! Opens a lake: reads all its journals into a registry.

mod agree;
mod first;
mod read;

pub use agree::{applied_anywhere, check_settings, event_model, refuse_lost_entries};
pub use first::{entry_zero, journal_key};
pub use read::{follow_shard, read_shard};

use crate::env::Env;
use crate::error::Result;
use crate::log::read_entry;
use crate::registry::Registry;
use authpulse_event::{EventModel, ShardId};
use authpulse_lake::LakeError;
use authpulse_lake::entry::Entry;
use authpulse_settings::options::Options;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A lake as its journals describe it.
pub struct OpenedLake {
    /// What shards know of each other.
    pub registry: Arc<Registry>,
    /// The last entry of each shard.
    pub tails: BTreeMap<ShardId, Entry>,
    /// The options asked for, with the lake's own event model: a lake keeps that for life, and no setting asks for it.
    pub options: Arc<Options>,
}

/// Reads all journals.
///
/// # Errors
/// An entry cannot be read, or the lake was made under other settings than these.
pub async fn open_lake(env: &Env, options: &Arc<Options>) -> Result<OpenedLake> {
    let registry = Arc::new(Registry::new(options.engine.time.lookback_days));
    let mut tables = Vec::new();
    for table in env.lake.tables().iter().copied() {
        match env.lake.load(table).await {
            Ok(loaded) => tables.push(loaded.applied()?),
            Err(LakeError::NoTable { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let applied = applied_anywhere(&tables);
    let mut tails = BTreeMap::new();
    for shard in env.journal.shards().await? {
        read_shard(env, &registry, &shard).await?;
        if let Some(view) = registry.view(&shard)
            && let Some(tail) = read_entry(env, &shard, view.last).await?
        {
            tails.insert(shard, tail);
        }
    }
    if let Some(tail) = tails.values().next() {
        check_settings(&tail.time_rules, &options.engine)?;
    }
    refuse_lost_entries(&applied, |shard| tails.get(shard).map_or(0, |tail| tail.n))?;
    let event_model = event_model(tails.values())?.unwrap_or(options.engine.time.event_model);
    let options = with_event_model(options.clone(), event_model);
    Ok(OpenedLake { registry, tails, options })
}

fn with_event_model(options: Arc<Options>, event_model: EventModel) -> Arc<Options> {
    if options.engine.time.event_model == event_model {
        return options;
    }
    let mut options = Options::clone(&options);
    options.engine.time.event_model = event_model;
    Arc::new(options)
}
