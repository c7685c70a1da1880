//! What is kept for followers: the entries that they lack, with their spills and their files for all tables.
//!
//! The registry is read again each time, as the last step before anything is removed. For a follower that registers in between nothing is
//! kept; it checks afterwards whether its next entry and files exist, and is rebuilt if they do not.

use super::journals::{Entries, Shards};
use crate::entry::Entry;
use crate::error::LakeError;
use crate::followers::{self, FollowerName, Registration};
use crate::journal::Journal;
use crate::micros;
use authpulse_event::{ProcessingTime, ShardId, Span};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Whether an entry may name the file, and a follower read it.
pub(super) fn is_of_entry(path: &str) -> bool {
    path.contains("/data/") || path.starts_with("state/")
}

/// A follower, as maintenance sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// When it last registered, by its own clock, in microseconds since 1970.
    #[serde(with = "micros")]
    pub at: ProcessingTime,
    /// How many entries it lacks, over all shards.
    pub lacks: u64,
    /// The oldest entry that it lacks.
    pub oldest: Option<Lacked>,
    /// Whether the entries that it lacks are kept.
    pub kept: Kept,
    /// How many entries would be folded if this follower did not need them.
    pub holds: u64,
}

/// An entry that a follower lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Lacked {
    /// The entry's shard.
    pub shard: String,
    /// The entry's number.
    pub n: u64,
    /// When it was written, in microseconds since 1970.
    #[serde(with = "micros")]
    pub written_at: ProcessingTime,
}

/// Whether the entries that a follower lacks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// They are kept, or it lacks none.
    Yes,
    /// They are kept no longer: the oldest was written longer ago than entries are kept for followers.
    Overdue,
    /// They cannot be kept: the next entry of some shard is folded already. The follower must be rebuilt.
    Folded,
}

impl Standing {
    /// A text for people; `None` if there is nothing to say.
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

/// What must be kept for followers, according to the registry at one moment.
pub(super) struct KeptForFollowers {
    /// The followers for which entries are kept.
    kept: Vec<Registration>,
    /// All registered followers.
    pub(super) standings: Vec<Standing>,
}

impl KeptForFollowers {
    /// Reads the registry. `foldable` says up to which entry a shard could be folded if there were no followers.
    ///
    /// # Errors
    /// The registry or a journal cannot be read.
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

    /// The last entry of a shard that no follower lacks for which entries are kept.
    pub(super) fn through(&self, shard: &ShardId) -> u64 {
        self.kept.iter().map(|registration| registration.of(shard)).min().unwrap_or(u64::MAX)
    }

    /// The files of the entries that are kept: those for all tables, and spills.
    ///
    /// # Errors
    /// A journal cannot be read, or lacks one of these entries.
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
        // Once an entry is folded, entries that still exist do not count either: their numbers may have been free in the meantime.
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
        // Another maintenance run has folded it after the journals were read.
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
