//! Looking up a few dozen records before their turn.
//!
//! Users' state is spread over tens of megabytes, so an event taken alone waits for memory a dozen times. For many events taken
//! together these waits overlap: names first, then users, then what users point to. What is found stays true, because numbers and
//! slots never change; what is not found may exist by the time the record's turn comes.

use crate::names::{ComputerId, UserId};
use crate::shard::Shard;
use crate::user::Slot;
use authpulse_event::ParsedEvent;
use std::hint::black_box;

/// What the look-ahead found for an event: the numbers of its names, and the slot of its computer. Nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    pub(crate) user: Option<UserId>,
    pub(crate) computer: Option<ComputerId>,
    pub(crate) slot: Option<Slot>,
}

impl Shard {
    /// Looks up the names of the next records (`None` for a record that is no event), puts what it found into `known`, one for each,
    /// and brings their users' state into the cache. A few dozen at once are best: fewer overlap little, more evict each other.
    pub fn look_ahead<'a>(&self, events: impl Iterator<Item = Option<&'a ParsedEvent<'a>>>, known: &mut Vec<Known>) {
        known.clear();
        known.extend(events.map(|event| match event {
            Some(event) => Known {
                user: self.user_names.find(&event.user),
                computer: self.computers.find(&event.computer),
                slot: None,
            },
            None => Known::default(),
        }));
        let mut touched = 0;
        for user in known.iter().filter_map(|known| known.user) {
            touched ^= self.users[user.index()].touch();
        }
        for user in known.iter().filter_map(|known| known.user) {
            touched ^= self.users[user.index()].touch_ends();
        }
        for known in known {
            if let (Some(user), Some(computer)) = (known.user, known.computer) {
                let user = &self.users[user.index()];
                known.slot = user.slot(computer);
                touched ^= known.slot.map_or(0, |slot| user.touch_pair(slot));
            }
        }
        black_box(touched);
    }
}
