//! What is kept for followers: the entries that one lacks, their spills, and their files of all tables.
//!
//! The registry is read last before anything is removed, each time anew. A follower that registers in between is not kept for; it
//! looks afterwards whether its next entry and files are there, and else is rebuilt.

use super::journals::{Entries, Shards};
use crate::entry::Entry;
use crate::error::LakeError;
use crate::followers::{self, FollowerName, Registration};
use crate::journal::Journal;
use crate::micros;
use authpulse_event::{ProcessingTime, ShardId, Span};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a file may be one that an entry names and a follower reads.
pub(super) fn is_of_entry(path: &str) -> bool {
    path.contains("/data/") || path.starts_with("state/")
}

/// A follower, as maintenance sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// When it registered last, by its own clock, in microseconds since 1970.
    #[serde(with = "micros")]
    pub at: ProcessingTime,
    /// Entries that it lacks, over all shards.
    pub lacks: u64,
    /// The oldest of them.
    pub oldest: Option<Lacked>,
    /// Whether what it lacks is kept.
    pub kept: Kept,
    /// Entries that would be folded if it were not for this follower.
    pub holds: u64,
}

/// An entry that a follower lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lacked {
    /// Of this shard.
    pub shard: String,
    /// Its number.
    pub n: u64,
    /// When it was written, in microseconds since 1970.
    #[serde(with = "micros")]
    pub written_at: ProcessingTime,
}

/// Whether what a follower lacks is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// It is; or it lacks nothing.
    Yes,
    /// No longer: its oldest entry was written longer ago than followers are kept for.
    Overdue,
    /// It cannot be: the next entry of some shard is folded already. The follower has to be rebuilt.
    Folded,
}

impl Standing {
    /// In words, for people; none where there is nothing to say.
    pub fn words(&self) -> Option<String> {
        let (name, lacks) = (&self.name, self.lacks);
        let oldest = self.oldest.as_ref().map(|oldest| {
            let written = authpulse_event::time::format_rfc3339(oldest.written_at);
            format!(", the oldest entry {} of shard {}, written {written}", oldest.n, oldest.shard)
        });
        let oldest = oldest.unwrap_or_default();
        let ends = format!("`authpulse followers forget {name}` ends that");
        match self.kept {
            Kept::Yes if self.holds == 0 => None,
            Kept::Yes => Some(format!(
                "follower {name} lacks {lacks} entries{oldest}: {} entries are not folded for its sake, and files stay; {ends}",
                self.holds
            )),
            Kept::Overdue => Some(format!(
                "follower {name} lacks {lacks} entries{oldest}: longer ago than `[followers] keep`, so nothing is kept for it any \
                 more, and it will be rebuilt when it comes back"
            )),
            Kept::Folded => Some(format!(
                "follower {name} lacks {lacks} entries, some of which are folded: it will be rebuilt when it comes back"
            )),
        }
    }
}

/// What the registry said at one moment.
pub(super) struct KeptForFollowers {
    /// Those for whom something is kept.
    kept: Vec<Registration>,
    /// All.
    pub(super) standings: Vec<Standing>,
}

impl KeptForFollowers {
    /// Reads the registry. `foldable` says up to which entry a shard could be folded if nobody followed.
    pub(super) async fn read(
        journal: &dyn Journal,
        shards: &Shards,
        (now, keep): (ProcessingTime, Span),
        foldable: impl Fn(&ShardId) -> u64,
    ) -> Result<KeptForFollowers, LakeError> {
        let mut held = KeptForFollowers { kept: Vec::new(), standings: Vec::new() };
        let mut written: BTreeMap<(ShardId, u64), Option<ProcessingTime>> = BTreeMap::new();
        for (name, registration) in followers::read(journal.followers()).await? {
            let standing = stand(journal, shards, (now, keep), &foldable, (&name, &registration), &mut written).await?;
            if standing.kept == Kept::Yes {
                held.kept.push(registration);
            }
            held.standings.push(standing);
        }
        Ok(held)
    }

    /// The last entry of a shard that nobody lacks for whom entries are kept.
    pub(super) fn through(&self, shard: &ShardId) -> u64 {
        self.kept.iter().map(|registration| registration.of(shard)).min().unwrap_or(u64::MAX)
    }

    /// Files of the entries that are kept: of all tables, and their spills.
    pub(super) async fn files(&self, journal: &dyn Journal, shards: &Shards) -> Result<BTreeSet<String>, LakeError> {
        let mut files = BTreeSet::new();
        for shard in shards.names() {
            let through = self.through(shard);
            if through >= shards.last(shard) {
                continue;
            }
            let mut entries = Entries::after(shard, through, shards.known());
            while let Some(batch) = entries.next(journal).await? {
                for entry in batch {
                    files.extend(entry.files.into_iter().map(|file| file.path));
                    files.extend(entry.spill_file.into_iter().map(|file| file.path));
                }
            }
        }
        Ok(files)
    }
}

async fn stand(
    journal: &dyn Journal,
    shards: &Shards,
    (now, keep): (ProcessingTime, Span),
    foldable: &impl Fn(&ShardId) -> u64,
    (name, registration): (&FollowerName, &Registration),
    written: &mut BTreeMap<(ShardId, u64), Option<ProcessingTime>>,
) -> Result<Standing, LakeError> {
    let mut standing =
        Standing { name: name.to_string(), at: registration.at, lacks: 0, oldest: None, kept: Kept::Yes, holds: 0 };
    for shard in shards.names() {
        let (applied, last) = (registration.of(shard), shards.last(shard));
        if applied >= last {
            continue;
        }
        standing.lacks += last - applied;
        standing.holds += foldable(shard).saturating_sub(applied);
        // Of what is folded also the entries that are still there do not count: their numbers may have been free meanwhile.
        if shards.checkpoint(shard).is_some_and(|checkpoint| checkpoint.through > applied) {
            standing.kept = Kept::Folded;
            continue;
        }
        let key = (shard.clone(), applied + 1);
        let at = match written.get(&key) {
            Some(at) => *at,
            None => {
                let at = match journal.get(shard, applied + 1).await? {
                    Some(body) => Some(Entry::decode(shard, applied + 1, &body, shards.known())?.written_at),
                    None => None,
                };
                written.insert(key, at);
                at
            }
        };
        // Another maintenance has folded it since the journals were looked at.
        let Some(written_at) = at else {
            standing.kept = Kept::Folded;
            continue;
        };
        if standing.oldest.as_ref().is_none_or(|oldest| written_at < oldest.written_at) {
            standing.oldest = Some(Lacked { shard: shard.to_string(), n: applied + 1, written_at });
        }
    }
    let is_overdue = |oldest: &Lacked| now.saturating_since(oldest.written_at) > keep;
    if standing.kept == Kept::Yes && standing.oldest.as_ref().is_some_and(is_overdue) {
        standing.kept = Kept::Overdue;
    }
    if standing.kept != Kept::Yes {
        standing.holds = 0;
    }
    Ok(standing)
}
