//! How a run goes on: it works, until it stands aside or stops.
//!
//! ```text
//!   works --(something is too new, and it is to run for ever)--> stands aside
//!     |                                                               |
//!     '--(a failure, or it is told to)--> stops <---------------------'
//! ```

use crate::service::Mode;
use std::sync::Arc;

/// What has happened to a run since it last looked.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Something failed.
    pub has_failed: bool,
    /// It was told to stop.
    pub told_to_stop: bool,
    /// What is too new for this program, if something was met.
    pub met: Option<Arc<str>>,
}

/// What the run does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It gives all leases back, takes no more, and stays up.
    StandAside,
    /// It fails because something is too new: the run has an end for which a caller waits.
    Fail(Arc<str>),
    /// It takes no more leases, and ends once its workers have stopped.
    Leave,
}

/// Where a run is in the picture above.
#[derive(Debug, Default)]
pub(super) struct Course {
    is_stopping: bool,
    /// Why it stands aside, if it does. A run that stands aside can still be stopped.
    aside_of: Option<Arc<str>>,
}

impl Course {
    /// Takes in what happened; returns what the run does next, in order.
    pub fn hear(&mut self, heard: Heard, mode: Mode) -> Vec<Turn> {
        let mut turns = Vec::new();
        let mut stops = heard.has_failed || heard.told_to_stop;
        if let Some(met) = heard.met
            && self.aside_of.is_none()
        {
            if mode == Mode::Run {
                turns.push(Turn::StandAside);
                self.aside_of = Some(met);
            } else {
                turns.push(Turn::Fail(met));
                stops = true;
            }
        }
        if stops && !self.is_stopping {
            turns.push(Turn::Leave);
            self.is_stopping = true;
        }
        turns
    }

    /// Whether workers are started and the stream is looked at.
    pub fn works(&self) -> bool {
        !self.is_stopping && self.aside_of.is_none()
    }

    /// Whether it ends once its workers have stopped.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// What is too new, if the run stands aside because of it.
    pub fn aside_of(&self) -> Option<&Arc<str>> {
        self.aside_of.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met() -> Heard {
        Heard { met: Some("newer".into()), ..Heard::default() }
    }

    #[test]
    fn nothing_heard_changes_nothing() {
        let mut course = Course::default();
        assert_eq!(course.hear(Heard::default(), Mode::Run), []);
        assert!(course.works() && !course.is_stopping());
    }

    #[test]
    fn a_run_leaves_once_whatever_else_fails() {
        let mut course = Course::default();
        let told = Heard { told_to_stop: true, ..Heard::default() };
        assert_eq!(course.hear(told.clone(), Mode::Run), [Turn::Leave]);
        assert_eq!(course.hear(Heard { has_failed: true, ..told }, Mode::Run), []);
        assert!(course.is_stopping() && !course.works());
    }

    #[test]
    fn a_run_without_an_end_stands_aside_and_may_still_be_stopped() {
        let mut course = Course::default();
        assert_eq!(course.hear(met(), Mode::Run), [Turn::StandAside]);
        assert_eq!(course.hear(met(), Mode::Run), [], "it says so once");
        assert!(!course.works() && !course.is_stopping());
        assert_eq!(course.hear(Heard { told_to_stop: true, ..met() }, Mode::Run), [Turn::Leave]);
        assert!(course.aside_of().is_some());
    }

    #[test]
    fn a_run_with_an_end_fails_of_what_is_too_new() {
        for mode in [Mode::UntilCaughtUp, Mode::Seal] {
            let mut course = Course::default();
            assert_eq!(course.hear(met(), mode), [Turn::Fail("newer".into()), Turn::Leave]);
            assert!(course.is_stopping() && course.aside_of().is_none());
        }
    }
}
