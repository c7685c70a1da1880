//! Which format an entry is written in: the old one as long as nothing in it needs the new one, so that old and new programs share
//! a lake until something new is stored.

use super::{Entry, EntryError, Spill};
use crate::schema::Table;
use crate::sections::Known;
use authpulse_event::EventModel;

/// The newest format that this program reads. 3 is 2 with sections, and with whatever else 2 has no room for.
pub const FORMAT: u32 = 3;
/// The format of an entry in which nothing is new: byte for byte what programs write that know no newer one. 2 says what 1 says, but
/// by another rule: what an event ahead of its arrival raises the watermark to, and what makes a duplicate (semantics, section 2).
/// Whoever knows only 1 must not go on.
pub const PLAIN_FORMAT: u32 = 2;

impl Entry {
    /// The format that this entry is to be written in. `spill` is its spill, wherever that is stored; `before` the format of the entry
    /// before it in its shard, of a child's first entry the highest of its parents' last ones. So a shard never goes back: what its
    /// last snapshot or any earlier entry needed, the entry before it needed as well.
    pub fn format_to_write(&self, spill: &Spill, before: u32) -> u32 {
        if before > PLAIN_FORMAT || self.needs_newest(spill) { FORMAT } else { PLAIN_FORMAT }
    }

    /// Whether anything that this entry holds or names has no place in [`PLAIN_FORMAT`]. Whatever gives entries something new says so
    /// here.
    fn needs_newest(&self, spill: &Spill) -> bool {
        self.time_rules.event_model != EventModel::default().number()
            || !self.sections.is_empty()
            || !spill.sections.is_empty()
            || self.snapshot.iter().any(|piece| !piece.sections.is_empty())
            || self.files.iter().any(|file| !file.columns.is_empty() || !Table::FIRST.contains(&file.table))
    }

    /// Refuses sections that must be understood and are not, in the entry, in the spill within it, or in a piece that it names.
    pub(crate) fn check_sections(&self, known: &dyn Known, what: impl Fn() -> String) -> Result<(), EntryError> {
        let refused = |what: String, section: &str| Err(EntryError::Section { what, section: section.to_owned() });
        if let Some(section) = self.sections.beyond(known).or_else(|| self.spill.sections.beyond(known)) {
            return refused(what(), section);
        }
        for piece in &self.snapshot {
            if let Some((section, _)) = piece.sections.iter().find(|(name, must)| **must && !known.knows(name)) {
                return refused(format!("{} of the snapshot of {}", piece.file.path, what()), section);
            }
        }
        Ok(())
    }
}
