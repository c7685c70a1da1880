//! Where it is kept who, beside the tables, follows the journals: what a registration says is in [`crate::followers`].

use super::{JournalError, PutOutcome};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;

/// The longest name of a follower, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Registrations of one follower that stay: of a reader that has just looked up the newest, the next one must not take it away.
pub const REGISTRATIONS_KEPT: u64 = 3;

/// A follower's name: 1 to [`NAME_BYTES_MAX`] letters (A to Z), digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowerName(String);

impl FollowerName {
    /// Takes a name.
    ///
    /// # Errors
    /// In words, what a name looks like.
    pub fn new(name: &str) -> Result<FollowerName, String> {
        let is_fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_fine) {
            return Err(format!(
                "{name:?} is no name of a follower: it has 1 to {NAME_BYTES_MAX} letters, digits, '-' and '_'"
            ));
        }
        Ok(FollowerName(name.to_owned()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FollowerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where registrations are kept: numbered from 1 for each follower, each stored whole or not at all, and only if its number is
/// free. The highest number counts.
#[async_trait]
pub trait Followers: Send + Sync {
    /// The registration with the highest number of each follower, in order of name.
    async fn registered(&self) -> Result<Vec<(FollowerName, u64, Bytes)>, JournalError>;
    /// Stores registration `n` if that number is free, and then removes all but the newest [`REGISTRATIONS_KEPT`]. An error
    /// leaves open whether it is stored; storing it once more does no harm.
    async fn register(&self, name: &FollowerName, n: u64, body: Bytes) -> Result<PutOutcome, JournalError>;
    /// Removes all registrations of a follower; tells whether there was any.
    async fn forget(&self, name: &FollowerName) -> Result<bool, JournalError>;
}

/// Why something that lies among the registrations is none.
pub(super) fn stray(journal: String, path: &str) -> JournalError {
    let why = format!("{path} is no registration of a follower; nothing else may lie there: move it elsewhere");
    JournalError::Refused { journal, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path_everywhere() {
        for name in ["a", "counts-by_User9", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(FollowerName::new(name).map(|n| n.to_string()).as_deref(), Ok(name));
        }
        for name in ["", ".", "a/b", "a b", "ä", "a.b", &"x".repeat(NAME_BYTES_MAX + 1)] {
            let told = FollowerName::new(name).unwrap_err();
            assert!(told.contains("1 to 64 letters"), "{told}");
        }
    }
}
