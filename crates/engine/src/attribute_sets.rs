//! Attributes that rows share.
//!
//! Many events of one sender carry the same attributes. While the rows of one entry pile up, equal ones are one allocation; with the
//! cut that ends the entry they are given up. A shard's tables of names, which only grow, never see what senders choose.

use authpulse_event::Attributes;
use hashbrown::HashSet;

/// What a set takes up in the table, about, beside itself: a pointer and a byte, at a load of half.
const PLACE_BYTES: usize = 2 * (size_of::<Attributes>() + 1);

/// The different attributes of some rows. Hashed with a seed per process: values are chosen by senders.
#[derive(Default)]
pub(crate) struct AttributeSets {
    sets: HashSet<Attributes, foldhash::quality::RandomState>,
    bytes: usize,
}

impl AttributeSets {
    /// Puts the allocation of an equal one in place of this one, or keeps this one for those to come.
    pub(crate) fn share(&mut self, attributes: &mut Attributes) {
        match self.sets.get(attributes) {
            Some(known) => *attributes = known.clone(),
            None => {
                self.bytes += attributes.bytes() + PLACE_BYTES;
                self.sets.insert(attributes.clone());
            }
        }
    }

    /// What they take up, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
