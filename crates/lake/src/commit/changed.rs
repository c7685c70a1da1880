//! The result of a change of a table.

/// A file that nothing reaches any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unreached {
    /// Its path, relative to the lake.
    pub path: String,
    /// Its size; 0 if the table does not state it.
    pub bytes: u64,
}

/// The result of a change.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    /// Whether the table was changed.
    pub done: bool,
    /// Which of the replacements took place, in their order.
    pub taken: Vec<bool>,
    /// Whether a swap was never answered clearly: the table may then name what was written for it.
    pub doubtful: bool,
    /// Snapshots that were removed.
    pub expired: usize,
    /// Manifests merged into fewer.
    pub merged: usize,
    /// Files that nothing reaches any more; the caller removes them.
    pub unreached: Vec<Unreached>,
    /// Why nothing was done, or not all.
    pub why_not: Option<String>,
}
