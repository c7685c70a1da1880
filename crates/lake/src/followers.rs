//! The registry of followers: which programs beside the tables read the journals, and how far each is. Folding and cleaning keep what a
//! registered follower has not read yet.
//!
//! The Iceberg tables are not in it: what a table lacks is never folded. For followers it is kept only as long as
//! [`MaintainSettings::follower_keep`](crate::MaintainSettings) says. No follower's rows depend on the registry: the follower stores its
//! place itself, in the same transaction as its rows. If a registration is late or lost, the follower finds something gone and is rebuilt.

pub use crate::journal::{FollowerName, Followers, NAME_BYTES_MAX, REGISTRATIONS_KEPT};

use crate::entry::EntryError;
use crate::error::LakeError;
use crate::journal::{JournalError, PutOutcome};
use crate::micros;
use authpulse_event::{ProcessingTime, ShardId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The format of registrations that this program writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// How often a registration is tried under the next number because others took it.
const PUT_ATTEMPTS: u32 = 5;

/// What a follower stores about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// See [`FORMAT`].
    pub format: u32,
    /// The follower's name.
    pub name: String,
    /// When it was written, by the follower's own clock.
    #[serde(with = "micros")]
    pub at: ProcessingTime,
    /// The last entry that the follower holds, by shard; a shard that is missing has none.
    pub applied: BTreeMap<String, u64>,
}

impl Registration {
    /// A registration in the format of this version.
    pub fn new(name: &FollowerName, at: ProcessingTime, applied: &BTreeMap<ShardId, u64>) -> Registration {
        let applied = applied.iter().map(|(shard, n)| (shard.to_string(), *n)).collect();
        Registration { format: FORMAT, name: name.to_string(), at, applied }
    }

    /// The last entry of a shard that the follower holds; 0 for none.
    pub fn of(&self, shard: &ShardId) -> u64 {
        self.applied.get(shard.as_str()).copied().unwrap_or(0)
    }

    /// The bytes to store: JSON, so that it can be read with common tools.
    pub fn encode(&self) -> Bytes {
        serde_json::to_vec(self).expect("a registration has string keys only and serialises").into()
    }

    /// Reads a stored registration.
    ///
    /// # Errors
    /// It was written by a newer version or is damaged; `authpulse followers forget` removes it.
    pub fn decode(name: &FollowerName, n: u64, bytes: &[u8]) -> Result<Registration, EntryError> {
        let what = || format!("registration {n} of follower {name} (`authpulse followers forget {name}` removes it)");
        #[derive(Deserialize)]
        struct Head {
            format: u32,
        }
        let damaged = |cause: String| EntryError::Damaged { what: what(), cause };
        let head: Head = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if head.format > FORMAT {
            return Err(EntryError::Newer { what: what(), format: head.format, newest: FORMAT });
        }
        let found: Registration = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        if found.name != name.as_str() {
            return Err(damaged(format!("it says it is of {}", found.name)));
        }
        Ok(found)
    }
}

/// The newest registration of each follower.
///
/// # Errors
/// The registry cannot be read, or a registration is damaged or newer than this program; it is then unknown what must be kept.
pub async fn read(followers: &dyn Followers) -> Result<Vec<(FollowerName, Registration)>, LakeError> {
    let stored = followers.registered().await?;
    stored
        .into_iter()
        .map(|(name, n, body)| {
            let registration = Registration::decode(&name, n, &body)?;
            Ok((name, registration))
        })
        .collect()
}

/// Stores a registration after all others of the follower. `last` is the number of the previous one, 0 if unknown. Returns the number of
/// this one.
///
/// # Errors
/// The registry fails, or others took every number that was tried.
pub async fn put(
    followers: &dyn Followers,
    name: &FollowerName,
    registration: &Registration,
    last: u64,
) -> Result<u64, JournalError> {
    let mut last = if last == 0 { newest(followers, name).await? } else { last };
    for _ in 0..PUT_ATTEMPTS {
        let n = last + 1;
        if followers.register(name, n, registration.encode()).await? == PutOutcome::Created {
            return Ok(n);
        }
        // Another process of this follower, or an earlier attempt of this one whose answer was lost.
        last = newest(followers, name).await?.max(n);
    }
    Err(JournalError::Failed {
        journal: format!("registry of followers, {name}"),
        action: "registering",
        cause: format!(
            "{PUT_ATTEMPTS} numbers were taken by others: see whether several processes run under this name"
        ),
    })
}

async fn newest(followers: &dyn Followers, name: &FollowerName) -> Result<u64, JournalError> {
    let all = followers.registered().await?;
    Ok(all.into_iter().find(|(other, ..)| other == name).map_or(0, |(_, n, _)| n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_says_how_to_be_rid_of_it() {
        let name = FollowerName::new("counts").unwrap();
        let whole = Registration::new(&name, ProcessingTime::from_micros(7), &BTreeMap::from([(ShardId::new("a"), 3)]));
        assert_eq!(Registration::decode(&name, 1, &whole.encode()).unwrap(), whole);
        let newer = Registration { format: FORMAT + 1, ..whole.clone() };
        let other = Registration { name: "other".to_owned(), ..whole };
        for (body, words) in [
            (newer.encode(), "newer version"),
            (other.encode(), "it is of other"),
            (Bytes::from_static(b"{"), "damaged"),
        ] {
            let told = Registration::decode(&name, 1, &body).unwrap_err().to_string();
            assert!(told.contains(words) && told.contains("followers forget counts"), "{told}");
        }
    }
}
