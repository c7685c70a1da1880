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
    /// The program has a bug: what is stored is as it was, so that starting again goes on from there.
    Report,
}

impl Remedy {
    /// Its name for programs, as lines of the log carry it.
    pub fn name(self) -> &'static str {
        match self {
            Remedy::Retry => "retry",
            Remedy::Look => "look",
            Remedy::Restore => "restore",
            Remedy::Correct => "correct",
            Remedy::Report => "report",
        }
    }

    /// What to do, for people; none where only the error itself can say what is to be changed.
    pub fn advice(self) -> Option<&'static str> {
        match self {
            Remedy::Retry => Some("nothing is lost; run the same command again, later if need be"),
            Remedy::Look => {
                Some("what was done is not known; the same command looks at what is stored before it goes on")
            }
            Remedy::Restore => Some("running it again does not help: restore what is damaged or missing from a copy"),
            Remedy::Correct => None,
            Remedy::Report => Some("report it; the same command goes on from what is stored"),
        }
    }
}
