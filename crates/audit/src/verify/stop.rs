//! Why an audit ends early: a difference, or an error that may pass.

use super::report::Difference;
use authpulse_journal::error::ConsumerError;
use authpulse_lake::catalog::CatalogError;
use authpulse_lake::entry::EntryError;
use authpulse_lake::journal::JournalError;
use authpulse_lake::{LakeError, Remedy, StoreError};

/// Why an audit ends early.
pub(super) enum Stop {
    /// Two things that should agree do not.
    Difference(Box<Difference>),
    /// Something could not be read, so nothing can be said.
    Error(ConsumerError),
    /// Two things do not agree, but that is also so if entries were folded while they were read: the audit starts over.
    Folded(Box<Difference>),
}

/// The result of every check. It fails with [`Stop::Difference`] at the first difference, or with [`Stop::Error`] if something cannot be
/// read.
pub(super) type Check<T> = std::result::Result<T, Stop>;

/// What to do if a journal is not as it was written.
pub(super) const RESTORE_JOURNAL: &str =
    "restore the lake's journal from a copy; without one, load its input again into a new lake";
/// What to do if a file is not as it was written.
pub(super) const RESTORE_FILE: &str =
    "restore the file from a copy under its own name; without one, load the lake's input again into a new lake";
/// What to do if a table is not as its journals say.
pub(super) const ROLL_BACK: &str =
    "find in the table's history which commit did it, and roll the table back to the snapshot before";

/// Makes a difference, which ends the audit.
pub(super) fn differ(
    what: impl Into<String>,
    place: impl Into<String>,
    expected: impl ToString,
    found: impl ToString,
    remedy: &str,
) -> Stop {
    Stop::Difference(Box::new(Difference {
        what: what.into(),
        place: place.into(),
        expected: expected.to_string(),
        found: found.to_string(),
        remedy: remedy.to_owned(),
    }))
}

impl Stop {
    /// The same difference, marked as one that may come from entries being folded meanwhile.
    pub fn or_folded(self) -> Stop {
        match self {
            Stop::Difference(difference) => Stop::Folded(difference),
            stop => stop,
        }
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Stop {
        match error {
            StoreError::NotFound { path } => {
                differ("a file is missing", format!("file {path}"), "the file", "no file", RESTORE_FILE)
            }
            error => Stop::Error(error.into()),
        }
    }
}

impl From<LakeError> for Stop {
    fn from(error: LakeError) -> Stop {
        match (error.remedy(), error) {
            (_, LakeError::Damaged { table, file, what }) => {
                let place = format!("table {table}, file {file}");
                differ("a file is damaged", place, "the file as it was written", what, RESTORE_FILE)
            }
            (_, LakeError::Store { source, .. }) => source.into(),
            (_, LakeError::NoTable { table }) => {
                let place = format!("table {table}");
                let remedy =
                    "restore the lake's catalog from a copy, or register the table's newest metadata file again";
                differ("a table is missing from the catalog", place, "the table", "none of this name", remedy)
            }
            (Remedy::Correct, LakeError::Unsuitable { table, what }) => {
                let place = format!("table {table}");
                let remedy = "undo what another engine changed about the table";
                differ("a table is not as documented", place, "the documented columns and partitions", what, remedy)
            }
            (_, error) => Stop::Error(error.into()),
        }
    }
}

impl From<EntryError> for Stop {
    fn from(error: EntryError) -> Stop {
        match error {
            EntryError::Damaged { what, cause } => {
                differ("a stored entry cannot be read", what, "what was written", cause, RESTORE_JOURNAL)
            }
            error @ (EntryError::Newer { .. } | EntryError::Section { .. }) => Stop::Error(error.into()),
        }
    }
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Stop {
        Stop::Error(error.into())
    }
}

impl From<CatalogError> for Stop {
    fn from(error: CatalogError) -> Stop {
        Stop::Error(error.into())
    }
}

impl From<ConsumerError> for Stop {
    fn from(error: ConsumerError) -> Stop {
        match error {
            ConsumerError::Store(error) => error.into(),
            ConsumerError::Lake(error) => error.into(),
            ConsumerError::Entry(error) => error.into(),
            error => Stop::Error(error),
        }
    }
}
