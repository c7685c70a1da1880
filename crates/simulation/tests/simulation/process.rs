//! A process: a runtime of its own on the simulation's thread. It runs until all of its tasks wait at the gate. Dropping it is a crash.

use crate::gate::{Fault, ProcessId};
use authpulse_event::Tick;
use authpulse_journal::ConsumerError;
use authpulse_journal::error::Chain;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// The outcome of a process that the simulation brought to its end.
pub const STRUCK: &str = "struck by a fault";

/// Whether an error comes from a fault that the simulation injected.
pub fn is_fault(error: &ConsumerError) -> bool {
    let text = Chain(error).to_string();
    matches!(error, ConsumerError::Fenced { .. })
        || text.contains(Fault::Done.name())
        || text.contains(Fault::NotDone.name())
}

/// What a process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Workers, a committer beside them and their leases.
    Consumer,
    /// Maintenance of the tables.
    Maintainer,
    /// A follower that is no table.
    Follower,
}

/// A running process.
pub struct Process {
    pub id: ProcessId,
    pub kind: Kind,
    /// The process hangs until this tick.
    pub asleep_until: Option<Tick>,
    /// True asks for an orderly end.
    pub stop: watch::Sender<bool>,
    runtime: Runtime,
    rest: Arc<Rest>,
    outcome: Arc<Mutex<Option<Result<String, String>>>>,
}

/// Notices that no task of a runtime has anything to do.
#[derive(Default)]
struct Rest {
    reached: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Process {
    /// Starts `main` in a process of its own; the error says why the process ended.
    pub fn start<F>(id: ProcessId, kind: Kind, main: impl FnOnce(watch::Receiver<bool>) -> F) -> Process
    where
        F: Future<Output = Result<String, String>> + Send + 'static,
    {
        let rest = Arc::new(Rest::default());
        let parked = rest.clone();
        let runtime = Builder::new_current_thread()
            .on_thread_park(move || {
                parked.reached.store(true, Ordering::Relaxed);
                if let Some(waker) = parked.waker.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    waker.wake();
                }
            })
            .build()
            .expect("a runtime without timers and sockets needs nothing");
        let (stop, stopped) = watch::channel(false);
        let outcome = Arc::new(Mutex::new(None));
        let (main, ended) = (main(stopped), outcome.clone());
        let main = runtime.spawn(main);
        runtime.spawn(async move {
            let outcome = main.await.unwrap_or_else(|error| Err(format!("a bug in this program: {error}")));
            *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
        });
        let process = Process { id, kind, asleep_until: None, stop, runtime, rest, outcome };
        process.run();
        process
    }

    /// Runs the process until all of its tasks wait.
    pub fn run(&self) {
        self.rest.reached.store(false, Ordering::Relaxed);
        self.runtime.block_on(poll_fn(|context| {
            if self.rest.reached.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            *self.rest.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(context.waker().clone());
            Poll::Pending
        }));
    }

    /// How the process ended, if it did.
    pub fn outcome(&self) -> Option<Result<String, String>> {
        self.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
