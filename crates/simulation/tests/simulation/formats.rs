//! Checks the formats of entries that programs of two versions write.

use crate::journals::Journals;
use authpulse_lake::entry::{Entry, FORMAT};
use std::collections::BTreeMap;

/// Checks that no shard goes back to an older format, no child to an older one than its parents', and that sections to be carried on are.
pub fn hold(journals: &Journals) -> Result<(), String> {
    let mut ends: BTreeMap<&str, &Entry> = BTreeMap::new();
    for (_, key, entries) in journals {
        for (at, entry) in entries.iter().enumerate() {
            let parents = entry.inherits.iter().filter_map(|parent| ends.get(parent.shard.as_str()).copied());
            let before: Vec<&Entry> = at.checked_sub(1).map(|at| &entries[at]).into_iter().chain(parents).collect();
            let wrong = |what: &str| Err(format!("entry {} of {key} {what}", entry.n));
            if before.iter().any(|before| before.format > entry.format) {
                return wrong("is of an older format than what it goes on from");
            }
            for (name, _) in
                before.iter().flat_map(|before| before.sections.iter()).filter(|(_, section)| section.carry)
            {
                if entry.sections.get(name).is_none() {
                    return wrong(&format!("does not carry the section {name} on"));
                }
            }
            let needs = !entry.sections.is_empty()
                || !entry.spill.sections.is_empty()
                || entry.snapshot.iter().any(|piece| !piece.sections.is_empty());
            if needs && entry.format != FORMAT {
                return wrong("holds sections and is not of the format that has them");
            }
        }
        if let Some(last) = entries.last() {
            ends.insert(key.as_str(), last);
        }
    }
    Ok(())
}
