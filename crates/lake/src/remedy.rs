//! What to do about an error.

/// What the caller of a failed operation can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing happened; the same call may succeed later.
    Retry,
    /// It may have happened or not: look at what is stored before doing anything else.
    Look,
    /// What is stored is missing or unreadable: restore it; trying again does not help.
    Restore,
    /// The request contradicts what is there, or a setting is wrong: change it.
    Correct,
}
