//! Lakes whose input a stream cannot go on with.

use super::Service;
use authpulse_event::ShardId;
use authpulse_journal::backfills::names;
use authpulse_journal::error::Result;
use authpulse_journal::refusal::Refusal;
use authpulse_lake::entry::{Entry, Source};
use std::collections::BTreeMap;

/// A lake follows one stream at a time.
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

/// While a backfill is unfinished, its history would come after the stream's events.
pub(super) fn unfinished_backfill(tails: &BTreeMap<ShardId, Entry>) -> Result<()> {
    let Some(backfill) = tails.get(&ShardId::file()).and_then(|tail| tail.backfill.as_ref()) else { return Ok(()) };
    if backfill.finished {
        return Ok(());
    }
    Err(Refusal::UnfinishedBeforeStream { files: names(&backfill.files) }.into())
}
