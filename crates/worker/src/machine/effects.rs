//! What a worker hears of, and what it says is to be done: all that passes between the [`Machine`](super::Machine) and its world.

use crate::entry_builder::Closed;
use crate::input::{Batch, ReadStatus};
use authpulse_engine::rows::ScoredEvent;
use authpulse_event::{Day, Position, Span, Tick};
use authpulse_journal::registry::Registry;
use authpulse_lake::Seal;
use authpulse_stream::ReadLimit;

/// What a worker sees besides what it hears of.
pub struct Look<'a> {
    /// The time by the clock of ages.
    pub now: Tick,
    /// What the other shards have stored.
    pub others: &'a Registry,
    /// Whether an entry is on its way to be stored.
    pub entry_under_way: bool,
    /// Whether what is on its way waits for columns that a table lacks.
    pub waits_for_columns: bool,
}

/// What a worker hears of.
pub enum News {
    /// A step begins: time has passed, and others may have stored something.
    Tick,
    /// The input was read: some records, or none, and what else that told.
    Read(Batch, ReadStatus),
    /// Of what was read, some is not admitted yet.
    AtHand,
    /// The input did not answer before an entry is due.
    Late,
    /// The input cannot be read for now.
    Unreadable,
    /// The input has nothing more for now, and no entry is under way.
    AtTip,
    /// The others know for which day's counts its scoring waits, if it does.
    Waits {
        /// Whether it waits for any.
        for_a_day: bool,
    },
    /// No entry is under way, so that what could be scored by the one that was can be: then the next is closed.
    Stored(Reason),
    /// Everything that can be scored is, and its decisions are handed over: the entry in the making can be closed.
    Close(Reason),
    /// It is to store what is decided, and stop.
    Stop,
}

impl News {
    /// Whether it lets events be scored: records came in, or others may have stored what scoring waits for. The rest comes in the midst of a
    /// step that has scored already.
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
    /// The same, where nothing is read.
    DueAtRest,
    /// Files are read as far as they are to be.
    EndOfFiles,
    /// What others have stored meanwhile lets it score or write more, if it does.
    Ready,
    /// The shard is read to its end.
    ReadToEnd,
    /// The shard ends: its child shards may begin.
    ShardEnd,
    /// What was held back is flushed.
    Flushed,
    /// The watermark rose to the seal.
    Advanced,
    /// Everything is scored: the other shards need what that publishes.
    Scored,
    /// The shard is sealed.
    Sealed(Seal),
    /// The worker stops, and has something to store.
    Stop,
}

impl Reason {
    /// Whether nothing is done until the entry is stored. While the input has more, the worker goes on beside it.
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
    /// So many rows were scored by this step: the last ones of `rows`, or of those at hand where no rows are taken along. They are handed
    /// over to whoever waits for decisions.
    pub scored: usize,
    /// Records that were gone before they were read, which is to be told.
    pub lost: Option<Lost>,
    /// Words on ids that repeat, which are to be told.
    pub ids_repeat: Option<String>,
    /// Rows that are to be encoded.
    pub rows: Vec<ScoredEvent>,
    /// An entry that is to be stored.
    pub closed: Option<Closed>,
    /// Whether that is waited for.
    pub awaits_stored: bool,
    /// What the others are to know of this shard's scoring.
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
    /// Read the input, and say [`News::Read`]; where it does not answer in time or at all, [`News::Late`] or [`News::Unreadable`].
    Read {
        /// What may be read.
        limit: ReadLimit,
        /// In how many ticks an entry is due, if one is in the making.
        due_in: Option<Span>,
    },
    /// Say this at once.
    Hear(News),
    /// Look, without waiting, whether the entry under way is stored. If none is under way any more, say what stands here; else, or where
    /// nothing does, the step is done.
    Peek(Option<News>),
    /// Wait until the entry under way is stored; then the step is done.
    AwaitStored,
    /// Wait until the entry under way is stored, and say [`News::Stored`].
    Store(Reason),
    /// The step is done.
    Return(StepOutcome),
}

/// What a step achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// Something; step again at once.
    Worked,
    /// Nothing, until the stream or another shard brings news.
    Idle,
    /// Everything.
    Done,
}
