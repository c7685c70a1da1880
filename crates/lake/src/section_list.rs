//! The sections that a program knows, and what it writes in each.

use crate::entry::Entry;
use crate::sections::{Known, Section, Sections};
use std::fmt;
use std::sync::Arc;

/// What can hold sections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// An entry of a journal.
    Entry,
    /// An entry's spill, in the entry or in a file of its own.
    Spill,
    /// A checkpoint of a journal.
    Checkpoint,
    /// A piece of a snapshot of state.
    Piece,
}

/// Makes the section that a program writes: from what is about to be written, and the last entry before it (for a checkpoint: the last
/// entry that it stands for).
pub type Writes = Arc<dyn Fn(Holder, &Entry) -> Option<Section> + Send + Sync>;

/// A section that a program knows.
#[derive(Clone)]
pub struct SectionDef {
    /// Its name, the same in every holder.
    pub name: String,
    /// What the program puts into each thing that it writes, besides what it carries on; `None` if it only reads the section.
    pub writes: Option<Writes>,
}

impl SectionDef {
    /// A section that is read and understood, but never written.
    pub fn read_only(name: impl Into<String>) -> SectionDef {
        SectionDef { name: name.into(), writes: None }
    }
}

impl fmt::Debug for SectionDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.writes.is_some() { ", written" } else { "" })
    }
}

/// The sections that a program knows. Cheap to clone. The default is the list of this version, which is empty.
#[derive(Clone, Debug, Default)]
pub struct SectionList(Arc<Vec<SectionDef>>);

impl SectionList {
    /// A list of these.
    pub fn new(sections: Vec<SectionDef>) -> SectionList {
        SectionList(Arc::new(sections))
    }

    /// The names of all known sections.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|section| section.name.as_str())
    }

    /// The sections that this program adds to something it is about to write; `last` is the entry before it.
    pub fn written(&self, holder: Holder, last: &Entry) -> Sections {
        let sections = self.0.iter().filter_map(|section| {
            let written = section.writes.as_ref()?(holder, last)?;
            Some((section.name.clone(), written))
        });
        sections.collect()
    }
}

impl Known for SectionList {
    fn knows(&self, name: &str) -> bool {
        self.0.iter().any(|section| section.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sections::Body;

    #[test]
    fn what_must_be_understood_and_is_not_is_named() {
        let mut sections = Sections::default();
        sections.insert("a", Section { must: false, carry: false, body: Body::new(&1).unwrap(), also: Vec::new() });
        sections.insert("b", Section { must: true, carry: true, body: Body::new(&2).unwrap(), also: Vec::new() });
        assert_eq!(sections.beyond(&SectionList::default()), Some("b"));
        assert_eq!(sections.beyond(&SectionList::new(vec![SectionDef::read_only("b")])), None);
        assert_eq!(sections.carried().iter().map(|(name, _)| name).collect::<Vec<_>>(), ["b"]);
    }
}
