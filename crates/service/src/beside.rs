//! Tasks beside the workers: the run hears of it where one panics.

use authpulse_journal::error::ConsumerError;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Says that a task beside the workers panicked: without it the run must not go on as if nothing were.
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

/// Starts a task beside the workers; `panicked` hears what it did, if it panics.
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

/// What a run fails with beside which such a task ended.
pub(crate) fn bug(what: &str) -> ConsumerError {
    ConsumerError::Bug(format!("the task that {what}"))
}
