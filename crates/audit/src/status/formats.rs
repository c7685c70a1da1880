//! Which programs can go on with a lake: the format of each shard, and what is too new for this program.

use super::ShardStatus;
use authpulse_journal::error::Chain;
use authpulse_lake::entry::PLAIN_FORMAT;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

/// The formats in a lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Formats {
    /// Names of shards by the format of their last entry, as far as this program can read it.
    pub shards: BTreeMap<u32, Vec<String>>,
    /// What this program cannot read.
    pub too_new: Vec<TooNew>,
    /// Whether a program that knows no format above [`PLAIN_FORMAT`] can go on: no shard has a newer one, and nothing is too new for this
    /// program.
    pub older_can_go_on: bool,
}

/// A shard or table that is too new for this program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TooNew {
    /// The shard's journal, or the table.
    pub name: String,
    /// What is too new in it, in the words of the error.
    pub what: String,
}

impl TooNew {
    /// Takes the words from the error with which reading `name` failed.
    pub(super) fn new(name: &str, error: &(dyn std::error::Error + 'static)) -> TooNew {
        TooNew { name: name.to_owned(), what: Chain(error).to_string() }
    }
}

impl Formats {
    /// Sorts shards by the format of their last entries.
    pub(super) fn of(shards: &[ShardStatus], too_new: Vec<TooNew>) -> Formats {
        let mut by_format: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for shard in shards {
            by_format.entry(shard.format).or_default().push(shard.shard.clone());
        }
        let older_can_go_on = too_new.is_empty() && by_format.keys().all(|format| *format <= PLAIN_FORMAT);
        Formats { shards: by_format, too_new, older_can_go_on }
    }
}

impl Display for Formats {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "formats")?;
        for TooNew { name, what } in &self.too_new {
            write!(f, "\n  {name}: too new for this program: {what}")?;
        }
        if self.older_can_go_on {
            return write!(f, "\n  all is in format {PLAIN_FORMAT}: older programs can go on with this lake");
        }
        let newer = self.shards.iter().filter(|(format, _)| **format > PLAIN_FORMAT);
        newer.clone().try_for_each(|(format, shards)| write!(f, "\n  format {format}: {}", shards.join(", ")))?;
        write!(f, "\n  programs that know no format above {PLAIN_FORMAT} cannot go on with this lake")
    }
}
