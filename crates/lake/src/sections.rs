//! Named sections: they add to entries, spills, checkpoints and pieces of snapshots what older programs do not know, without a new format
//! each time.
//!
//! A section has a name, a body and two marks. `must`: a program that does not know the section must not go on, because what holds it is
//! too new for that program. `carry`: each later entry of the shard repeats it, even if the writing program does not know it. Readers skip
//! an unknown section that need not be understood, and keep it to the byte wherever they pass its holder on.
//!
//! The list of sections that a program knows is handed in ([`crate::SectionList`]), so that programs with different lists can work on one
//! lake. This version knows none.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A section's content: JSON, kept to the byte as it was written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Body(Box<RawValue>);

impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Body {}

impl Body {
    /// A value as a body.
    ///
    /// # Errors
    /// The value cannot be written as JSON.
    pub fn new(value: &impl Serialize) -> Result<Body, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Body)
    }

    /// The JSON.
    pub fn text(&self) -> &str {
        self.0.get()
    }

    /// Reads the content, for a program that knows the section.
    ///
    /// # Errors
    /// The content has another shape.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.text())
    }
}

/// One section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Whether a program that does not know it must not go on.
    pub must: bool,
    /// In an entry: whether each later entry of the shard repeats it, and the first entry of each child.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carry: bool,
    /// Its content.
    pub body: Body,
    /// In a child whose parents had different contents: those of the other parents. A program that knows the section combines them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Body>,
}

/// Whether a program knows a section.
pub trait Known {
    /// Whether the section of this name is known.
    fn knows(&self, name: &str) -> bool;
}

/// The sections of one holder, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sections(BTreeMap<String, Section>);

impl Sections {
    /// Whether there are no sections.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The section of this name.
    pub fn get(&self, name: &str) -> Option<&Section> {
        self.0.get(name)
    }

    /// All sections, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Section)> {
        self.0.iter().map(|(name, section)| (name.as_str(), section))
    }

    /// Adds a section; it replaces one of the same name.
    pub fn insert(&mut self, name: impl Into<String>, section: Section) {
        self.0.insert(name.into(), section);
    }

    /// Adds sections; they replace those of the same names.
    pub fn extend(&mut self, others: Sections) {
        self.0.extend(others.0);
    }

    /// The first section that must be understood and is not known.
    pub fn beyond(&self, known: &dyn Known) -> Option<&str> {
        self.iter().find(|(name, section)| section.must && !known.knows(name)).map(|(name, _)| name)
    }

    /// The sections that the shard's next entry repeats.
    pub fn carried(&self) -> Sections {
        Sections(self.0.iter().filter(|(_, section)| section.carry).map(|(n, s)| (n.clone(), s.clone())).collect())
    }

    /// Adds what another parent of a child carries. Equal bodies are kept once; different ones are both kept.
    pub fn join(&mut self, other: Sections) {
        for (name, theirs) in other.0 {
            let Some(ours) = self.0.get_mut(&name) else {
                self.0.insert(name, theirs);
                continue;
            };
            ours.must |= theirs.must;
            ours.carry |= theirs.carry;
            for body in std::iter::once(theirs.body).chain(theirs.also) {
                if ours.body != body && !ours.also.contains(&body) {
                    ours.also.push(body);
                }
            }
        }
    }
}

impl FromIterator<(String, Section)> for Sections {
    fn from_iter<I: IntoIterator<Item = (String, Section)>>(sections: I) -> Sections {
        Sections(sections.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(must: bool, carry: bool, body: &str) -> Section {
        Section { must, carry, body: serde_json::from_str(body).unwrap(), also: Vec::new() }
    }

    #[test]
    fn a_body_is_kept_to_the_byte() {
        let text = r#"{"later":{"must":false,"body":{"b": 1.10, "a":123456789012345678901234567890, "a":2}}}"#;
        let read: Sections = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn a_child_keeps_what_its_parents_say_once_each() {
        let of = |body: &str| {
            let mut sections = Sections::default();
            sections.insert("a", section(false, true, body));
            sections
        };
        let mut child = of("1");
        for body in ["1", "2", "1", "2"] {
            child.join(of(body));
        }
        let joined = child.get("a").unwrap();
        let all: Vec<&str> = std::iter::once(&joined.body).chain(&joined.also).map(Body::text).collect();
        assert_eq!(all, ["1", "2"]);
        // Once more, as if children that have both are merged.
        child.join(child.clone());
        assert_eq!(child.get("a").unwrap().also.len(), 1);
    }
}
