//! When the entry in the making is due. All times are in ticks: a clock that is set back must not keep anything from being stored.

use authpulse_event::HashRange;

/// Rows from which on an entry is stored as soon as it can publish a share: early enough that the next day's scoring seldom waits.
const SHARE_ROWS: u64 = 50_000;

/// See the module.
pub struct Storing {
    /// How old an entry may get.
    entry_age: i64,
    /// A moment at which an entry is due, as it is at whole ages before and behind it.
    beat: i64,
    /// Whether the last entry was stored because it was full: then one may get its whole age, which would not be reached anyway.
    was_full: bool,
    /// When the last entry was closed.
    closed_at: i64,
}

/// What the entry in the making holds, as far as it decides when that is due.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// When its first record was judged; absent where it has none.
    pub opened: Option<i64>,
    /// Whether it takes no more.
    pub is_full: bool,
    /// Whether it would publish a day's share.
    pub publishes: bool,
    /// Rows scored.
    pub rows: u64,
    /// Whether half of what may be accepted without being scored is.
    pub half_unscored: bool,
    /// Whether another shard's scoring stands still for what it would publish.
    pub is_waited_for: bool,
}

impl Storing {
    /// Before the first entry.
    pub fn new(entry_age: i64, range: HashRange, now: i64) -> Storing {
        Storing { entry_age, beat: now + first_entry_age(entry_age, range), was_full: false, closed_at: now }
    }

    /// When an entry that was opened then gets too old.
    pub fn due_at(&self, opened: Option<i64>) -> Option<i64> {
        let age = self.entry_age;
        let since_beat = |opened: i64| (opened - self.beat).checked_rem_euclid(age).filter(|_| !self.was_full);
        opened.map(|opened| opened + age - since_beat(opened).unwrap_or(0))
    }

    /// Whether the entry in the making is to be stored now: it is full, or too old, or early for what it would publish.
    pub fn is_due(&self, held: &Held, now: i64) -> bool {
        let Some(due_at) = self.due_at(held.opened) else { return false };
        held.is_full
            || now >= due_at
            || (held.publishes && (held.rows >= SHARE_ROWS || held.half_unscored || held.is_waited_for))
    }

    /// Whether the last entry is as old as one may get.
    pub fn is_aged(&self, now: i64) -> bool {
        now - self.closed_at >= self.entry_age
    }

    /// An entry is closed, perhaps because it was full.
    pub fn closed(&mut self, is_full: bool, now: i64) {
        (self.was_full, self.closed_at) = (is_full, now);
    }
}

/// The age of a shard's first entry: shorter the further back the shard's range begins, so that the shards of a worker, all opened
/// at about the same time, do not all encode and store at the same moment. They keep that distance: a day that closes makes all of
/// them store at once, and what follows is due when it would have been. A shard alone has the whole age.
fn first_entry_age(entry_age: i64, range: HashRange) -> i64 {
    let behind = (range.first >> 64) as f64 / 2f64.powi(64);
    (entry_age as f64 * (1.0 - behind)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second_half() -> HashRange {
        HashRange { first: 1 << 127, ..HashRange::FULL }
    }

    #[test]
    fn an_empty_entry_is_never_due() {
        let storing = Storing::new(10, HashRange::FULL, 0);
        let held = Held { is_full: true, publishes: true, rows: SHARE_ROWS, is_waited_for: true, ..Held::default() };
        assert!(!storing.is_due(&held, 1_000));
    }

    #[test]
    fn an_entry_is_due_at_its_age_or_full() {
        let storing = Storing::new(10, HashRange::FULL, 0);
        let held = Held { opened: Some(0), ..Held::default() };
        assert!(!storing.is_due(&held, 9) && storing.is_due(&held, 10));
        assert!(storing.is_due(&Held { is_full: true, ..held }, 1));
    }

    /// Two shards opened together store half an age apart, and go on so, whenever their entries were opened.
    #[test]
    fn shards_keep_their_distance() {
        let (whole, half) = (Storing::new(10, HashRange::FULL, 100), Storing::new(10, second_half(), 100));
        assert_eq!((whole.due_at(Some(100)), half.due_at(Some(100))), (Some(110), Some(105)));
        assert_eq!((whole.due_at(Some(113)), half.due_at(Some(113))), (Some(120), Some(115)));
    }

    #[test]
    fn behind_a_full_entry_one_gets_its_whole_age() {
        let mut storing = Storing::new(10, HashRange::FULL, 0);
        storing.closed(true, 3);
        assert_eq!(storing.due_at(Some(3)), Some(13));
        storing.closed(false, 13);
        assert_eq!(storing.due_at(Some(13)), Some(20));
    }

    #[test]
    fn what_publishes_a_share_is_stored_early_where_that_helps() {
        let storing = Storing::new(1_000, HashRange::FULL, 0);
        let held = Held { opened: Some(0), publishes: true, ..Held::default() };
        assert!(!storing.is_due(&held, 1));
        let helps = [
            Held { rows: SHARE_ROWS, ..held },
            Held { half_unscored: true, ..held },
            Held { is_waited_for: true, ..held },
        ];
        for early in helps {
            assert!(storing.is_due(&early, 1), "{early:?}");
            assert!(!storing.is_due(&Held { publishes: false, ..early }, 1), "{early:?}");
        }
    }

    #[test]
    fn the_last_entry_ages_from_when_it_was_closed() {
        let mut storing = Storing::new(10, HashRange::FULL, 0);
        assert!(!storing.is_aged(9) && storing.is_aged(10));
        storing.closed(false, 10);
        assert!(!storing.is_aged(19));
    }
}
