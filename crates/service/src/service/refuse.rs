//! Refuses lakes that a stream cannot continue.

use super::Service;
use authpulse_event::ShardId;
use authpulse_journal::backfills::names;
use authpulse_journal::error::Result;
use authpulse_journal::refusal::Refusal;
use authpulse_lake::entry::{Entry, Source};
use std::collections::BTreeMap;

/// Refuses a lake that follows another stream: a lake follows one stream at a time.
///
/// # Errors
/// [`ConsumerError::Refused`] if the lake's last shards include one of another stream that is not sealed.
pub(super) fn other_open_stream(service: &Service) -> Result<()> {
    for (key, view) in service.registry.leaves() {
        if let Source::Stream { name, .. } = &view.source
            && !service.is_own(&view.source)
            && view.sealed.is_none()
        {
            return Err(Refusal::OtherStream { name: name.to_string(), shard: key.clone() }.into());
        }
    }
    Ok(())
}

/// Refuses a lake with an unfinished backfill: its history would come after the stream's events.
///
/// # Errors
/// [`ConsumerError::Refused`] if the backfill in the lake is not finished.
pub(super) fn unfinished_backfill(tails: &BTreeMap<ShardId, Entry>) -> Result<()> {
    let Some(backfill) = tails.get(&ShardId::file()).and_then(|tail| tail.backfill.as_ref()) else { return Ok(()) };
    if backfill.finished {
        return Ok(());
    }
    Err(Refusal::UnfinishedBeforeStream { files: names(&backfill.files) }.into())
}
