//! What the mark of a seal says, and the words shown for it.

use crate::entry::Entry;
use authpulse_event::EventTime;
use authpulse_event::time::{MIN_TIME, format_rfc3339};
use std::fmt;

/// The mark of a bounded input that was read to its end without one accepted event. No real seal is this early, because a real seal is the
/// end of a day. Without a mark such a run would count as unfinished, and be continued for ever.
pub const NOTHING_ACCEPTED: EventTime = MIN_TIME;

/// The meaning of [`Entry::sealed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seal {
    /// The input is finished, nothing of it was accepted, and nothing is sealed.
    Nothing,
    /// Input below this instant is late.
    UpTo(EventTime),
}

impl Seal {
    /// Reads a mark.
    pub fn of(mark: EventTime) -> Seal {
        if mark == NOTHING_ACCEPTED { Seal::Nothing } else { Seal::UpTo(mark) }
    }

    /// The mark as it is stored.
    pub fn mark(self) -> EventTime {
        match self {
            Seal::Nothing => NOTHING_ACCEPTED,
            Seal::UpTo(end) => end,
        }
    }

    /// The instant below which input is late, if anything is sealed.
    pub fn up_to(self) -> Option<EventTime> {
        match self {
            Seal::Nothing => None,
            Seal::UpTo(end) => Some(end),
        }
    }
}

impl Entry {
    /// The seal that is complete with this entry.
    pub fn seal(&self) -> Option<Seal> {
        self.sealed.map(Seal::of)
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Seal::Nothing => {
                f.write_str("finished: nothing was accepted, so nothing is sealed; a later file or stream goes on")
            }
            Seal::UpTo(end) => write!(f, "sealed up to {}; input below it will be late", format_rfc3339(*end)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::Day;

    #[test]
    fn the_end_of_no_day_is_taken_for_the_mark_of_nothing() {
        assert!(Day::of(MIN_TIME).end() > NOTHING_ACCEPTED);
        for seal in [Seal::Nothing, Seal::UpTo(Day::of(MIN_TIME).end()), Seal::UpTo(EventTime::default())] {
            assert_eq!(Seal::of(seal.mark()), seal);
            assert_eq!(seal.up_to().is_none(), seal == Seal::Nothing);
        }
        assert!(!Seal::Nothing.to_string().contains("0001"));
    }
}
