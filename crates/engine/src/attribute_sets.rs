//! Sharing of equal attributes among rows.
//!
//! Many events of one sender carry the same attributes. The rows of one entry share one allocation for equal ones, and the cut that
//! ends the entry drops this table. They do not go into a shard's tables of names: those only grow, and senders choose attributes.

use authpulse_event::Attributes;
use hashbrown::HashSet;

/// Bytes that one set takes up in the table itself, roughly: a pointer and a control byte, with the table half full.
const PLACE_BYTES: usize = 2 * (size_of::<Attributes>() + 1);

/// The distinct sets of attributes of some rows. Hashed with a seed per process, because senders choose the values.
#[derive(Default)]
pub(crate) struct AttributeSets {
    sets: HashSet<Attributes, foldhash::quality::RandomState>,
    bytes: usize,
}

impl AttributeSets {
    /// Replaces `attributes` by an equal set that is known already, or remembers it for later rows.
    pub(crate) fn share(&mut self, attributes: &mut Attributes) {
        match self.sets.get(attributes) {
            Some(known) => *attributes = known.clone(),
            None => {
                self.bytes += attributes.bytes() + PLACE_BYTES;
                self.sets.insert(attributes.clone());
            }
        }
    }

    /// The memory that all sets take up, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
