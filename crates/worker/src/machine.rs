//! The worker without its world: news goes in, and what is to be done comes out.
//!
//! ```text
//!            .-- Act::Read, Hear, Store ... <-- what is to be done next --.
//!            v                                                            |
//!   world --> News --> take in (admit, advance) --> score --> decide --------+--> Effects: decisions, rows, an entry
//! ```
//!
//! [`Machine::step`] is the one transition. It asks no clock, waits for nothing and writes nothing: time and the other shards come with
//! the [`Look`], and the [`Worker`](crate::worker::Worker) carries out the [`Effects`] and the [`Act`]. The journals of the other shards
//! are seen through the registry, which other workers write to at any time.

mod admit;
mod at_hand;
mod bounds;
mod closing;
mod effects;
mod ending;
mod engine;
mod input_tally;
mod life;
mod origins;
mod quiet;
mod reading;
mod run;
mod snapshots;
mod storing;
mod waiting;

pub use effects::{Act, Effects, Look, Lost, News, Reason, StepOutcome, Want};
pub use engine::Engine;
pub use input_tally::{InputTally, SharedTally, warn_of_ids};
pub use life::{Goal, Phase};
pub use origins::Origins;

use crate::entry_builder::EntryBuilder;
use crate::line_digest::LineDigest;
use at_hand::AtHand;
use authpulse_engine::Shard;
use authpulse_engine::rows::ScoredEvent;
use authpulse_event::{ArrivalTime, Day, Position, ShardId, Tick};
use authpulse_journal::error::Result;
use authpulse_lake::entry::{Backfill, Entry, Inherited};
use authpulse_settings::options::Options;
use bounds::Bounds;
use quiet::Quiet;
use run::Run;
use snapshots::Snapshots;
use std::sync::Arc;
use storing::Storing;

/// See the module.
pub struct Machine {
    key: ShardId,
    options: Arc<Options>,
    goal: Goal,
    phase: Phase,
    engine: Engine,
    at_hand: AtHand,
    quiet: Quiet,
    /// The entry in the making.
    builder: EntryBuilder,
    storing: Storing,
    snapshots: Snapshots,
    /// The last entry stored.
    last: Entry,
    /// Whether this worker has stored `last`.
    has_stored: bool,
    /// In a child shard that has no entry yet: whom it inherits from.
    inherits: Vec<Inherited>,
    /// The last day whose rows are written, where this shard writes them.
    daily_through: Option<Day>,
    run: Run,
    /// When every line of a file arrived; absent for a stream.
    arrival_of_lines: Option<ArrivalTime>,
    input_tally: InputTally,
}

/// How a machine begins.
pub struct Begin {
    /// Names the journal.
    pub key: ShardId,
    /// How it runs.
    pub options: Arc<Options>,
    /// When to stop.
    pub goal: Goal,
    /// The engine, as of `last`.
    pub engine: Engine,
    /// The last entry.
    pub last: Entry,
    /// In a child shard that has no entry yet: whom it inherits from.
    pub inherits: Vec<Inherited>,
    /// When every line of a file arrived; absent for a stream.
    pub arrival_of_lines: Option<ArrivalTime>,
    /// What is counted.
    pub input_tally: InputTally,
}

impl Machine {
    /// A machine before its first step.
    ///
    /// # Errors
    /// The position in the last entry cannot be read.
    pub fn new(begin: Begin, now: Tick) -> Result<Machine> {
        let Begin { key, options, goal, engine, last, inherits, arrival_of_lines, input_tally } = begin;
        let position = last.position()?;
        Ok(Machine {
            at_hand: AtHand::new(position),
            quiet: Quiet::new(options.idle_after, now),
            builder: EntryBuilder::new(position, 0),
            storing: Storing::new(options.entry_age, engine.shard.range(), now),
            snapshots: Snapshots::new(last.last_snapshot, now),
            run: Run { backfill: last.backfill.clone(), digest: None, origins: None },
            daily_through: last.daily_through.map(Day),
            key,
            options,
            goal,
            phase: Phase::Reading,
            engine,
            last,
            has_stored: false,
            inherits,
            arrival_of_lines,
            input_tally,
        })
    }

    /// Takes in the news, scores what can be scored, and decides what is to be done next. `out` must be empty.
    ///
    /// # Errors
    /// The worker cannot go on and must be dropped. The rows that `out` says were scored are valid all the same.
    pub fn step(&mut self, news: News, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        let news = match news {
            News::Read(batch, found) => {
                self.has_read(batch, found, look.now, out);
                News::AtHand
            }
            other => other,
        };
        let admitted = self.take_in(&news, look, out)?;
        if news.lets_score() {
            out.scored = self.engine.score(look.others, self.last.n)?;
        }
        match news {
            News::Tick => self.begin_step(look, out),
            News::Read(..) | News::AtHand => self.has_admitted(admitted, look, out),
            News::Late | News::Unreadable | News::AtTip => self.rest(look, out),
            News::Waits { for_a_day } => Ok(self.store_at_rest(for_a_day, look)),
            News::Stored(reason) => Ok(Act::Hear(News::Close(reason))),
            News::Close(reason) => self.close(reason, look, out),
            News::Stop => Ok(Act::Store(Reason::Stop)),
        }
    }

    /// Changes the state by the news, before anything is scored or decided. Returns how many records were admitted.
    fn take_in(&mut self, news: &News, look: &Look<'_>, out: &mut Effects) -> Result<usize> {
        match news {
            News::Tick => {
                self.at_hand.has_admitted = false;
                self.admit_inherited()?;
            }
            News::Read(..) | News::AtHand => return self.admit_some(look.now, out),
            // Nothing is known of what lies there, so nothing advances.
            News::Unreadable => self.quiet.has_read(None),
            News::AtTip => self.advance_at_tip(look.now)?,
            News::Stored(Reason::Stop) => self.admit_inherited()?,
            News::Stop => self.tell_of_ids_at_end(out),
            News::Late | News::Waits { .. } | News::Stored(_) | News::Close(_) => {}
        }
        Ok(0)
    }

    /// Admits what was held back in the parents of a child shard that has no entry yet, before its first record.
    fn admit_inherited(&mut self) -> Result<()> {
        if self.inherits.is_empty() { Ok(()) } else { self.engine.release(Shard::admit_inherited) }
    }

    fn begin_step(&mut self, look: &Look<'_>, out: &mut Effects) -> Result<Act> {
        if !self.inherits.is_empty() {
            return Ok(Act::Store(Reason::Inherited));
        }
        match self.phase {
            Phase::Reading => self.read_on(look, out),
            Phase::Parent => self.wait_for_other_parents(look, out),
            Phase::Ended => self.wait_for_ends(look, out),
            Phase::Flushed => self.wait_for_flushed(look, out),
            Phase::Advanced => self.finish_seal(look, out),
            Phase::Done => Ok(Act::Return(StepOutcome::Done)),
        }
    }

    /// Notes that an entry is stored.
    pub fn stored(&mut self, entry: Entry) {
        if !entry.snapshot.is_empty() {
            self.snapshots.stored(entry.n);
        }
        self.last = entry;
        self.has_stored = true;
    }

    /// The next entry whose snapshot nobody needs any more.
    pub fn take_outdated_snapshot(&mut self) -> Option<u64> {
        self.snapshots.take_outdated()
    }

    /// The journal of the shard that it decides about.
    pub fn key(&self) -> &ShardId {
        &self.key
    }

    /// The phase that the worker is in.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When it is to stop.
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// The position after the last record admitted.
    pub fn position(&self) -> Position {
        self.at_hand.position
    }

    /// The last entry stored.
    pub fn last(&self) -> &Entry {
        &self.last
    }

    /// Whether it has stored an entry.
    pub fn has_stored(&self) -> bool {
        self.has_stored
    }

    /// The engine's state.
    pub fn shard(&self) -> &Shard {
        &self.engine.shard
    }

    /// Rows that are scored and that no effect has taken along yet.
    pub fn rows_at_hand(&self) -> &[ScoredEvent] {
        &self.engine.out.scored
    }

    /// Has the admitted lines counted in this tally.
    pub fn count_lines(&mut self, tally: SharedTally) {
        self.input_tally.tally = Some(tally);
    }

    /// Sets the backfill that the entries carry, and the digest over those lines of its run that are stored.
    pub fn set_backfill(&mut self, backfill: Backfill, digest: LineDigest) {
        (self.run.backfill, self.run.digest) = (Some(backfill), Some(digest));
    }

    /// Says that the lines were sorted: each dead letter then names the place where its line stood.
    pub fn set_origins(&mut self, origins: Origins) {
        self.run.origins = Some(origins);
    }

    fn bounds<'a>(&'a self, look: &Look<'_>) -> Bounds<'a> {
        Bounds::new(&self.options, look.others.workers())
    }

    /// Whether this shard writes the rows of days: the shard whose range begins at 0 does, for all.
    fn writes_days(&self) -> bool {
        self.engine.shard.range().first == 0
    }
}

#[cfg(test)]
mod tests;
