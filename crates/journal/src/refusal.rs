//! Requests that are refused because they contradict what is there. A refusal changes nothing that is stored; what an interrupted run left
//! may have been completed first.

use authpulse_event::{EventModel, ShardId};
use authpulse_lake::{Remedy, Table};
use std::fmt;

/// What to do where an unfinished run cannot be continued.
const OR_GIVE_UP: &str =
    "or, if they are lost or cannot be read to their end, end that run with `authpulse backfill --give-up`";

/// Why a request is refused, and in its words what to do instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Two programs began a lake, each with another event model.
    #[error(
        "the events of shard {shard} are of model {}, those of shard {other} of model {}: two programs began this lake, each in its \
         own way; begin another one", .model.number(), .other_model.number()
    )]
    EventModels {
        /// A shard.
        shard: ShardId,
        /// Its model.
        model: EventModel,
        /// Another shard.
        other: ShardId,
        /// The model of that one.
        other_model: EventModel,
    },
    /// Tables hold entries that the journal lacks.
    #[error(
        "the tables hold entries of shard {shard} up to {applied}, but its journal ends with {last}: the journal was lost or replaced \
         by an older copy; restore the newest one (nothing was changed), or begin a new lake"
    )]
    LostEntries {
        /// The journal.
        shard: ShardId,
        /// The last entry of it that a table holds.
        applied: u64,
        /// The last one that it has, 0 for none.
        last: u64,
    },
    /// Settings that the lake's rows depend on are others than those that it was made with.
    #[error("{}; old and new rows could not be compared: set it back, or use another lake", .0.join("; "))]
    Settings(Vec<String>),
    /// A table lacks an entry that was folded because every table held it.
    #[error(
        "a table lacks entry {n} of shard {shard}, which every table held when it was folded: the catalog was replaced by an older \
         copy, or the table rolled back with its properties; restore the newest catalog (nothing was changed)"
    )]
    TableLacks {
        /// The journal.
        shard: ShardId,
        /// The first entry that is lacking.
        n: u64,
    },
    /// A table cannot be rebuilt, because followers are rebuilt from tables.
    #[error("table {0} cannot be rebuilt from itself: restore the newest catalog (nothing was changed)")]
    TableRebuilt(Table),
    /// A follower is handed an entry that is not the next one.
    #[error(
        "follower {follower}: entry {got} of shard {shard} cannot be applied, because it holds the entries up to {applied} only: \
         hand over entry {} first (nothing was changed)", applied + 1
    )]
    FollowerGap {
        /// Its name.
        follower: String,
        /// The journal.
        shard: ShardId,
        /// The last entry that it holds.
        applied: u64,
        /// The one that it was handed.
        got: u64,
    },
    /// A follower's name is not one.
    #[error("{0}")]
    FollowerName(String),
    /// A follower needs what no journal and no table has any more.
    #[error(
        "follower {follower}: what entry {through} of shard {shard} names is gone, and the tables hold its entries up to {held} \
         only: restore it from a copy (nothing was changed)"
    )]
    FollowerLost {
        /// Its name.
        follower: String,
        /// The journal.
        shard: ShardId,
        /// The entry that it needs.
        through: u64,
        /// The last one that the tables hold.
        held: u64,
    },
    /// A file to be backfilled cannot be read twice.
    #[error(
        "{0} is not a regular file: a backfill must be able to read it again after an interruption; save it to a file, or replay it \
         into a stream"
    )]
    NotRegular(String),
    /// The files of a backfill are not in order of time.
    #[error("{0}; name the files in order of time, or add --sort, which puts the lines of all files in order of time")]
    Disorder(String),
    /// The lake's unfinished backfill was begun with `--sort` and the request is without it, or the other way round.
    #[error(
        "the lake's backfill of {files} is not finished, and was begun {}; {OR_GIVE_UP}",
        if *.sorted { "with --sort: run it again with it" } else { "without --sort: run it again without" }
    )]
    OtherOrder {
        /// The files of the unfinished one.
        files: String,
        /// Whether that was begun with `--sort`.
        sorted: bool,
    },
    /// The lake's unfinished backfill has other files.
    #[error(
        "the lake's backfill of {files} is not finished, and these files are others: {others}; run it again with its own, unchanged \
         files, {OR_GIVE_UP}"
    )]
    OtherFiles {
        /// The files of the unfinished one.
        files: String,
        /// Those of the request.
        others: String,
    },
    /// The lake's unfinished backfill read other lines.
    #[error(
        "the lake's backfill of {files} is not finished, and {lines}: {others}; run it again with its own files, unpacked or fetched \
         again if need be, {OR_GIVE_UP}"
    )]
    OtherLines {
        /// The files of the unfinished one.
        files: String,
        /// In what the lines differ.
        lines: LinesDiffer,
        /// The files of the request.
        others: String,
    },
    /// The run of these files was given up.
    #[error("{0}")]
    GivenUp(String),
    /// There is no unfinished backfill that could be given up.
    #[error("{0}")]
    NothingToGiveUp(String),
    /// An interrupted run is complete now, and a further one of the same files is not to be.
    #[error("{0}")]
    InLakeAlready(String),
    /// A run begins below the lake's watermark.
    #[error("{0}")]
    LateBeginning(String),
    /// The lake's backfill is not finished, and a stream is to go on with the lake.
    #[error(
        "the lake's backfill of {files} is not finished: run the same `authpulse backfill` again first, it continues where it \
         stopped; if its files cannot be read to their end, `authpulse backfill --give-up` ends it"
    )]
    UnfinishedBeforeStream {
        /// Its files.
        files: String,
    },
    /// History is to come into a lake that follows a stream.
    #[error("the lake is continued by the stream '{0}': history comes first; backfill into another lake")]
    ContinuedByStream(String),
    /// A lake follows another stream, which may go on.
    #[error(
        "the lake follows the stream '{name}' (shard {shard}), which is not sealed: seal it first with `authpulse consume --seal`, \
         or use another lake for this stream"
    )]
    OtherStream {
        /// The stream's name.
        name: String,
        /// One of its shards.
        shard: ShardId,
    },
    /// A file of a table says neither which day it is of nor between which times its rows lie.
    #[error(
        "{0} has neither a partition nor bounds: rewrite it with the engine that wrote it, partitioned as documented"
    )]
    NoBounds(String),
    /// The journals grow while they are looked at.
    #[error(
        "entries are stored faster than the journals can be looked at: stop the consumer, or verify at a quieter time"
    )]
    Growing,
}

/// In what the lines of a request differ from those that an unfinished backfill has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinesDiffer {
    /// There are fewer.
    Fewer {
        /// So many there are.
        lines: u64,
        /// So many are stored.
        stored: u64,
    },
    /// The first ones are others.
    Others {
        /// So many are stored.
        stored: u64,
    },
}

impl fmt::Display for LinesDiffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinesDiffer::Fewer { lines, stored } => {
                write!(f, "these hold only {lines} of the {stored} lines that are stored")
            }
            LinesDiffer::Others { stored } => write!(f, "these do not begin with the {stored} lines that are stored"),
        }
    }
}

impl Refusal {
    /// What to do about it: most requests are to be changed.
    pub fn remedy(&self) -> Remedy {
        match self {
            Refusal::LostEntries { .. }
            | Refusal::TableLacks { .. }
            | Refusal::TableRebuilt(_)
            | Refusal::FollowerLost { .. } => Remedy::Restore,
            Refusal::Growing => Remedy::Retry,
            Refusal::EventModels { .. }
            | Refusal::Settings(_)
            | Refusal::FollowerGap { .. }
            | Refusal::FollowerName(_)
            | Refusal::NotRegular(_)
            | Refusal::Disorder(_)
            | Refusal::OtherOrder { .. }
            | Refusal::OtherFiles { .. }
            | Refusal::OtherLines { .. }
            | Refusal::GivenUp(_)
            | Refusal::NothingToGiveUp(_)
            | Refusal::InLakeAlready(_)
            | Refusal::LateBeginning(_)
            | Refusal::UnfinishedBeforeStream { .. }
            | Refusal::ContinuedByStream(_)
            | Refusal::OtherStream { .. }
            | Refusal::NoBounds(_) => Remedy::Correct,
        }
    }
}
