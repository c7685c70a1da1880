//! The engine of one shard, and which record is to blame if it panics.
//!
//! A panic is attributed to the record at hand, or to an event that was held back and that this record let go on. The state may then be
//! half changed, so the worker is dropped and the shard rebuilt from its journal. After three times the record is a dead letter.

use crate::poison::{Moment, Poison, words};
use authpulse_engine::{Incoming, Inspect, Known, Output, Shard};
use authpulse_event::parse::too_long;
use authpulse_event::time::format_rfc3339;
use authpulse_event::{Invalid, MAX_RECORD_BYTES, ParsedEvent, Position, Reading, ShardId, parse_line, parse_record};
use authpulse_journal::env::Probe;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::registry::Registry;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// See the module.
pub struct Engine {
    key: ShardId,
    /// The state.
    pub shard: Shard,
    /// What it decided and the machine has not taken yet.
    pub out: Output,
    /// What it knows of the records at hand; kept so that its memory is used again.
    known: Vec<Known>,
    poison: Arc<Poison>,
    inspect: Option<Inspect>,
    probe: Probe,
}

/// A record on its way to be admitted.
pub struct Seen<'a> {
    /// As it came.
    pub incoming: Incoming<'a>,
    /// `None` for a record that is given up.
    pub parsed: Option<std::result::Result<ParsedEvent<'a>, Invalid>>,
}

impl<'a> Seen<'a> {
    /// The event, if it is one.
    pub fn event(&self) -> Option<&ParsedEvent<'a>> {
        self.parsed.as_ref()?.as_ref().ok()
    }
}

impl Engine {
    /// An engine over a shard's state; `key` names the shard's journal.
    pub fn new(key: ShardId, mut shard: Shard, poison: Arc<Poison>, inspect: Option<Inspect>, probe: Probe) -> Engine {
        shard.give_up(poison.kept_back(&key));
        shard.inspect_released(inspect.clone());
        Engine { key, shard, out: Output::default(), known: Vec::new(), poison, inspect, probe }
    }

    /// Parses a record, unless it is given up. A record of a stream has a partition key, a line has none.
    ///
    /// # Errors
    /// Parsing panicked.
    pub fn see<'a>(&self, incoming: Incoming<'a>, partition_key: Option<&[u8]>, reading: Reading) -> Result<Seen<'a>> {
        if self.poison.gives_up(&self.key, incoming.position) {
            return Ok(Seen { incoming, parsed: None });
        }
        let parse = || {
            if let Some(inspect) = &self.inspect {
                inspect(incoming.payload);
            }
            if incoming.payload_bytes > MAX_RECORD_BYTES as u64 {
                return Err(too_long(incoming.payload_bytes));
            }
            match partition_key {
                Some(key) => parse_record(incoming.payload, key, reading),
                None => parse_line(incoming.payload, reading),
            }
        };
        let parsed = catch_unwind(AssertUnwindSafe(parse));
        let parsed = parsed.map_err(|panic| self.panicked(incoming.position, &*panic))?;
        Ok(Seen { incoming, parsed: Some(parsed) })
    }

    /// Admits records one by one, after they were looked up together.
    ///
    /// # Errors
    /// The engine panicked on one.
    pub fn admit(&mut self, seen: Vec<Seen<'_>>) -> Result<()> {
        let mut known = std::mem::take(&mut self.known);
        let events = || seen.iter().map(|seen| seen.event());
        // Looking ahead only saves time: if it fails, the record it failed on is found by admitting.
        if catch_unwind(AssertUnwindSafe(|| self.shard.look_ahead(events(), &mut known))).is_err() {
            known = vec![Known::default(); seen.len()];
        }
        for (Seen { incoming, parsed }, known) in seen.into_iter().zip(&known) {
            let position = incoming.position;
            let Some(parsed) = parsed else {
                self.shard.reject_failed(incoming, &mut self.out);
                continue;
            };
            let (shard, out) = (&mut self.shard, &mut self.out);
            let admitted = catch_unwind(AssertUnwindSafe(|| shard.admit_known(incoming, parsed, *known, out)));
            admitted.map_err(|panic| self.panicked(position, &*panic))?;
        }
        self.known = known;
        Ok(())
    }

    /// Does work that may let events go on that were held back.
    ///
    /// # Errors
    /// The engine panicked on one of them.
    pub fn release<T>(&mut self, work: impl FnOnce(&mut Shard, &mut Output) -> T) -> Result<T> {
        let (shard, out) = (&mut self.shard, &mut self.out);
        let done = catch_unwind(AssertUnwindSafe(|| work(shard, out)));
        done.map_err(|panic| self.went_on(&*panic).unwrap_or_else(|| resume_unwind(panic)))
    }

    /// Scores what can be scored, as far as the daily counts of all shards allow, and returns how many rows that made. `last` is the number
    /// of the last entry.
    ///
    /// # Errors
    /// The engine panicked on an event.
    pub fn score(&mut self, others: &Registry, last: u64) -> Result<usize> {
        let before = self.out.scored.len();
        if self.shard.unscored_len() > 0 && !others.is_poisoned() {
            let Engine { key, shard, out, probe, .. } = self;
            let scored = catch_unwind(AssertUnwindSafe(|| {
                others.with_popularity(|popularity| {
                    probe("score", key.as_str());
                    shard.score_ready(popularity, out);
                });
            }));
            scored.map_err(|panic| self.unscorable(&*panic, last))?;
        }
        Ok(self.out.scored.len() - before)
    }

    fn unscorable(&self, panic: &(dyn Any + Send), last: u64) -> ConsumerError {
        let event = self.shard.next_to_score().map_or("an event".to_owned(), |event| {
            let (user, computer) =
                (self.shard.user_names().get(event.user), self.shard.computer_names().get(event.computer));
            format!("the event of {user} on {computer} at {}", format_rfc3339(event.event_time))
        });
        ConsumerError::Unscorable { shard: self.key.clone(), entry: last, event, words: words(panic) }
    }

    /// The error about an event that was held back, if the panic was on one.
    fn went_on(&self, panic: &(dyn Any + Send)) -> Option<ConsumerError> {
        self.shard.failed_on().map(|position| self.blame(Moment::GoesOn, position, panic))
    }

    fn panicked(&self, position: Position, panic: &(dyn Any + Send)) -> ConsumerError {
        self.went_on(panic).unwrap_or_else(|| self.blame(Moment::Read, position, panic))
    }

    fn blame(&self, moment: Moment, position: Position, panic: &(dyn Any + Send)) -> ConsumerError {
        self.poison.failed(&self.key, moment, position);
        ConsumerError::Panicked { shard: self.key.clone(), position, words: words(panic) }
    }
}
