//! Where the registrations of followers are kept. What a registration says is in [`crate::followers`].

use super::{JournalError, PutOutcome};
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;

/// The longest name of a follower, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Registrations kept of each follower. A reader may just have looked up the newest one, so the next must not remove it.
pub const REGISTRATIONS_KEPT: u64 = 3;

/// A follower's name: 1 to [`NAME_BYTES_MAX`] letters (A to Z), digits, `-` and `_`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FollowerName(String);

impl FollowerName {
    /// Checks a name.
    ///
    /// # Errors
    /// Text that says what a name must look like.
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

/// Where registrations are kept. Those of each follower are numbered from 1. A registration is stored whole or not at all, and only if its
/// number is free. The highest number counts.
///
/// # Errors
/// The registry cannot be read or written, or something else lies in it.
#[async_trait]
pub trait Followers: Send + Sync {
    /// The registration with the highest number of each follower, in order of name.
    async fn registered(&self) -> Result<Vec<(FollowerName, u64, Bytes)>, JournalError>;
    /// Stores registration `n` if that number is free, and then removes all but the newest [`REGISTRATIONS_KEPT`]. After an error it may be
    /// stored or not; storing it once more does no harm.
    async fn register(&self, name: &FollowerName, n: u64, body: Bytes) -> Result<PutOutcome, JournalError>;
    /// Removes all registrations of a follower; returns whether there were any.
    async fn forget(&self, name: &FollowerName) -> Result<bool, JournalError>;
}

/// The error for a file or row that lies among the registrations and is not one.
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
