//! The lake: files, the journal, and the tables (Apache Iceberg over Parquet). It knows nothing of streams.
//!
//! - [`store`]: the files, on disk or in memory; the crate `authpulse-aws` puts S3 behind the same trait.
//! - [`journal`]: numbered entries per shard, the one atomic step.
//! - [`followers`]: the readers of the journals beside the tables, and what is kept for them.
//! - [`checkpoint`]: what stands for a journal's oldest entries once they are folded.
//! - [`catalog`]: which metadata file is a table's current one.
//! - [`lock`]: which process may use a local lake, and which of many workers commits.
//! - [`schema`]: the tables.
//! - [`encode`]: rows become Parquet bytes and a [`TableFile`].
//! - [`commit`]: the tables follow the journal, each entry exactly once.
//! - [`mod@maintain`]: merges files, expires snapshots, removes what nobody needs any more.
//! - [`seal`]: what the mark of a finished input says.
//! - [`sections`]: parts of entries, spills, checkpoints and pieces of snapshots that older programs do not know.
//! - [`read`]: what the tables hold now, for rebuilding state and for `verify`.
//!
//! Nothing here reads the clock or draws a random number by itself: callers hand both in as [`commit::CommitIds`].

mod advice;
pub mod catalog;
mod cells;
pub mod checkpoint;
pub mod commit;
pub mod encode;
pub mod entry;
pub mod error;
pub mod fault;
pub mod followers;
pub mod journal;
mod kind;
mod known_columns;
mod lake;
mod lines;
pub mod lock;
pub mod maintain;
mod merging;
mod metadata;
pub mod micros;
pub mod read;
pub mod schema;
pub mod seal;
pub mod section_list;
pub mod sections;
mod shape;
mod sqlite;
pub mod store;
mod table_file;

pub use catalog::{MemoryCatalog, SqliteCatalog, TablePointers};
pub use checkpoint::Checkpoint;
pub use commit::{ColumnIds, CommitIds, CommitReport, CommitSettings, EntryFiles, Lake, LoadedTable, SystemIds};
pub use encode::{EncodeOptions, EncodedFile, RawRecord, RawSource, TableFile};
pub use error::{LakeError, Remedy};
pub use followers::{FollowerName, Followers};
pub use journal::{Journal, MemoryJournal, ObjectJournal, PutOutcome, SqliteJournal};
pub use lock::{CommitterLock, FileCommitterLock, LakeLock, SoleCommitter};
pub use maintain::{MaintainReport, MaintainSettings, maintain};
pub use schema::{Partition, Table, TableDef};
pub use seal::Seal;
pub use section_list::SectionList;
pub use shape::Shape;
pub use store::{LocalStore, MemoryStore, ObjectStore, StoreError};
