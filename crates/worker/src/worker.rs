//! One shard: read, admit, score, store, again and again.
//!
//! The machine (`machine.rs`) decides what is done and when; a [`Worker`] carries it out, one effect after another. [`Worker::step`] does a
//! bounded piece of work and returns, so that one thread can simulate many workers.

mod stored;

pub use crate::machine::{Goal, Origins, Phase, SharedTally, StepOutcome};

use crate::chunks::Chunks;
use crate::columns::Asking;
use crate::entry_builder::Closed;
use crate::entry_writer::EntryWriter;
use crate::input::Input;
use crate::line_digest::LineDigest;
use crate::machine::{Act, Begin, Effects, Engine, InputTally, Look, Lost, Machine, News, Reason, Want, warn_of_ids};
use crate::poison::Poison;
use authpulse_engine::Shard;
use authpulse_event::{Position, ShardId, Span};
use authpulse_journal::columns_said::Said;
use authpulse_journal::env::{Env, duration, start};
use authpulse_journal::error::{Chain, Result};
use authpulse_journal::registry::{Registry, WorkerSlot};
use authpulse_journal::sink::Decision;
use authpulse_journal::stop::stop_requested;
use authpulse_lake::entry::{Backfill, Entry, Inherited};
use authpulse_settings::options::Options;
use authpulse_stream::ReadLimit;
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::watch;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::worker";

/// How a worker begins.
pub struct Start {
    /// Names the journal.
    pub key: ShardId,
    /// What rows carry in `shard_id`.
    pub name: ShardId,
    /// The last entry; a made-up entry 0 for a shard that has none.
    pub last: Entry,
    /// For a child without an entry: the parents that it inherits from, each with its last entry.
    pub inherits: Vec<Inherited>,
    /// The state as of `last`.
    pub shard: Shard,
    /// What to read.
    pub input: Input,
    /// When to stop.
    pub goal: Goal,
}

/// See the module.
pub struct Worker {
    machine: Machine,
    env: Env,
    options: Arc<Options>,
    registry: Arc<Registry>,
    /// Its place among the workers that share the memory.
    _slot: WorkerSlot,
    stop: watch::Receiver<bool>,
    asking: Asking,
    name: ShardId,
    input: Input,
    /// The files of the entry in the making.
    chunks: Chunks,
    in_flight: Option<BoxFuture<'static, Option<Result<Entry>>>>,
}

impl Worker {
    /// A worker over a shard's state. The caller has taken the shard over.
    ///
    /// # Errors
    /// The position in the last entry cannot be read.
    pub fn new(
        env: Env,
        options: Arc<Options>,
        registry: Arc<Registry>,
        poison: Arc<Poison>,
        start: Start,
    ) -> Result<Worker> {
        let Start { key, name, last, inherits, shard, input, goal } = start;
        let begin = Begin {
            options: options.clone(),
            goal,
            engine: Engine::new(key.clone(), shard, poison, env.inspect.clone(), env.probe.clone()),
            last,
            inherits,
            arrival_of_lines: match input {
                Input::File { arrival, .. } => Some(arrival),
                Input::Stream { .. } => None,
            },
            input_tally: InputTally::new(registry.columns_said().clone()),
            key: key.clone(),
        };
        Ok(Worker {
            machine: Machine::new(begin, env.clock.ticks())?,
            chunks: Chunks::new(&env),
            env,
            options,
            _slot: registry.enter(),
            asking: Asking::new(key, registry.columns_said().clone()),
            registry,
            // Until `read_until` is called, no stop can arrive.
            stop: watch::channel(false).1,
            name,
            input,
            in_flight: None,
        })
    }

    /// The journal it writes.
    pub fn key(&self) -> &ShardId {
        self.machine.key()
    }
    /// The phase that the worker is in.
    pub fn phase(&self) -> Phase {
        self.machine.phase()
    }
    /// The position after the last record admitted.
    pub fn position(&self) -> Position {
        self.machine.position()
    }
    /// Whether the worker stopped at its goal and left the shard open. It may then have more to store once other workers have stored
    /// theirs.
    pub fn reached_goal_open(&self) -> bool {
        let last = self.machine.last();
        self.phase() == Phase::Done
            && matches!(self.machine.goal(), Goal::Until(_))
            && !last.end
            && last.sealed.is_none()
    }
    /// The last entry stored.
    pub fn last_entry(&self) -> &Entry {
        self.machine.last()
    }
    /// Whether it has stored an entry.
    pub fn has_stored(&self) -> bool {
        self.machine.has_stored()
    }
    /// The state of the shard in the engine.
    pub fn shard(&self) -> &Shard {
        self.machine.shard()
    }
    /// Sets the backfill that the entries carry, and the digest over those lines of its run that are stored.
    pub fn set_backfill(&mut self, backfill: Backfill, digest: LineDigest) {
        self.machine.set_backfill(backfill, digest);
    }
    /// Says that the lines were sorted: each dead letter then names the place where its line stood.
    pub fn set_origins(&mut self, origins: Origins) {
        self.machine.set_origins(origins);
    }
    /// Has the admitted lines counted in this tally.
    pub fn count_lines(&mut self, tally: SharedTally) {
        self.machine.count_lines(tally);
    }
    /// What the workers of this process have logged about columns already.
    pub fn columns_said(&self) -> &Arc<Said> {
        self.registry.columns_said()
    }
    /// Once `stop` holds true, the worker gives up a read that is under way, and any waiting for columns. Nothing is lost by that: the
    /// records of such a read are not admitted yet.
    pub fn read_until(&mut self, stop: watch::Receiver<bool>) {
        self.asking.until(stop.clone());
        self.stop = stop;
    }

    /// Does a bounded piece of work.
    ///
    /// # Errors
    /// The worker cannot go on and must be dropped. What it had not stored counts as never done.
    pub async fn step(&mut self) -> Result<StepOutcome> {
        let (act, scored) = self.hear(News::Tick).await?;
        let progress = self.carry_out(act).await?;
        Ok(if scored && progress == StepOutcome::Idle { StepOutcome::Worked } else { progress })
    }

    /// Stores what is decided and stops.
    ///
    /// # Errors
    /// As for [`Worker::step`].
    pub async fn stop(&mut self) -> Result<()> {
        if self.phase() != Phase::Done {
            self.carry_out(Act::Hear(News::Stop)).await?;
        }
        self.await_stored().await
    }

    /// Lets a worker that has reached its goal try once more, now that others have stored. Returns whether it stored an entry.
    ///
    /// # Errors
    /// As for [`Worker::step`].
    pub async fn store_what_became_ready(&mut self) -> Result<bool> {
        Ok(self.carry_out(Act::Store(Reason::Ready)).await? == StepOutcome::Worked)
    }

    /// Carries out an act, and all that follow from it, until the step is done.
    async fn carry_out(&mut self, mut act: Act) -> Result<StepOutcome> {
        loop {
            let news = match act {
                Act::Return(progress) => return Ok(progress),
                Act::AwaitStored => {
                    self.await_stored().await?;
                    return Ok(StepOutcome::Worked);
                }
                Act::Peek(then) => match (self.is_stored().await?, then) {
                    (true, Some(news)) => news,
                    _ => return Ok(StepOutcome::Idle),
                },
                Act::Store(reason) => {
                    self.await_stored().await?;
                    News::Stored(reason)
                }
                Act::Read { limit, due_in } => match self.read(limit, due_in).await? {
                    Some(news) => news,
                    None => return Ok(StepOutcome::Idle),
                },
                Act::Hear(news) => news,
            };
            (act, _) = self.hear(news).await?;
        }
    }

    /// Lets the machine take a step and carries out its effects. Returns the next act, and whether anything was scored.
    async fn hear(&mut self, news: News) -> Result<(Act, bool)> {
        let look = Look {
            now: self.env.clock.ticks(),
            others: &self.registry,
            entry_under_way: self.in_flight.is_some(),
            waits_for_columns: self.asking.waits(),
        };
        let mut effects = Effects::default();
        let decided = self.machine.step(news, &look, &mut effects);
        self.hand_over_decisions(&effects);
        let Effects { scored, lost, ids_repeat, rows, closed, awaits_stored, want } = effects;
        if let Some(Lost { after, records }) = lost {
            tracing::warn!(target: TARGET, shard = %self.key(), %after, ?records, "records were gone from the stream before they were read");
        }
        if let Some(words) = ids_repeat {
            warn_of_ids(self.key(), &words);
        }
        let act = decided?;
        self.chunks.add_rows(&self.env, &self.options, (self.machine.shard(), &self.asking), rows).await?;
        if let Some(closed) = closed {
            self.store(closed);
            if awaits_stored {
                self.await_stored().await?;
            }
        }
        if let Some(Want(day)) = want {
            self.registry.want(self.key(), day);
        }
        Ok((act, scored > 0))
    }

    /// Decisions go out when they are made, whatever becomes of the entry that holds them.
    fn hand_over_decisions(&self, effects: &Effects) {
        let shard = self.machine.shard();
        let min_score = self.env.sink.min_score();
        for scored in effects.decisions(self.machine.rows_at_hand()) {
            if scored.score >= min_score {
                self.env.sink.decided(Decision {
                    scored,
                    user: shard.user_names().get(scored.event.user),
                    computer: shard.computer_names().get(scored.event.computer),
                    base: self.options.engine.time.base,
                    rules: &self.options.engine.rules,
                });
            }
        }
    }

    /// Reads the input. Returns `None` if the worker is told to stop meanwhile.
    async fn read(&mut self, limit: ReadLimit, due_in: Option<Span>) -> Result<Option<News>> {
        let after = self.machine.position();
        let read = tokio::select! {
            biased;
            read = self.input.read(after, limit) => read,
            () = stop_requested(&mut self.stop) => return Ok(None),
            () = self.env.clock.sleep(duration(due_in.unwrap_or_default())), if due_in.is_some() => return Ok(Some(News::Late)),
        };
        match read {
            Ok((batch, found)) => Ok(Some(News::Read(batch, found))),
            Err(error) if error.may_pass() => {
                tracing::warn!(target: TARGET, shard = %self.key(), error = %Chain(&error), "the stream cannot be read; trying again");
                Ok(Some(News::Unreadable))
            }
            Err(error) => Err(error),
        }
    }

    /// Starts to store an entry; none is under way.
    fn store(&mut self, closed: Closed) {
        let takes_snapshot = closed.closing.takes_snapshot;
        let writer = EntryWriter {
            env: self.env.clone(),
            options: self.options.clone(),
            registry: self.registry.clone(),
            shard: self.key().clone(),
            source: self.input.source(&self.name),
            last: self.machine.last().clone(),
            closed,
            snapshot: takes_snapshot.then(|| self.machine.shard().snapshot(self.options.snapshot_piece_bytes)),
            chunks: std::mem::replace(&mut self.chunks, Chunks::new(&self.env)),
            users: self.machine.shard().user_names().view(),
            asking: self.asking.clone(),
        };
        self.in_flight = Some(start(&*self.env.work, writer.run()));
    }
}
