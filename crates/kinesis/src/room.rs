//! Room for records at hand: counts what the cursors of all shards hold, so that reads can wait before they fetch more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many bytes are held, and how many may be.
#[derive(Debug)]
pub(crate) struct Room {
    held: AtomicUsize,
    most: usize,
}

impl Room {
    /// Room for `most` bytes.
    pub(crate) fn new(most: usize) -> Arc<Room> {
        Arc::new(Room { held: AtomicUsize::new(0), most })
    }

    /// Whether nothing more may be fetched. Answers that come when the room is nearly full may still exceed it.
    pub(crate) fn is_full(&self) -> bool {
        self.held.load(Ordering::Relaxed) >= self.most
    }

    /// A reservation of no bytes yet.
    pub(crate) fn hold(self: &Arc<Room>) -> Reservation {
        Reservation { room: self.clone(), bytes: 0 }
    }
}

/// The bytes that one holder has of the room, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    room: Arc<Room>,
    bytes: usize,
}

impl Reservation {
    /// Adds bytes to the reservation.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.room.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Gives all bytes back.
    pub(crate) fn release(&mut self) {
        self.room.held.fetch_sub(std::mem::take(&mut self.bytes), Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.release();
    }
}
