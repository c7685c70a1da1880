//! When the entry in the making is due. All times are ticks: a clock that is set back must not keep anything from being stored.

use authpulse_event::{HashRange, Span, Tick};

/// An entry with this many rows is stored as soon as it can publish daily counts: early enough that the next day's scoring seldom waits.
const PUBLISH_ROWS: u64 = 50_000;

/// See the module.
pub struct Storing {
    /// How old an entry may get.
    entry_age: Span,
    /// A moment at which an entry is due. Entries are due at multiples of the age before and behind it as well.
    stagger_anchor: Tick,
    /// Whether the last entry was stored because it was full. The next one may then get its whole age, which it will hardly reach.
    was_full: bool,
    /// When the last entry was closed.
    closed_at: Tick,
}

/// What the entry in the making holds, as far as it decides when that is due.
#[derive(Clone, Copy, Debug, Default)]
pub struct PendingEntry {
    /// When its first record was admitted; absent where it has none.
    pub opened: Option<Tick>,
    /// Whether it takes no more.
    pub is_full: bool,
    /// Whether it would publish the counts of a day.
    pub publishes: bool,
    /// Rows scored.
    pub rows: u64,
    /// Whether half of the room for accepted events that are not scored is taken.
    pub half_unscored: bool,
}

impl Storing {
    /// Before the first entry.
    pub fn new(entry_age: Span, range: HashRange, now: Tick) -> Storing {
        Storing { entry_age, stagger_anchor: now + first_entry_age(entry_age, range), was_full: false, closed_at: now }
    }

    /// When an entry that was opened at `opened` gets too old.
    pub fn due_at(&self, opened: Option<Tick>) -> Option<Tick> {
        let age = self.entry_age;
        let since_anchor =
            |opened: Tick| (opened - self.stagger_anchor).checked_rem_euclid(age).filter(|_| !self.was_full);
        opened.map(|opened| opened + age - since_anchor(opened).unwrap_or_default())
    }

    /// Whether the entry in the making is to be stored now: it is full, or too old, or publishes counts that are better stored early.
    /// `is_waited_for` tells whether another shard's scoring stands still for them; it is asked last.
    pub fn is_due(&self, pending: &PendingEntry, now: Tick, is_waited_for: impl FnOnce() -> bool) -> bool {
        let Some(due_at) = self.due_at(pending.opened) else { return false };
        pending.is_full
            || now >= due_at
            || (pending.publishes && (pending.rows >= PUBLISH_ROWS || pending.half_unscored || is_waited_for()))
    }

    /// Whether the last entry is as old as one may get.
    pub fn is_aged(&self, now: Tick) -> bool {
        now - self.closed_at >= self.entry_age
    }

    /// An entry is closed, perhaps because it was full.
    pub fn closed(&mut self, is_full: bool, now: Tick) {
        (self.was_full, self.closed_at) = (is_full, now);
    }
}

/// The age of a shard's first entry: the higher the shard's range begins, the shorter. The shards of a process are all opened at about the
/// same time; this keeps them from all encoding and storing at the same moment. They keep that distance: a day that closes makes all of
/// them store at once, and the next entries are due when they would have been. A shard alone has the whole age.
fn first_entry_age(entry_age: Span, range: HashRange) -> Span {
    let behind = (range.first >> 64) as f64 / 2f64.powi(64);
    Span::from_micros((entry_age.micros() as f64 * (1.0 - behind)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tick(micros: i64) -> Tick {
        Tick::from_micros(micros)
    }

    fn storing(entry_age: i64, range: HashRange, now: i64) -> Storing {
        Storing::new(Span::from_micros(entry_age), range, tick(now))
    }

    fn second_half() -> HashRange {
        HashRange { first: 1 << 127, ..HashRange::FULL }
    }

    #[test]
    fn an_empty_entry_is_never_due() {
        let storing = storing(10, HashRange::FULL, 0);
        let pending = PendingEntry { is_full: true, publishes: true, rows: PUBLISH_ROWS, ..PendingEntry::default() };
        assert!(!storing.is_due(&pending, tick(1_000), || true));
    }

    #[test]
    fn an_entry_is_due_at_its_age_or_full() {
        let storing = storing(10, HashRange::FULL, 0);
        let pending = PendingEntry { opened: Some(tick(0)), ..PendingEntry::default() };
        let is_due = |pending: PendingEntry, now| storing.is_due(&pending, tick(now), || false);
        assert!(!is_due(pending, 9) && is_due(pending, 10));
        assert!(is_due(PendingEntry { is_full: true, ..pending }, 1));
    }

    /// Two shards opened together store half an age apart, and go on so, whenever their entries were opened.
    #[test]
    fn shards_keep_their_distance() {
        let (whole, half) = (storing(10, HashRange::FULL, 100), storing(10, second_half(), 100));
        assert_eq!((whole.due_at(Some(tick(100))), half.due_at(Some(tick(100)))), (Some(tick(110)), Some(tick(105))));
        assert_eq!((whole.due_at(Some(tick(113))), half.due_at(Some(tick(113)))), (Some(tick(120)), Some(tick(115))));
    }

    #[test]
    fn behind_a_full_entry_one_gets_its_whole_age() {
        let mut storing = storing(10, HashRange::FULL, 0);
        storing.closed(true, tick(3));
        assert_eq!(storing.due_at(Some(tick(3))), Some(tick(13)));
        storing.closed(false, tick(13));
        assert_eq!(storing.due_at(Some(tick(13))), Some(tick(20)));
    }

    #[test]
    fn what_publishes_counts_is_stored_early_where_that_helps() {
        let storing = storing(1_000, HashRange::FULL, 0);
        let pending = PendingEntry { opened: Some(tick(0)), publishes: true, ..PendingEntry::default() };
        assert!(!storing.is_due(&pending, tick(1), || false));
        let helps = [
            (PendingEntry { rows: PUBLISH_ROWS, ..pending }, false),
            (PendingEntry { half_unscored: true, ..pending }, false),
            (pending, true),
        ];
        for (early, is_waited_for) in helps {
            assert!(storing.is_due(&early, tick(1), || is_waited_for), "{early:?}");
            assert!(
                !storing.is_due(&PendingEntry { publishes: false, ..early }, tick(1), || is_waited_for),
                "{early:?}"
            );
        }
    }

    #[test]
    fn the_last_entry_ages_from_when_it_was_closed() {
        let mut storing = storing(10, HashRange::FULL, 0);
        assert!(!storing.is_aged(tick(9)) && storing.is_aged(tick(10)));
        storing.closed(false, tick(10));
        assert!(!storing.is_aged(tick(19)));
    }
}
