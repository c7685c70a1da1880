//! What a change of a table came to.

/// A file that nothing reaches any more.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Unreached {
    /// Relative to the lake.
    pub path: String,
    /// Bytes, where the table tells.
    pub bytes: u64,
}

/// What a change came to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Changed {
    /// Whether the table was changed.
    pub done: bool,
    /// Which of the replacements took place.
    pub taken: Vec<bool>,
    /// Whether some swap was never answered clearly: what was written for it may be named by the table.
    pub doubtful: bool,
    /// Snapshots that went.
    pub expired: usize,
    /// Manifests merged into fewer.
    pub merged: usize,
    /// Files that nothing reaches any more, to be removed by the caller.
    pub unreached: Vec<Unreached>,
    /// Why nothing, or not all, was done.
    pub why_not: Option<String>,
}
