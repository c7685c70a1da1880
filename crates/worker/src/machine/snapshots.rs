//! When a snapshot of the state is taken, and which are removed.

use authpulse_event::Tick;
use authpulse_settings::options::Options;

/// Snapshots that are kept: the newest, and one more, which no rebuild uses so far.
const KEPT: usize = 2;

/// See the module.
pub struct Snapshots {
    /// Rows since the last one was taken.
    rows: u64,
    /// When that was.
    taken_at: Tick,
    /// The entries that have one, oldest first.
    entries: Vec<u64>,
}

impl Snapshots {
    /// Behind the entry `last`, which has the newest snapshot; 0 if there is none.
    pub fn new(last: u64, now: Tick) -> Snapshots {
        Snapshots { rows: 0, taken_at: now, entries: if last > 0 { vec![last] } else { Vec::new() } }
    }

    /// Counts the rows of an entry that is closed now. Returns whether it takes a snapshot along.
    pub fn closed(&mut self, rows: u64, options: &Options, now: Tick) -> bool {
        self.rows += rows;
        let is_due =
            self.rows >= options.snapshot_rows || (self.rows > 0 && now - self.taken_at >= options.snapshot_age);
        if is_due {
            (self.rows, self.taken_at) = (0, now);
        }
        is_due
    }

    /// An entry with a snapshot is stored.
    pub fn stored(&mut self, entry: u64) {
        self.entries.push(entry);
    }

    /// The next entry whose snapshot nobody needs any more.
    pub fn take_outdated(&mut self) -> Option<u64> {
        (self.entries.len() > KEPT).then(|| self.entries.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::Span;

    fn tick(micros: i64) -> Tick {
        Tick::from_micros(micros)
    }

    #[test]
    fn a_snapshot_is_taken_after_enough_rows_or_long_enough() {
        let options = Options { snapshot_rows: 100, snapshot_age: Span::from_micros(50), ..Options::default() };
        let mut snapshots = Snapshots::new(0, tick(0));
        assert!(!snapshots.closed(0, &options, tick(1_000)), "nothing to take");
        assert!(snapshots.closed(1, &options, tick(1_000)), "old enough");
        assert!(!snapshots.closed(99, &options, tick(1_010)));
        assert!(snapshots.closed(1, &options, tick(1_010)), "the hundredth row since");
        assert!(!snapshots.closed(1, &options, tick(1_059)) && snapshots.closed(0, &options, tick(1_060)));
    }

    #[test]
    fn the_two_newest_are_kept() {
        let mut snapshots = Snapshots::new(4, tick(0));
        snapshots.stored(9);
        assert_eq!(snapshots.take_outdated(), None);
        snapshots.stored(12);
        assert_eq!((snapshots.take_outdated(), snapshots.take_outdated()), (Some(4), None));
    }
}
