//! The sections that a program knows, and what it writes of each.

use crate::entry::Entry;
use crate::sections::{Known, Section, Sections};
use std::fmt;
use std::sync::Arc;

/// What sections stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// An entry of a journal.
    Entry,
    /// An entry's side, in the entry or in a file of its own.
    Spill,
    /// A checkpoint.
    Checkpoint,
    /// A piece of a snapshot of state.
    Piece,
}

/// What a program writes of a section: given what is about to be written and the last entry before it (of a checkpoint: its own last).
pub type Writes = Arc<dyn Fn(Holder, &Entry) -> Option<Section> + Send + Sync>;

/// A section that a program knows.
#[derive(Clone)]
pub struct SectionDef {
    /// Its name, the same in whatever it stands.
    pub name: String,
    /// What the program puts into each thing that it writes, besides what it carries on; none for one that it only reads.
    pub writes: Option<Writes>,
}

impl SectionDef {
    /// A section that is read and understood, and never written.
    pub fn read_only(name: impl Into<String>) -> SectionDef {
        SectionDef { name: name.into(), writes: None }
    }
}

impl fmt::Debug for SectionDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.writes.is_some() { ", written" } else { "" })
    }
}

/// The sections that a program knows. Cheap to clone; by default those of this version, which are none.
#[derive(Clone, Debug, Default)]
pub struct SectionList(Arc<Vec<SectionDef>>);

impl SectionList {
    /// A list of these.
    pub fn new(sections: Vec<SectionDef>) -> SectionList {
        SectionList(Arc::new(sections))
    }

    /// The names of all that are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|section| section.name.as_str())
    }

    /// What this program puts into something that it is about to write; `last` is the entry before it.
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
