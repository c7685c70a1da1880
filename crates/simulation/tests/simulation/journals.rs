//! What a run leaves: the entries of its journals, the records of its stream, the files that were put.

use crate::kinesis::{Reading, taken_apart};
use crate::world::World;
use authpulse_event::ShardId;
use authpulse_journal::open::journal_key;
use authpulse_lake::entry::Entry;
use authpulse_lake::{Lake, MemoryStore, ObjectStore};
use authpulse_stream::{ReadFrom, ReadLimit, Record, ShardDescription, Stream};
use std::sync::Arc;

/// The entries of all journals, by shard of the stream, parents before children.
pub type Journals = Vec<(ShardDescription, ShardId, Vec<Entry>)>;

pub async fn journals(world: &World) -> Result<Journals, String> {
    let description = world.stream.describe().await.map_err(|e| e.to_string())?;
    let mut journals = Vec::new();
    for shard in world.stream.shards().await.map_err(|e| e.to_string())? {
        let key = journal_key(&description, &shard.id);
        let left = world.outside.journal.list(&key, 1, usize::MAX).await.map_err(|e| e.to_string())?;
        let first = left.first().map_or(1, |(n, _)| *n);
        let bodies = &world.writers.lock().unwrap().bodies;
        let folded = bodies.range((key.clone(), 0)..(key.clone(), first)).map(|((_, n), body)| (*n, body.clone()));
        let stored: Vec<_> = folded.chain(left).collect();
        let entries = stored.into_iter().map(|(n, body)| Entry::decode(&key, n, &body, world.outside.lake.sections()));
        let entries = entries.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        journals.push((shard, key, entries));
    }
    Ok(journals)
}

/// Whether a run may end as complete: the stream is closed, and each shard's journal ends with its end or was sealed.
pub async fn is_complete(world: &World) -> Result<bool, String> {
    let closed = world.stream.shards().await.map_err(|e| e.to_string())?.iter().all(|shard| shard.closed);
    let done = |entries: &[Entry]| entries.iter().any(|entry| entry.end || entry.sealed.is_some());
    Ok(closed && journals(world).await?.iter().all(|(_, _, entries)| done(entries)))
}

/// The records of a shard.
pub async fn records(world: &World, shard: &ShardId) -> Result<Vec<Record>, String> {
    let limit = ReadLimit { records: usize::MAX, bytes: usize::MAX };
    let read = world.stream.read(shard, ReadFrom::Start, limit).await.map_err(|e| e.to_string())?;
    // An embedded stream knows no aggregates: what looks like one is an ordinary payload.
    Ok(match world.reading {
        Reading::Embedded => read.records,
        Reading::Polling | Reading::FanOut => read.records.into_iter().flat_map(taken_apart).collect(),
    })
}

/// All data files that were ever put, even if they were removed since.
pub async fn archived(world: &World) -> Result<Lake, String> {
    let archive = Arc::new(MemoryStore::new());
    let files = world.archive.lock().unwrap().clone();
    for (path, body) in files {
        archive.put_new(&path, body).await.map_err(|e| e.to_string())?;
    }
    Ok(Lake::new(archive, world.catalog.clone()))
}

/// Prints what the journals of a seed hold, for debugging.
pub fn explain(journals: &Journals) {
    for (shard, ..) in journals {
        println!("{} from {:?}, closed: {}", shard.id, shard.parents, shard.closed);
    }
    for (_, key, entries) in journals {
        for e in entries {
            let n = e.n;
            let marks = [
                ("read to end", e.read_to_end),
                ("settled", e.flushed),
                ("end", e.end),
                ("taken over", e.takes_over),
                ("sealed", e.sealed.is_some()),
            ];
            let marks: Vec<&str> = marks.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
            println!(
                "{key} {n} epoch {} to {}: received {} curated {} waiting {} unscored {} watermark {:?} rises {:?} {marks:?}",
                e.epoch,
                e.to.sequence,
                e.counts.received,
                e.counts.curated,
                e.counts.waiting,
                e.counts.unscored,
                e.watermark,
                e.advances
            );
        }
    }
}
