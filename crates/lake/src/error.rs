//! What went wrong and what to do about it: every error of this crate has a [`Remedy`].

pub use authpulse_event::Remedy;

use crate::catalog::CatalogError;
use crate::entry::EntryError;
use crate::journal::JournalError;
use crate::store::StoreError;
use std::error::Error;
use std::fmt;

/// An error with its causes, `what: cause: cause`, for a log line. The text of an error does not repeat its cause: the chain prints each
/// cause once.
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut beneath = self.0.source();
        while let Some(cause) = beneath {
            write!(f, ": {cause}")?;
            beneath = cause.source();
        }
        Ok(())
    }
}

/// Why a table could not be committed to or read.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// A file failed.
    #[error("a file of table {table} failed")]
    Store {
        /// The table whose operation needed the file.
        table: String,
        /// What the store said.
        #[source]
        source: StoreError,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The journal failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A stored entry cannot be used.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The catalog does not know the table.
    #[error(
        "table {table} does not exist in the catalog: restore the catalog from a copy or, in a lake that holds nothing yet, run `authpulse tables create`"
    )]
    NoTable {
        /// The table.
        table: String,
    },
    /// The table in the catalog is not one this crate can write or read.
    #[error("table {table} cannot be used: {what}")]
    Unsuitable {
        /// The table.
        table: String,
        /// What does not fit, and what would.
        what: String,
    },
    /// The table needs a program that knows more than this one.
    #[error("table {table} needs a program that knows {name}: run a newer version of authpulse")]
    TooNew {
        /// The table.
        table: String,
        /// What a program must know.
        name: String,
    },
    /// An entry does not follow the last one that the table holds.
    #[error(
        "table {table}: entry {got} of shard {shard} cannot be applied, because the table holds its entries up to {applied} \
         only: hand over entry {} first",
        applied + 1
    )]
    EntryMissing {
        /// The table.
        table: String,
        /// The shard.
        shard: String,
        /// The last entry applied, 0 for none.
        applied: u64,
        /// The entry that was handed over next.
        got: u64,
    },
    /// Others changed the table during every attempt.
    #[error("table {table}: {attempts} attempts to commit met other commits: try again later")]
    Contended {
        /// The table.
        table: String,
        /// How many attempts.
        attempts: u32,
    },
    /// A file is missing, truncated or unreadable.
    #[error("table {table}: file {file} is damaged: {what}")]
    Damaged {
        /// The table.
        table: String,
        /// The file; relative to the lake if it lies in it.
        file: String,
        /// What is wrong with it.
        what: String,
    },
    /// The rows cannot be written: a bug of the caller.
    #[error("table {table}: rows cannot be encoded: {what}")]
    Encode {
        /// The table.
        table: String,
        /// What the encoder said.
        what: String,
    },
}

impl LakeError {
    /// What to do about it.
    pub fn remedy(&self) -> Remedy {
        match self {
            LakeError::Store { source, .. } => source.remedy(),
            LakeError::Catalog(e) => e.remedy(),
            LakeError::Journal(e) => e.remedy(),
            LakeError::Contended { .. } => Remedy::Retry,
            LakeError::Damaged { .. } | LakeError::Entry(EntryError::Damaged { .. }) => Remedy::Restore,
            LakeError::Entry(EntryError::Newer { .. } | EntryError::Section { .. }) => Remedy::Correct,
            LakeError::NoTable { .. }
            | LakeError::Unsuitable { .. }
            | LakeError::TooNew { .. }
            | LakeError::EntryMissing { .. } => Remedy::Correct,
            LakeError::Encode { .. } => Remedy::Report,
        }
    }

    /// Whether only a newer version of this program can go on.
    pub fn is_too_new(&self) -> bool {
        match self {
            LakeError::TooNew { .. } => true,
            LakeError::Entry(error) => error.is_too_new(),
            _ => false,
        }
    }

    /// Wraps an error of the iceberg crate about a file. If a store's error caused it, that one is kept.
    pub(crate) fn from_iceberg(table: &str, file: &str, error: &iceberg::Error) -> LakeError {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
        while let Some(inner) = cause {
            match inner.downcast_ref::<StoreError>() {
                Some(StoreError::NotFound { path }) => {
                    let what = "it is missing: restore it, or roll the table back to a snapshot that does not need it";
                    return LakeError::Damaged { table: table.to_owned(), file: path.clone(), what: what.to_owned() };
                }
                Some(store) => return LakeError::Store { table: table.to_owned(), source: store.clone() },
                None => cause = inner.source(),
            }
        }
        LakeError::Damaged { table: table.to_owned(), file: file.to_owned(), what: error.to_string() }
    }

    /// Wraps a store's error about a file that the table needs: a missing file is damage.
    pub(crate) fn from_store(table: &str, error: StoreError) -> LakeError {
        match error {
            StoreError::NotFound { path } => {
                LakeError::Damaged { table: table.to_owned(), file: path, what: "it is missing: restore it".to_owned() }
            }
            source => LakeError::Store { table: table.to_owned(), source },
        }
    }
}
