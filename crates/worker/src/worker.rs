//! One shard: read, judge, score, store, again and again.
//!
//! ```text
//!                  .------------------- Reading ------------------.
//!                  | at its end, has children   | at its end, none | target tip reached
//!                  v                            v                  v
//!                Parent --(all parents of      Ended             (until caught up) --> Done
//!                  |       its heirs ended)     | all leaves read to their ends
//!                  v                            v
//!                Done                         Settled --(all settled)--> Risen --(all scored, all written)--> Done
//! ```
//!
//! [`Worker::step`] does a bounded piece of work and returns, so that one thread can simulate many workers.

mod judge;
mod landing;
mod origins;
mod score;
mod seal;
mod told;

pub use origins::Origins;

use crate::columns::Asking;
use crate::draft::{Closing, Draft, Finish};
use crate::input::{Batch, Found, Input};
use crate::line_digest::LineDigest;
use crate::poison::Poison;
use authpulse_engine::rows::ScoredEvent;
use authpulse_engine::{Known, Output, Shard};
use authpulse_event::{ArrivalTime, Day, EventTime, HashRange, Position, ShardId, Span, Tick};
use authpulse_files::own_ids::OwnIds;
use authpulse_journal::columns_said::Said;
use authpulse_journal::env::{Env, duration, start};
use authpulse_journal::error::{Chain, ConsumerError, Result};
use authpulse_journal::registry::{Place, Registry};
use authpulse_journal::stop::stop_requested;
use authpulse_lake::RawRecord;
use authpulse_lake::entry::{Backfill, Entry, Inherited, Rise, StoredGap};
use authpulse_settings::options::Options;
use authpulse_stream::{ReadLimit, Record};
use futures::future::BoxFuture;
use std::sync::Arc;
use tokio::sync::watch;

pub use told::SharedTally;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::worker";

/// Records judged between two looks at the board and the draft.
const JUDGE_STRIDE: usize = 1_024;
/// Room left below [`UNSCORED_MAX`](authpulse_engine::settings::UNSCORED_MAX) for events that waited and go on all at once.
const UNSCORED_SLACK: usize = 16;
/// Rows from which on an entry is stored as soon as it can publish a share: early enough that the next day's scoring seldom waits.
const SHARE_ROWS: u64 = 50_000;

/// The part of an entry's memory that records may take up which were read and are not judged yet.
const AT_HAND_PART: u64 = 8;
/// The parts of it for which room is made before there is anything: for raw records, and for scored rows. What is left lets an entry be
/// filled.
const RAW_ROOM_PART: u64 = 2;
const ROWS_ROOM_PART: u64 = 4;
/// What a record takes up besides its payload, from when it is read until it is stored.
const RECORD_BYTES: u64 = (size_of::<Record>() + size_of::<RawRecord>() + size_of::<ScoredEvent>()) as u64;

/// When a worker is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Never.
    Forever,
    /// At this position, leaving open what is open.
    Until(Position),
    /// At this position, sealing.
    SealAt(Position),
    /// At the end of the files, leaving open what is open.
    EndKeepOpen,
    /// At once: what waits is settled, and the run of files ends where it stands.
    GiveUp,
}

/// Where a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It reads.
    Reading,
    /// It was read to its end and has children that cannot start yet.
    Parent,
    /// It was read to its end and is to be sealed.
    Ended,
    /// What waited is settled.
    Settled,
    /// Its watermark rose to the seal.
    Risen,
    /// It has nothing more to do.
    Done,
}

/// What a step achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something; step again at once.
    Worked,
    /// Nothing, until the stream or another shard brings news.
    Idle,
    /// Everything.
    Done,
}

/// How a worker begins.
pub struct Start {
    /// Names the journal.
    pub key: ShardId,
    /// What rows carry in `shard_id`.
    pub name: ShardId,
    /// The last entry; a made-up entry 0 for a shard that has none.
    pub last: Entry,
    /// In an heir that has no entry yet: whom it inherits from.
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
    env: Env,
    options: Arc<Options>,
    registry: Arc<Registry>,
    /// Its place among the workers that share the memory.
    _place: Place,
    poison: Arc<Poison>,
    stop: watch::Receiver<bool>,
    asking: Asking,
    key: ShardId,
    name: ShardId,
    goal: Goal,
    phase: Phase,
    input: Input,
    batch: Batch,
    found: Found,
    shard: Shard,
    /// What the engine knows of the records at hand; kept for its memory.
    known: Vec<Known>,
    out: Output,
    position: Position,
    draft: Draft,
    /// The last entry stored.
    last: Entry,
    /// Whether that is this worker's.
    has_stored: bool,
    in_flight: Option<BoxFuture<'static, Option<Result<Entry>>>>,
    inherits: Vec<Inherited>,
    backfill: Option<Backfill>,
    /// Over the lines of the backfill's run that were judged; absent where they are not read.
    digest: Option<LineDigest>,
    /// Where its lines stood, if they were sorted.
    origins: Option<Origins>,
    /// Where lines are counted.
    tally: Option<SharedTally>,
    /// Ids that a stream's producers sent.
    own_ids: OwnIds,
    told_of_ids: bool,
    daily_through: Option<Day>,
    /// A moment at which an entry is due, as it is at whole ages before and behind it.
    beat: Tick,
    /// Whether the last entry was stored because it was full: then one may get its whole age, which would not be reached anyway.
    was_full: bool,
    /// By the clock of ages, as what follows: a clock that is set back must not keep anything from being stored.
    accepted_at: Tick,
    stored_at: Tick,
    clock_before: Option<ArrivalTime>,
    rows_since_snapshot: u64,
    snapshot_at: Tick,
    /// The two newest snapshots' entries; older ones are removed.
    snapshots: Vec<u64>,
}

impl Worker {
    /// A worker over a shard's state. The caller has taken the shard over.
    pub fn new(
        env: Env,
        options: Arc<Options>,
        registry: Arc<Registry>,
        poison: Arc<Poison>,
        start: Start,
    ) -> Result<Worker> {
        let position = start.last.position()?;
        let now = env.clock.ticks();
        let beat = now + first_entry_age(options.entry_age, start.shard.range());
        let mut worker = Worker {
            beat,
            was_full: false,
            draft: Draft::new(&env, position, 0),
            env,
            options,
            _place: registry.enter(),
            asking: Asking::new(start.key.clone(), registry.columns_said().clone()),
            registry,
            poison,
            // Nobody can tell it.
            stop: watch::channel(false).1,
            key: start.key,
            name: start.name,
            goal: start.goal,
            phase: Phase::Reading,
            input: start.input,
            batch: Batch::Empty,
            found: Found::default(),
            shard: start.shard,
            known: Vec::new(),
            out: Output::default(),
            position,
            backfill: start.last.backfill.clone(),
            digest: None,
            origins: None,
            tally: None,
            own_ids: OwnIds::default(),
            told_of_ids: false,
            daily_through: start.last.daily_through.map(Day),
            last: start.last,
            has_stored: false,
            in_flight: None,
            inherits: start.inherits,
            accepted_at: now,
            stored_at: now,
            clock_before: None,
            rows_since_snapshot: 0,
            snapshot_at: now,
            snapshots: Vec::new(),
        };
        if worker.last.last_snapshot > 0 {
            worker.snapshots.push(worker.last.last_snapshot);
        }
        worker.shard.give_up(worker.poison.kept_back(&worker.key));
        worker.shard.inspect_released(worker.env.inspect.clone());
        Ok(worker)
    }

    /// The journal it writes.
    pub fn key(&self) -> &ShardId {
        &self.key
    }
    /// Where it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }
    /// The position after the last record judged.
    pub fn position(&self) -> Position {
        self.position
    }
    /// Whether it stopped at a position with everything left open, so that it may have more to store once others have stored.
    pub fn reached_goal_open(&self) -> bool {
        self.phase == Phase::Done && matches!(self.goal, Goal::Until(_)) && !self.last.end && self.last.sealed.is_none()
    }
    /// The last entry stored.
    pub fn last_entry(&self) -> &Entry {
        &self.last
    }
    /// Whether it has stored an entry.
    pub fn has_stored(&self) -> bool {
        self.has_stored
    }
    /// The state.
    pub fn shard(&self) -> &Shard {
        &self.shard
    }
    /// The state of the backfill that its entries carry, and the digest over the lines of its run that are stored.
    pub fn set_backfill(&mut self, backfill: Backfill, digest: LineDigest) {
        self.backfill = Some(backfill);
        self.digest = Some(digest);
    }

    /// The lines are sorted: dead letters are to say where theirs stood.
    pub fn set_origins(&mut self, origins: Origins) {
        self.origins = Some(origins);
    }

    /// The backfill as of the position.
    fn backfill(&self) -> Option<Backfill> {
        let backfill = self.backfill.clone()?;
        Some(match &self.digest {
            Some(digest) => Backfill { digest: Some(digest.hex()), ..backfill },
            None => backfill,
        })
    }

    /// Where the lines that it judges are counted.
    pub fn count_lines(&mut self, tally: SharedTally) {
        self.tally = Some(tally);
    }

    /// What the workers of the process have said of columns.
    pub fn columns_said(&self) -> &Arc<Said> {
        self.registry.columns_said()
    }
    /// A read that is under way, and waiting for columns, is given up once `stop` holds true: nothing that was not judged is lost by that.
    pub fn read_until(&mut self, stop: watch::Receiver<bool>) {
        self.asking.until(stop.clone());
        self.stop = stop;
    }

    /// Does a bounded piece of work.
    ///
    /// # Errors
    /// The worker cannot go on and must be dropped; what it had not stored never happened.
    pub async fn step(&mut self) -> Result<Progress> {
        if !self.inherits.is_empty() {
            // An heir's first entry: publishes what its parents could not.
            self.judge_inherited()?;
            self.store(Marks::default()).await?;
            return Ok(Progress::Worked);
        }
        let scored = self.score()?;
        let progress = match self.phase {
            Phase::Reading => self.read().await?,
            Phase::Parent => self.wait_for_heirs().await?,
            Phase::Ended => self.wait_for_ends().await?,
            Phase::Settled => self.wait_for_settled().await?,
            Phase::Risen => self.finish_seal().await?,
            Phase::Done => Progress::Done,
        };
        Ok(if scored && progress == Progress::Idle { Progress::Worked } else { progress })
    }

    /// Stores what is decided and stops.
    ///
    /// # Errors
    /// As for [`Worker::step`].
    pub async fn stop(&mut self) -> Result<()> {
        if self.phase != Phase::Done {
            self.tell_of_ids(true);
            self.land().await?;
            self.judge_inherited()?;
            self.score()?;
            if self.has_news() {
                self.store(Marks::default()).await?;
            }
            self.phase = Phase::Done;
        }
        self.land().await
    }

    /// One more round for a worker that has reached its goal, now that others have stored theirs: tells whether it stored.
    ///
    /// # Errors
    /// As for [`Worker::step`].
    pub async fn store_what_became_ready(&mut self) -> Result<bool> {
        self.land().await?;
        let scored = self.score()?;
        let news = scored || self.shard.has_rows_to_write() || self.shard.has_share_to_publish() || self.has_day();
        if news {
            self.store(Marks::default()).await?;
            self.land().await?;
        }
        Ok(news)
    }

    async fn read(&mut self) -> Result<Progress> {
        if self.room() == 0 {
            return self.catch_up_scoring().await;
        }
        if self.asking.waits() {
            // Nothing more is read: what is at hand can be written nowhere else.
            self.has_landed().await?;
            return Ok(Progress::Idle);
        }
        let mut others = None;
        let mut clock = None;
        if matches!(self.batch, Batch::Empty) {
            // Taken before the read that finds the tip: what comes later cannot be made late by them.
            others = self.registry.newest_watermark_of_others(&self.key);
            clock = self.clock_before;
            let limit = self.read_limit(self.room());
            // A stream that does not answer keeps neither the next entry nor the end waiting.
            let due = self.due_at().map(|at| at - self.env.clock.ticks());
            let read = tokio::select! {
                biased;
                read = self.input.read(self.position, limit) => Some(read),
                () = stop_requested(&mut self.stop) => return Ok(Progress::Idle),
                () = self.env.clock.sleep(duration(due.unwrap_or_default())), if due.is_some() => None,
            };
            let Some(read) = read else { return self.store_while_waiting().await };
            (self.batch, self.found) = match read {
                Err(error) if error.may_pass() => return self.outlast(&error).await,
                read => read?,
            };
            self.clock_before = self.found.clock;
            self.note_gap();
        }
        let judged = self.judge_batch().await?;
        if self.is_due() {
            self.store(Marks::default()).await?;
        }
        if !matches!(self.batch, Batch::Empty) {
            return Ok(Progress::Worked);
        }
        let sealing = matches!(self.goal, Goal::SealAt(_));
        if self.found.at_end && (sealing || self.registry.knows_what_follows(&self.key)) {
            return self.reach_end().await;
        }
        // Records that retention removed are never reached: a tip with nothing behind it counts as well.
        let reached = |tip: Position| self.position >= tip || (self.found.at_tip && !judged);
        match self.goal {
            Goal::Until(tip) if reached(tip) => {
                self.stop().await?;
                return Ok(Progress::Done);
            }
            Goal::SealAt(tip) if reached(tip) => return self.reach_end().await,
            _ => {}
        }
        if judged || !self.found.at_tip {
            return Ok(Progress::Worked);
        }
        self.idle(others, clock).await
    }

    /// The stream cannot be read for now: what was decided is stored when it is due, and reading is tried again.
    async fn outlast(&mut self, error: &ConsumerError) -> Result<Progress> {
        tracing::warn!(target: TARGET, shard = %self.key, error = %Chain(error), "the stream cannot be read; trying again");
        // Nothing is known of what lies there, so nothing rises.
        self.clock_before = None;
        self.store_while_waiting().await
    }

    /// Judges what is at hand, until the entry is full or scoring is too far behind; tells whether there was anything.
    async fn judge_batch(&mut self) -> Result<bool> {
        let mut judged = false;
        loop {
            let unscored = self.shard.unscored_len();
            let most = JUDGE_STRIDE.min(self.room()).max(1);
            let n = match std::mem::replace(&mut self.batch, Batch::Empty) {
                Batch::Empty => 0,
                Batch::Records(records) => self.judge_records(records, most)?,
                Batch::Lines(block) => self.judge_lines(block, most)?,
            };
            judged |= n > 0;
            if self.shard.unscored_len() > unscored {
                self.accepted_at = self.env.clock.ticks();
            }
            if n > 0 {
                self.draft.opened.get_or_insert(self.env.clock.ticks());
            }
            self.score()?;
            self.collect();
            if self.out.scored.len() >= self.options.chunk_rows {
                let rows = self.take_rows();
                self.draft.add_rows(&self.env, &self.options, (&self.shard, &self.asking), rows).await?;
            }
            let full = self.is_full();
            if n == 0 || full || self.room() == 0 {
                return Ok(judged);
            }
        }
    }

    /// Moves counts and dead letters into the draft.
    fn collect(&mut self) {
        self.count_rejected();
        let counts = std::mem::take(&mut self.out.counts);
        self.draft.counts.add(&counts);
        if let Some(origins) = &mut self.origins {
            origins.name(&mut self.out.rejected);
            origins.keep(self.shard.waiting().iter().map(|waiting| waiting.position));
        }
        self.draft.payload_bytes += self.out.rejected.iter().map(|r| r.payload.len() as u64).sum::<u64>();
        self.draft.rejected.append(&mut self.out.rejected);
    }

    fn note_gap(&mut self) {
        // A gap without a record behind it is reported again, and may grow, by the next read.
        let before = match &self.batch {
            Batch::Records(records) => records.as_slice().first().map(|r| r.position),
            _ => self.found.at_end.then_some(self.position),
        };
        let (Some(gap), Some(before)) = (self.found.gap.take(), before) else { return };
        let records = gap.records;
        let found = StoredGap { after: self.position.into(), before: before.into(), records };
        // Behind the same record a later gap stands for the one before.
        match self.draft.gaps.last_mut().filter(|last| last.after == found.after) {
            Some(last) => *last = found,
            None => {
                tracing::warn!(target: TARGET, shard = %self.key, after = %self.position, ?records, "records were gone from the stream before they were read");
                self.draft.gaps.push(found);
            }
        }
        self.draft.opened.get_or_insert(self.env.clock.ticks());
    }

    fn is_full(&self) -> bool {
        let rows = self.draft.counts.curated + self.draft.counts.rejected_total();
        rows >= self.options.entry_rows
            || self.draft.payload_bytes >= self.options.entry_bytes
            || self.held_bytes() >= self.memory() - self.memory() / AT_HAND_PART
    }

    /// Bytes of memory that the entry in the making takes up.
    fn held_bytes(&self) -> u64 {
        self.draft.held_bytes() + spare_bytes(&self.out.scored) + self.shard.row_attribute_bytes() as u64
    }

    /// How many more events may be accepted until scoring has caught up.
    fn room(&self) -> usize {
        self.shard.unscored_room().saturating_sub(UNSCORED_SLACK)
    }

    /// The part of the memory that one entry of this shard may take up: one is filled while another is stored. All together stay within
    /// the memory, however many shards there are.
    fn memory(&self) -> u64 {
        self.options.memory / (2 * self.registry.workers() as u64)
    }

    /// What one read may bring, one record at least: the records at hand belong to the entry that they will go into.
    fn read_limit(&self, room: usize) -> ReadLimit {
        // One half for the payloads, one for what each record takes up besides.
        let at_hand = self.memory() / AT_HAND_PART / 2;
        let bound = |setting: usize, bytes: u64| setting.min(usize::try_from(bytes).unwrap_or(usize::MAX)).max(1);
        ReadLimit {
            records: bound(self.options.read_records.min(room), at_hand / RECORD_BYTES),
            bytes: bound(self.options.read_bytes, at_hand),
        }
    }

    /// Items of this many bytes for which room may be made beforehand, in a part of an entry's memory.
    fn room_for(&self, wanted: usize, bytes: usize, part: u64) -> usize {
        wanted.min(usize::try_from(self.memory() / part).unwrap_or(usize::MAX) / bytes)
    }

    /// When the entry in the making gets too old, in ticks.
    fn due_at(&self) -> Option<Tick> {
        let age = self.options.entry_age;
        let since_beat = |opened: Tick| (opened - self.beat).checked_rem_euclid(age).filter(|_| !self.was_full);
        self.draft.opened.map(|opened| opened + age - since_beat(opened).unwrap_or_default())
    }

    /// Whether the entry in the making is to be stored now.
    fn is_due(&self) -> bool {
        let Some(due_at) = self.due_at() else { return false };
        if self.is_full() || self.env.clock.ticks() >= due_at {
            return true;
        }
        self.shard.has_share_to_publish()
            && (self.draft.counts.curated >= SHARE_ROWS || self.shard.is_half_unscored() || self.is_waited_for())
    }

    /// Whether another shard's scoring stands still for a day that this one could publish.
    fn is_waited_for(&self) -> bool {
        let passed = self.shard.watermark().map(|w| Day(Day::of(w).0 - 1));
        self.registry.is_waited_for(self.last.shares_through.map(Day), passed)
    }

    /// Whether this shard writes the days' rows and there is a complete one.
    fn has_day(&self) -> bool {
        self.shard.range().first == 0 && self.registry.has_complete_day(self.daily_through)
    }

    /// Whether an entry would tell anything that the last one does not.
    fn has_news(&self) -> bool {
        !self.draft.is_empty()
            || !self.out.scored.is_empty()
            || self.out.counts != Default::default()
            || self.has_rows()
    }

    fn has_rows(&self) -> bool {
        self.shard.has_share_to_publish() || self.shard.has_rows_to_write() || self.has_day()
    }

    /// Nothing to read for now: rise if nothing was accepted for long enough, and store what is due.
    async fn idle(&mut self, others: Option<EventTime>, clock: Option<ArrivalTime>) -> Result<Progress> {
        if !self.has_landed().await? {
            // What comes meanwhile is not kept waiting.
            return Ok(Progress::Idle);
        }
        let now = self.env.clock.ticks();
        if now - self.accepted_at >= self.options.idle_after {
            let tolerance = self.shard.settings().time.tolerance;
            let live = clock.filter(|_| self.shard.last_accepted_live());
            let live = live.map(|clock| clock.as_event_time() - tolerance);
            self.rise(others.max(live), "idle")?;
        }
        self.store_while_waiting().await
    }

    /// For a shard that reads nothing: stores when somebody waits, or when there are rows and the last entry is old enough.
    async fn store_while_waiting(&mut self) -> Result<Progress> {
        // Whoever has nothing to store does not learn by storing that another has taken the shard over.
        if self.in_flight.is_none()
            && let Some(view) = self.registry.view(&self.key)
            && view.last > self.last.n
        {
            return Err(ConsumerError::Fenced { shard: self.key.clone(), n: self.last.n + 1 });
        }
        let own_day = self.want().is_some() && self.shard.has_share_to_publish();
        let aged = self.env.clock.ticks() - self.stored_at >= self.options.entry_age;
        let rows = self.has_rows() || !self.out.scored.is_empty();
        if own_day || self.is_due() || (self.shard.has_share_to_publish() && self.is_waited_for()) || (aged && rows) {
            self.store(Marks::default()).await?;
            self.land().await?;
            return Ok(Progress::Worked);
        }
        Ok(Progress::Idle)
    }

    fn rise(&mut self, to: Option<EventTime>, cause: &str) -> Result<()> {
        let Some(to) = to else { return Ok(()) };
        if self.release(|shard, out| shard.rise(to, out))? {
            self.draft.opened.get_or_insert(self.env.clock.ticks());
            self.draft.rises.push(Rise { after: self.position.into(), to, cause: cause.to_owned() });
            self.collect();
        }
        Ok(())
    }

    /// Cuts the state and starts to store the next entry; waits for the one before.
    async fn store(&mut self, marks: Marks) -> Result<()> {
        self.land().await?;
        self.score()?;
        self.collect();
        self.was_full = self.is_full();
        let rows = self.take_rows();
        // One entry is mostly about as large as the one before: its vector then grows no more.
        let expected = self.room_for(self.draft.raw.len(), size_of::<RawRecord>(), RAW_ROOM_PART);
        let next = Draft::new(&self.env, self.position, expected);
        let mut draft = std::mem::replace(&mut self.draft, next);
        self.rows_since_snapshot += draft.counts.curated;
        draft.add_rows(&self.env, &self.options, (&self.shard, &self.asking), rows).await?;
        let now = self.env.clock.ticks();
        let cut = self.shard.cut();
        let snapshot_due = self.rows_since_snapshot >= self.options.snapshot_rows
            || (self.rows_since_snapshot > 0 && now - self.snapshot_at >= self.options.snapshot_age);
        let snapshot = snapshot_due.then(|| self.shard.snapshot(self.options.snapshot_piece_bytes));
        if snapshot_due {
            (self.rows_since_snapshot, self.snapshot_at) = (0, now);
        }
        let days = if self.shard.range().first == 0 {
            let (rows, through) = self.registry.complete_days(self.daily_through);
            self.daily_through = through;
            (rows, through.map(|d| d.0))
        } else {
            (Vec::new(), None)
        };
        let ended = !matches!(self.phase, Phase::Reading | Phase::Done);
        let settled = matches!(self.phase, Phase::Settled | Phase::Risen);
        let finish = Finish {
            env: self.env.clone(),
            options: self.options.clone(),
            registry: self.registry.clone(),
            shard: self.key.clone(),
            source: self.input.source(&self.name),
            last: self.last.clone(),
            draft,
            cut,
            closing: Closing {
                to: self.position,
                days,
                snapshot,
                read_to_end: marks.read_to_end || ended,
                settled: marks.settled || settled,
                end: marks.end,
                sealed: marks.sealed,
                backfill: self.backfill(),
                inherits: std::mem::take(&mut self.inherits),
            },
            users: self.shard.user_names().view(),
            asking: self.asking.clone(),
        };
        self.stored_at = now;
        self.in_flight = Some(start(&*self.env.work, finish.run()));
        Ok(())
    }
}

/// The age of a shard's first entry: shorter the further back the shard's range begins, so that the shards of a worker, all opened
/// at about the same time, do not all encode and store at the same moment. They keep that distance: a day that closes makes all of
/// them store at once, and what follows is due when it would have been. A shard alone has the whole age.
fn first_entry_age(entry_age: Span, range: HashRange) -> Span {
    let behind = (range.first >> 64) as f64 / 2f64.powi(64);
    Span::from_micros((entry_age.micros() as f64 * (1.0 - behind)) as i64)
}

/// Bytes that a vector has reserved and does not use.
pub(crate) fn spare_bytes<T>(vec: &Vec<T>) -> u64 {
    ((vec.capacity() - vec.len()) * size_of::<T>()) as u64
}

/// What the next entry says about the shard's end.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    read_to_end: bool,
    settled: bool,
    end: bool,
    sealed: Option<EventTime>,
}
