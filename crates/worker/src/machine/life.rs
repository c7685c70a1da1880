//! The phases of a worker, and when it is to stop.

use authpulse_event::Position;

/// When a worker is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It never stops by itself.
    Forever,
    /// At this position; the shard stays open.
    Until(Position),
    /// At this position; the shard is sealed.
    SealAt(Position),
    /// At the end of the files; nothing is flushed or sealed.
    EndKeepOpen,
    /// At once: what waits is flushed, and the run of files ends where it stands.
    GiveUp,
}

/// The phase of a worker.
///
/// ```text
///                  .------------------- Reading ------------------.
///                  | at its end, has children   | at its end, none | target tip reached
///                  v                            v                  v
///                Parent --(all parents of      Ended             (until caught up) --> Done
///                  |       its children ended) | all leaves read to their ends
///                  v                            v
///                Done                         Flushed --(all flushed)--> Advanced --(all scored, all written)--> Done
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It reads.
    Reading,
    /// It was read to its end and has children that cannot start yet.
    Parent,
    /// It was read to its end and is to be sealed.
    Ended,
    /// What waited is flushed.
    Flushed,
    /// Its watermark advanced to the seal.
    Advanced,
    /// It has nothing more to do.
    Done,
}

impl Phase {
    /// Whether an entry of this phase says that the shard was read to its end.
    pub fn is_read_to_end(self) -> bool {
        !matches!(self, Phase::Reading | Phase::Done)
    }

    /// Whether an entry of this phase says that what waited is flushed for a seal.
    pub fn is_flushed(self) -> bool {
        matches!(self, Phase::Flushed | Phase::Advanced)
    }
}
