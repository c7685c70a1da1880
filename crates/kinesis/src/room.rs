//! Room for records at hand: what the cursors of all shards hold is counted, so that whoever would fetch more can wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are held, and how many may be.
#[derive(Debug)]
pub(crate) struct Room {
    held: AtomicUsize,
    most: usize,
}

impl Room {
    pub(crate) fn new(most: usize) -> Arc<Room> {
        Arc::new(Room { held: AtomicUsize::new(0), most })
    }

    /// Whether nothing more may be fetched. What comes when it is nearly full makes it fuller than that.
    pub(crate) fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.most
    }

    /// One holder's part, of no bytes yet.
    pub(crate) fn hold(self: &Arc<Room>) -> Reservation {
        Reservation { room: self.clone(), bytes: 0 }
    }
}

/// What one holder has of the room, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    room: Arc<Room>,
    bytes: usize,
}

impl Reservation {
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.room.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn release(&mut self) {
        self.room.held.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}
