//! The format in which an entry is written: the old one as long as nothing in the entry needs the new one, so that old and new programs can
//! share a lake until something new is stored.

use super::{Entry, EntryError, Spill};
use crate::schema::Table;
use crate::sections::Known;
use authpulse_event::EventModel;

/// The newest format that this program reads. Format 3 is format 2 with sections, and with whatever else 2 has no room for.
pub const FORMAT: u32 = 3;
/// The format of an entry that holds nothing new: byte for byte what older programs write. Format 2 has the fields of 1 under other rules:
/// how far an event ahead of its arrival raises the watermark, and what makes a duplicate (semantics, section 2). A program that knows only
/// format 1 must not go on.
pub const PLAIN_FORMAT: u32 = 2;

impl Entry {
    /// The format in which this entry is to be written. `spill` is its spill, wherever that is stored. `before` is the format of the entry
    /// before it in its shard; for a child's first entry it is the highest of its parents' last ones. So a shard never goes back: what its
    /// last snapshot or an earlier entry needed, the entry before it needed as well.
    pub fn format_to_write(&self, spill: &Spill, before: u32) -> u32 {
        if before > PLAIN_FORMAT || self.needs_newest(spill) { FORMAT } else { PLAIN_FORMAT }
    }

    /// Whether this entry holds or names anything that has no place in [`PLAIN_FORMAT`]. Whatever is added to entries must be checked here.
    fn needs_newest(&self, spill: &Spill) -> bool {
        self.time_rules.event_model != EventModel::default().number()
            || !self.sections.is_empty()
            || !spill.sections.is_empty()
            || self.snapshot.iter().any(|piece| !piece.sections.is_empty())
            || self.files.iter().any(|file| !file.columns.is_empty() || !Table::FIRST.contains(&file.table))
    }

    /// Refuses unknown sections that must be understood: in the entry, in the spill within it, or in a piece that it names.
    ///
    /// # Errors
    /// [`EntryError::Section`] names the first such section and what holds it.
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
