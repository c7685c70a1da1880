//! What a lake and the process that opens it must agree on: settings, the event model, and that no entry is lost.

use crate::error::Result;
use crate::refusal::Refusal;
use authpulse_engine::Settings;
use authpulse_event::time::format_rfc3339;
use authpulse_event::{EventModel, ShardId, Span};
use authpulse_lake::entry::{Entry, StoredTimeRules};
use std::collections::BTreeMap;

/// The event model of a lake; `None` if nothing is stored yet. All shards have the same: with two, the reader of a record would decide
/// which of its keys count.
///
/// # Errors
/// Two shards have different models, or this program does not know one.
pub fn event_model<'a>(tails: impl Iterator<Item = &'a Entry>) -> Result<Option<EventModel>> {
    let mut first: Option<(&Entry, EventModel)> = None;
    for tail in tails {
        let model = tail.event_model()?;
        let (other, known) = *first.get_or_insert((tail, model));
        if model != known {
            let (shard, other) = (ShardId::new(&other.shard), ShardId::new(&tail.shard));
            return Err(Refusal::EventModels { shard, model: known, other, other_model: model }.into());
        }
    }
    Ok(first.map(|(_, model)| model))
}

/// The last entry of each shard that any table holds. Read the tables before the journals, which only grow.
pub fn applied_anywhere<'a>(tables: impl IntoIterator<Item = &'a BTreeMap<ShardId, u64>>) -> BTreeMap<ShardId, u64> {
    let mut anywhere: BTreeMap<ShardId, u64> = BTreeMap::new();
    for (shard, n) in tables.into_iter().flatten() {
        let last = anywhere.entry(shard.clone()).or_default();
        *last = (*n).max(*last);
    }
    anywhere
}

/// Refuses a lake whose tables hold entries that no journal has: the journal was lost, or an older copy was put in its place. If numbers
/// were given out again, the entries would look as if they were in the tables already, and their rows would never get there.
///
/// # Errors
/// [`Refusal::LostEntries`]: names the shard, and what to do.
pub fn refuse_lost_entries(applied: &BTreeMap<ShardId, u64>, tail: impl Fn(&ShardId) -> u64) -> Result<()> {
    match applied.iter().find(|(shard, n)| tail(shard) < **n) {
        Some((shard, n)) => Err(Refusal::LostEntries { shard: shard.clone(), applied: *n, last: tail(shard) }.into()),
        None => Ok(()),
    }
}

/// Refuses settings under which new rows could not be compared with those in the lake. The event model is not among them: a worker takes it
/// from the lake ([`OpenedLake::options`](super::OpenedLake::options)).
///
/// # Errors
/// [`Refusal::Settings`]: names every setting that differs, with both values.
pub fn check_settings(stored: &StoredTimeRules, settings: &Settings) -> Result<()> {
    let now = StoredTimeRules::from(&settings.time);
    let seconds = |span: Span| format!("{} s", span.as_seconds());
    let mut faults = Vec::new();
    let mut compare = |name: &str, lake: String, asked: String| {
        if lake != asked {
            faults.push(format!("{name} is {asked}, the lake was made with {lake}"));
        }
    };
    compare("base", format_rfc3339(stored.base), format_rfc3339(now.base));
    compare("tolerance", seconds(stored.tolerance), seconds(now.tolerance));
    compare("lookback", format!("{} days", stored.lookback_days), format!("{} days", now.lookback_days));
    compare("settle", seconds(stored.settle), seconds(now.settle));
    if faults.is_empty() {
        return Ok(());
    }
    Err(Refusal::Settings(faults).into())
}
