//! Standing aside: what a process does when something in its lake is too new for it.
//!
//! Ending would not help: a supervisor would start it again into the same lake, over and over, and each time its shards would be
//! without a worker for a while. Going on is impossible. So the process stores what it has decided, and gives back all leases and the
//! committer's lock. From then on it takes no lease, asks for none, and does not count when leases are shared out. It says once a minute
//! that a newer version is needed, and stays up until it is told to stop. Newer programs have the lake to themselves, one after another.

use authpulse_event::{Span, Tick};
use authpulse_journal::env::{Clock, duration};
use authpulse_journal::error::{Chain, ConsumerError};
use authpulse_journal::stop::stop_requested;
use std::sync::Arc;
use tokio::sync::watch;

/// The log target that operators filter by.
const TARGET: &str = "authpulse_consumer::aside";

/// How often a process that stands aside says so.
const SAY_EVERY: Span = Span::seconds(60);

const STANDS_ASIDE: &str =
    "run a newer version of authpulse: this one stands aside, holds no shard and commits nothing until it is stopped";

/// Shared by the tasks of a process: the first error that says that something is too new. Each task looks here before it goes on.
/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct Aside(watch::Sender<Option<Arc<str>>>);

impl Aside {
    /// Nothing has been met yet.
    pub fn new() -> Aside {
        Aside(watch::Sender::new(None))
    }

    /// Takes in an error; returns whether it says that something is too new. The first such error is kept.
    pub fn meets(&self, error: &ConsumerError) -> bool {
        let is_too_new = error.is_too_new();
        if is_too_new {
            self.0.send_if_modified(|met| {
                let is_first = met.is_none();
                met.get_or_insert_with(|| Chain(error).to_string().into());
                is_first
            });
        }
        is_too_new
    }

    /// The words of the error that was met, if any.
    pub fn met(&self) -> Option<Arc<str>> {
        self.0.borrow().clone()
    }

    /// A receiver that changes when something is met.
    pub fn watch(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.0.subscribe()
    }
}

/// Says at intervals that a newer version is needed.
#[derive(Default)]
pub(crate) struct Reminder {
    said_at: Option<Tick>,
}

impl Reminder {
    /// Logs what was met, unless it did so less than a minute ago.
    pub fn say(&mut self, now: Tick, met: &str) {
        if self.said_at.is_none_or(|said| now - said >= SAY_EVERY) {
            self.said_at = Some(now);
            tracing::error!(target: TARGET, met, "{STANDS_ASIDE}");
        }
    }
}

/// For a service that meets something too new before it has begun: says so once a minute until it is told to stop.
pub async fn stand_aside(clock: &dyn Clock, met: &str, mut stop: watch::Receiver<bool>) {
    let mut reminder = Reminder::default();
    loop {
        reminder.say(clock.ticks(), met);
        tokio::select! {
            biased;
            () = stop_requested(&mut stop) => return,
            () = clock.sleep(duration(SAY_EVERY)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_engine::SnapshotError;
    use authpulse_lake::LakeError;
    use authpulse_lake::entry::EntryError;
    use std::sync::Mutex;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Level, Metadata, Subscriber};

    /// Keeps what is said.
    #[derive(Clone, Default)]
    struct Said(Arc<Mutex<Vec<(Level, String)>>>);

    struct Words(String);

    impl Visit for Words {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            self.0 += &format!("{field}={value:?} ");
        }
    }

    impl Subscriber for Said {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut words = Words(String::new());
            event.record(&mut words);
            self.0.lock().unwrap().push((*event.metadata().level(), words.0));
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn it_says_once_a_minute_what_it_met_and_what_to_do() {
        let said = Said::default();
        tracing::subscriber::with_default(said.clone(), || {
            let mut reminder = Reminder::default();
            for second in 0..=180 {
                reminder.say(Tick::default() + Span::seconds(second), "entry 7 of shard a has format 9");
            }
        });
        let said = said.0.lock().unwrap();
        assert_eq!(said.len(), 4, "{said:?}");
        for (level, words) in said.iter() {
            assert_eq!(*level, Level::ERROR);
            assert!(
                words.contains("run a newer version of authpulse") && words.contains("entry 7 of shard a has format 9")
            );
        }
    }

    #[test]
    fn what_is_too_new_is_met_wherever_it_is_nested_and_the_first_stays() {
        let entry = || EntryError::Section { what: "entry 1".to_owned(), section: "ledger".to_owned() };
        let newer = EntryError::Newer { what: "entry 2".to_owned(), format: 9, newest: 3 };
        let piece = ConsumerError::Snapshot { path: "state/p".to_owned(), source: SnapshotError::Newer(9) };
        let aside = Aside::new();
        assert!(!aside.meets(&ConsumerError::Bug("no".to_owned())) && aside.met().is_none());
        assert!(aside.meets(&LakeError::Entry(entry()).into()));
        for error in [entry().into(), newer.into(), piece, ConsumerError::TooNew("x".to_owned())] {
            assert!(aside.meets(&error), "{error}");
        }
        let met = aside.met().unwrap();
        assert!(met.starts_with("entry 1 holds the section 'ledger'"), "{met}");
        let damaged = EntryError::Damaged { what: "entry".to_owned(), cause: "cut".to_owned() };
        assert!(!aside.meets(&damaged.into()));
    }
}
