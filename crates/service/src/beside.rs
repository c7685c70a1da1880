//! Tasks beside the workers, whose panics the run gets to know.

use authpulse_journal::error::ConsumerError;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Reports when it is dropped by a panic: a run must not go on without one of its tasks.
struct TellsOfPanic {
    panicked: watch::Sender<Option<&'static str>>,
    what: &'static str,
}

impl Drop for TellsOfPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.panicked.send_replace(Some(self.what));
        }
    }
}

/// Starts a task beside the workers. If it panics, `panicked` receives `what`, which says what the task does.
pub(crate) fn start_beside(
    panicked: &watch::Sender<Option<&'static str>>,
    what: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let tells = TellsOfPanic { panicked: panicked.clone(), what };
    tokio::spawn(async move {
        let _tells = tells;
        task.await;
    })
}

/// The error of a run in which such a task panicked.
pub(crate) fn bug(what: &str) -> ConsumerError {
    ConsumerError::Bug(format!("the task that {what}"))
}
