//! A request to stop, as every task gets it: a channel that holds true from then on.

use tokio::sync::watch;

/// Resolves when `stop` holds true; never if the sender is gone.
pub async fn stop_requested(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// Does the work, or drops it at the first request to stop and returns `None`. Dropping the work must do no harm at any instant, like a
/// crash. (Waiting is no choice: a call that is never answered takes half a minute to fail, which is longer than an orderly end may take.)
pub async fn unless_stopped<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        () = stop_requested(stop) => None,
        done = work => Some(done),
    }
}
