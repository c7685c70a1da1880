//! Messages about backfills, in the words that every command shares.

use authpulse_lake::entry::{Backfill, BackfillFile};

/// Names of files for a message, separated by commas.
pub fn names(files: &[BackfillFile]) -> String {
    files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The message about a run that was given up after `line`.
pub fn given_up_words(backfill: &Backfill, line: u64) -> String {
    format!(
        "the backfill of {} was given up after line {line}: its rows stay, nothing is sealed, and what follows that line needs another \
         lake; this one takes a further file or a stream",
        names(&backfill.files)
    )
}
