//! Lines on their way to standard error: a queue with a bound, and a thread of its own that writes.
//!
//! A caller puts a line here and goes on. While standard error takes nothing (its reader is gone, or stopped; the disk is full), lines are
//! dropped and counted. How many is reported as soon as writing works again.

use authpulse_producer::progress::Picture;
use std::collections::VecDeque;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many bytes may wait to be written; a line beyond is dropped.
pub const LINES_BYTES: usize = 2 << 20;
/// The same for decisions. It is less, so that lines still have room.
pub const DECISIONS_BYTES: usize = 1 << 20;
/// How long a decision waits for room while standard error takes nothing at all. Then it is dropped, and so are later ones until something
/// is taken again.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of one write, whole lines. A pipe takes this many in one piece, so that lines of several processes do not mix.
const WRITE_BYTES: usize = 4096;
/// How long until a descriptor that another process made non-blocking is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What is lost if a line cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A line for people.
    Line,
    /// A decision.
    Decision,
}

/// What could not be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Lines for people.
    pub lines: u64,
    /// Decisions.
    pub decisions: u64,
}

impl Lost {
    fn add(&mut self, other: Lost) {
        self.lines += other.lines;
        self.decisions += other.decisions;
    }

    fn is_none(self) -> bool {
        self == Lost::default()
    }
}

/// One line with its line break, and what is lost if it cannot be written.
struct Item {
    bytes: Vec<u8>,
    loses: Lost,
}

impl Item {
    fn new(kind: Kind, bytes: Vec<u8>) -> Item {
        let loses = match kind {
            Kind::Line => Lost { lines: 1, decisions: 0 },
            Kind::Decision => Lost { lines: 0, decisions: 1 },
        };
        Item { bytes, loses }
    }
}

struct State {
    items: VecDeque<Item>,
    /// The bytes of `items` and of what is being written.
    bytes: usize,
    /// What was dropped and not reported yet.
    lost: Lost,
    writing: bool,
    /// The last write failed. What was lost is then reported with the next line; a report alone would only fail again.
    failing: bool,
    /// When standard error took something last, or when the first line that waits came.
    moved: Instant,
}

/// The queue.
pub struct Queue {
    state: Mutex<State>,
    news: Condvar,
    room: Condvar,
    /// Makes the line that says what was lost.
    told: fn(Lost) -> Vec<u8>,
}

impl Queue {
    /// A queue that no thread writes yet.
    pub fn new(told: fn(Lost) -> Vec<u8>) -> Queue {
        let state = State {
            items: VecDeque::new(),
            bytes: 0,
            lost: Lost::default(),
            writing: false,
            failing: false,
            moved: Instant::now(),
        };
        Queue { state: Mutex::new(state), news: Condvar::new(), room: Condvar::new(), told }
    }

    /// A queue whose lines a thread writes to `out`. If no thread can be started, nothing is ever written.
    pub fn start(told: fn(Lost) -> Vec<u8>, out: impl Write + Send + 'static) -> Arc<Queue> {
        let queue = Arc::new(Queue::new(told));
        let writer = queue.clone();
        let named = std::thread::Builder::new().name("authpulse-stderr".to_owned());
        // If no thread can be started, the program is about to end for the same reason.
        let _ = named.spawn(move || writer.write_to(out));
        queue
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line with its line break, or drops and counts it. Never waits.
    pub fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.bytes + line.len() > LINES_BYTES {
            state.lost.lines += 1;
            return;
        }
        self.add(&mut state, Item::new(Kind::Line, line));
    }

    /// Adds a picture of a progress bar, unless something waits already: another picture follows. One that takes the bar away is added all
    /// the same. Never waits; what is left out is not counted.
    pub fn push_picture(&self, picture: Picture) {
        let mut state = self.lock();
        let is_behind = !state.items.is_empty() || state.writing;
        if picture.shows_bar && is_behind || state.bytes + picture.bytes.len() > LINES_BYTES {
            return;
        }
        self.add(&mut state, Item { bytes: picture.bytes, loses: Lost::default() });
    }

    /// Adds a decision. Returns it if there is no room and may be some soon; drops and counts it if standard error takes nothing.
    pub fn try_push_decision(&self, line: Vec<u8>) -> Option<Vec<u8>> {
        let mut state = self.lock();
        if state.bytes + line.len() <= DECISIONS_BYTES {
            self.add(&mut state, Item::new(Kind::Decision, line));
            return None;
        }
        if state.moved.elapsed() >= PATIENCE {
            state.lost.decisions += 1;
            return None;
        }
        Some(line)
    }

    /// Adds a decision. Waits for room as long as standard error takes something, and at most [`PATIENCE`] while it takes nothing.
    pub fn push_decision(&self, line: Vec<u8>) {
        let mut state = self.lock();
        while state.bytes + line.len() > DECISIONS_BYTES {
            let Some(left) = PATIENCE.checked_sub(state.moved.elapsed()).filter(|left| !left.is_zero()) else {
                state.lost.decisions += 1;
                return;
            };
            state = self.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.add(&mut state, Item::new(Kind::Decision, line));
    }

    fn add(&self, state: &mut State, item: Item) {
        if state.items.is_empty() && !state.writing {
            state.moved = Instant::now();
        }
        self.tell_of_lost(state);
        state.bytes += item.bytes.len();
        state.items.push_back(item);
        self.news.notify_one();
    }

    /// Adds the line that says what was lost, where the lost lines would have been.
    fn tell_of_lost(&self, state: &mut State) {
        if !state.lost.is_none() {
            let loses = std::mem::take(&mut state.lost);
            let bytes = (self.told)(loses);
            state.bytes += bytes.len();
            state.items.push_back(Item { bytes, loses });
        }
    }

    /// Waits until everything is written or could not be, at most this long.
    pub fn flush(&self, within: Duration) {
        let end = Instant::now() + within;
        let mut state = self.lock();
        self.tell_of_lost(&mut state);
        self.news.notify_one();
        while !state.items.is_empty() || state.writing {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.room.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Writes lines as they come, for ever.
    fn write_to(&self, mut out: impl Write) {
        let mut torn = false;
        loop {
            let batch = self.next();
            let mut bytes = Vec::with_capacity(WRITE_BYTES);
            // A line that was cut off ends here, so that the next one stands alone.
            if torn {
                bytes.push(b'\n');
            }
            let head = bytes.len();
            batch.iter().for_each(|item| bytes.extend_from_slice(&item.bytes));
            let (written, failed) = self.write_all(&mut out, &bytes);
            torn = match written {
                0 => torn,
                // A picture of a bar is whole without a line break.
                n => n < bytes.len() && bytes[n - 1] != b'\n',
            };
            let mut end = head;
            let mut lost = Lost::default();
            for item in &batch {
                end += item.bytes.len();
                if end > written {
                    lost.add(item.loses);
                }
            }
            let mut state = self.lock();
            state.bytes -= bytes.len() - head;
            state.lost.add(lost);
            state.failing = failed;
            state.writing = false;
            self.room.notify_all();
        }
    }

    /// The next lines to be written in one piece.
    fn next(&self) -> Vec<Item> {
        let mut state = self.lock();
        loop {
            if state.items.is_empty() && !state.failing {
                self.tell_of_lost(&mut state);
            }
            if !state.items.is_empty() {
                break;
            }
            state = self.news.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writing = true;
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(item) = state.items.front() {
            bytes += item.bytes.len();
            if bytes > WRITE_BYTES && !batch.is_empty() {
                break;
            }
            batch.extend(state.items.pop_front());
        }
        batch
    }

    /// Writes as much as possible; returns how many bytes, and whether the rest cannot be written.
    fn write_all(&self, out: &mut impl Write, bytes: &[u8]) -> (usize, bool) {
        let mut written = 0;
        while written < bytes.len() {
            match out.write(&bytes[written..]) {
                Ok(0) => return (written, true),
                Ok(n) => {
                    written += n;
                    self.lock().moved = Instant::now();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::park_timeout(AGAIN_AFTER),
                Err(_) => return (written, true),
            }
        }
        (written, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Each write waits for an order, and takes that many bytes at most or fails with that error.
    struct Ordered {
        orders: Receiver<Result<usize, ErrorKind>>,
        took: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Ordered {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // After the last order everything is taken.
            let n = match self.orders.recv().unwrap_or(Ok(usize::MAX)) {
                Ok(most) => most.min(bytes.len()),
                Err(kind) => return Err(kind.into()),
            };
            self.took.lock().unwrap().extend_from_slice(&bytes[..n]);
            Ok(n)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Case {
        queue: Arc<Queue>,
        orders: Option<Sender<Result<usize, ErrorKind>>>,
        took: Arc<Mutex<Vec<u8>>>,
    }

    impl Case {
        fn new() -> Case {
            let (orders, receiver) = channel();
            let took = Arc::new(Mutex::new(Vec::new()));
            let told = |lost: Lost| format!("lost {} and {}\n", lost.lines, lost.decisions).into_bytes();
            let queue = Queue::start(told, Ordered { orders: receiver, took: took.clone() });
            Case { queue, orders: Some(orders), took }
        }

        fn order(&self, order: Result<usize, ErrorKind>) {
            self.orders.as_ref().unwrap().send(order).unwrap();
        }

        fn push(&self, line: &str) {
            self.queue.push(format!("{line}\n").into_bytes());
        }

        /// Lets everything through from now on; returns all that was taken.
        fn end(mut self) -> String {
            self.orders = None;
            self.queue.flush(Duration::from_secs(60));
            String::from_utf8(self.took.lock().unwrap().clone()).unwrap()
        }

        /// Waits until the writer has tried everything in the queue.
        fn settle(&self) {
            let mut state = self.queue.lock();
            while !state.items.is_empty() || state.writing {
                state = self.queue.room.wait(state).unwrap();
            }
        }
    }

    #[test]
    fn lines_come_out_in_order() {
        let case = Case::new();
        (0..10_000).for_each(|n| case.push(&n.to_string()));
        let wanted: String = (0..10_000).map(|n| format!("{n}\n")).collect();
        assert_eq!(case.end(), wanted);
    }

    #[test]
    fn a_line_that_cannot_be_written_is_told_of_later() {
        let case = Case::new();
        case.order(Err(ErrorKind::BrokenPipe));
        case.push("one");
        case.settle();
        case.order(Err(ErrorKind::StorageFull));
        case.push("two");
        case.settle();
        case.push("three");
        assert_eq!(case.end(), "lost 2 and 0\nthree\n");
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_swallow_the_next() {
        let case = Case::new();
        case.order(Ok(2));
        case.order(Err(ErrorKind::StorageFull));
        case.push("one");
        case.settle();
        case.push("two");
        assert_eq!(case.end(), "on\nlost 1 and 0\ntwo\n");
    }

    #[test]
    fn what_passes_is_tried_again() {
        let case = Case::new();
        case.order(Err(ErrorKind::Interrupted));
        case.order(Ok(1));
        case.order(Err(ErrorKind::WouldBlock));
        case.push("one");
        assert_eq!(case.end(), "one\n");
    }

    #[test]
    fn pictures_of_a_bar_are_left_out_where_something_waits() {
        let picture = |text: &str, shows_bar| Picture { bytes: text.as_bytes().to_vec(), shows_bar };
        let case = Case::new();
        case.order(Ok(usize::MAX));
        case.queue.push_picture(picture("first bar", true));
        case.settle();
        // Nothing is taken from here on, until the end.
        (0..3 * LINES_BYTES / 8).for_each(|_| case.queue.push_picture(picture(" another", true)));
        case.push(" a line");
        case.queue.push_picture(picture("no bar", false));
        assert_eq!(case.end(), "first bar another a line\nno bar");
    }

    #[test]
    fn nobody_waits_for_a_reader_that_stopped() {
        let case = Case::new();
        let line = "x".repeat(1 << 10);
        let fits = LINES_BYTES / (line.len() + 1);
        (0..fits + 7).for_each(|_| case.push(&line));
        case.queue.flush(Duration::from_millis(1));
        let text = case.end();
        assert_eq!(text.lines().count(), fits + 1, "as many as fit, and the line that tells of the others");
        assert!(text.ends_with("\nlost 7 and 0\n"), "{}", &text[text.len() - 20..]);
    }

    #[test]
    fn a_decision_is_dropped_where_nothing_moves() {
        let case = Case::new();
        let decision = || [vec![b'x'; DECISIONS_BYTES / 4 - 1], vec![b'\n']].concat();
        let before = Instant::now();
        (0..4).for_each(|_| assert_eq!(case.queue.try_push_decision(decision()), None));
        assert!(case.queue.try_push_decision(decision()).is_some(), "there may be room soon");
        case.queue.push_decision(decision());
        assert!(before.elapsed() >= PATIENCE, "it waited for so long");
        assert_eq!(case.queue.try_push_decision(decision()), None, "no other one waits");
        case.push("a line has room all the same");
        assert_eq!(case.end().replace('x', ""), "\n\n\n\nlost 0 and 2\na line has room all the same\n");
    }

    #[test]
    fn a_decision_waits_while_something_moves() {
        let case = Case::new();
        let decision = || [vec![b'x'; DECISIONS_BYTES / 4 - 1], vec![b'\n']].concat();
        (0..4).for_each(|_| assert_eq!(case.queue.try_push_decision(decision()), None));
        let (queue, fifth) = (case.queue.clone(), decision());
        let waiting = std::thread::spawn(move || queue.push_decision(fifth));
        case.order(Ok(usize::MAX));
        waiting.join().unwrap();
        assert_eq!(case.end().lines().count(), 5, "none is lost");
    }
}
