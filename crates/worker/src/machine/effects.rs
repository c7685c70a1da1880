//! All that passes between the [`Machine`](super::Machine) and its world: the news that it hears, and what it says is to be done.

use crate::entry_builder::Closed;
use crate::input::{Batch, ReadStatus};
use authpulse_engine::rows::ScoredEvent;
use authpulse_event::{Day, Position, Span, Tick};
use authpulse_journal::registry::Registry;
use authpulse_lake::Seal;
use authpulse_stream::ReadLimit;

/// What a machine sees besides the news.
pub struct Look<'a> {
    /// The time now, by the clock that is never set.
    pub now: Tick,
    /// What the other shards have stored.
    pub others: &'a Registry,
    /// Whether an entry is on its way to be stored.
    pub entry_under_way: bool,
    /// Whether rows on their way wait for columns that a table lacks.
    pub waits_for_columns: bool,
}

/// News that a machine hears.
pub enum News {
    /// A step begins: time has passed, and others may have stored something.
    Tick,
    /// The input was read: records, or none, and what else the read found out.
    Read(Batch, ReadStatus),
    /// Some of the records that were read are not admitted yet.
    AtHand,
    /// The input did not answer before an entry was due.
    Late,
    /// The input cannot be read for now.
    Unreadable,
    /// The input has nothing more for now, and no entry is under way.
    AtTip,
    /// The registry knows which day's counts this shard's scoring waits for, if any.
    Waits {
        /// Whether it waits for any.
        for_a_day: bool,
    },
    /// No entry is under way any more. Events that the stored one made ready are scored first; then the next entry is closed.
    Stored(Reason),
    /// Everything that can be scored is, and its decisions are handed over: the entry in the making can be closed.
    Close(Reason),
    /// The worker is to store what is decided, and to stop.
    Stop,
}

impl News {
    /// Whether events can be scored after this news: records came in, or others may have stored what scoring waits for. All other news
    /// comes within a step that has scored already.
    pub fn lets_score(&self) -> bool {
        matches!(self, News::Tick | News::Read(..) | News::AtHand | News::Stored(_))
    }
}

/// Why an entry is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is a child shard's first: it publishes what its parents could not.
    Inherited,
    /// It is full or old, or others wait for it.
    Due,
    /// The same, at a moment when nothing is read.
    DueAtRest,
    /// The files are read as far as the goal asks.
    EndOfFiles,
    /// Others have stored meanwhile, which may let this shard score or write more.
    Ready,
    /// The shard is read to its end.
    ReadToEnd,
    /// The shard ends: its child shards may begin.
    ShardEnd,
    /// What was held back is flushed.
    Flushed,
    /// The watermark advanced to the seal.
    Advanced,
    /// Everything is scored, and the scores that the entry publishes are needed to complete the days.
    Scored,
    /// The shard is sealed.
    Sealed(Seal),
    /// The worker stops, and has something to store.
    Stop,
}

impl Reason {
    /// Whether the worker waits until the entry is stored. If the input has more, it goes on meanwhile.
    pub fn awaits_stored(self) -> bool {
        !matches!(self, Reason::Inherited | Reason::Due)
    }
}

/// Records that were gone from the stream before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The position before them.
    pub after: Position,
    /// How many, where the stream can tell.
    pub records: Option<u64>,
}

/// For which day's counts scoring waits, if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want(pub Option<Day>);

/// What is to be carried out, in the order of these fields, and then the [`Act`].
#[derive(Default)]
pub struct Effects {
    /// How many rows this step scored. They are the last ones of `rows`, or, if that is empty, of the rows at hand. Their decisions go out
    /// at once.
    pub scored: usize,
    /// Records that were gone before they were read; to be logged.
    pub lost: Option<Lost>,
    /// Words about ids that repeat; to be logged.
    pub ids_repeat: Option<String>,
    /// Rows that are to be encoded.
    pub rows: Vec<ScoredEvent>,
    /// An entry that is to be stored.
    pub closed: Option<Closed>,
    /// Whether the worker waits until that entry is stored.
    pub awaits_stored: bool,
    /// What the registry is to know of this shard's scoring.
    pub want: Option<Want>,
}

impl Effects {
    /// The rows that this step scored; `at_hand` are those that it left where they are.
    pub fn decisions<'a>(&'a self, at_hand: &'a [ScoredEvent]) -> &'a [ScoredEvent] {
        let rows = if self.rows.is_empty() { at_hand } else { &self.rows };
        &rows[rows.len() - self.scored..]
    }
}

/// What is to be done next.
pub enum Act {
    /// Read the input and answer with [`News::Read`]; with [`News::Late`] if that takes too long, with [`News::Unreadable`] if it fails for
    /// now.
    Read {
        /// What may be read.
        limit: ReadLimit,
        /// How long until an entry is due, if one is in the making.
        due_in: Option<Span>,
    },
    /// Answer with this news at once.
    Hear(News),
    /// Look, without waiting, whether the entry under way is stored. If none is under way any more and there is news here, answer with it.
    /// Otherwise the step is done.
    Peek(Option<News>),
    /// Wait until the entry under way is stored; then the step is done.
    AwaitStored,
    /// Wait until the entry under way is stored, and answer with [`News::Stored`].
    Store(Reason),
    /// The step is done.
    Return(StepOutcome),
}

/// What a step achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It did something; step again at once.
    Worked,
    /// It could do nothing until the stream or another shard brings news.
    Idle,
    /// Everything is done; no further step is needed.
    Done,
}
