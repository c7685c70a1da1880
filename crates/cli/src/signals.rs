//! SIGTERM and SIGINT ask for an orderly end: stop reading, store, commit, exit 0. A second one ends the process at once.

use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How often a child looks whether its parent still lives.
const PARENT_POLL: Duration = Duration::from_millis(200);

/// A receiver that holds true once the process was asked to end, or once `parent` is its parent no more.
///
/// # Errors
/// If signals cannot be listened to.
pub fn stop_signal(parent: Option<u32>) -> std::io::Result<watch::Receiver<bool>> {
    let (send, receive) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                () = orphaned(parent), if !asked => {}
            }
            if asked {
                std::process::exit(130);
            }
            asked = true;
            eprintln!("stopping: storing what is decided; once more to end at once (nothing stored is lost)");
            if send.send(true).is_err() {
                return;
            }
        }
    });
    Ok(receive)
}

/// Resolves when `parent` is not the parent of this process any more; never without one.
async fn orphaned(parent: Option<u32>) {
    let Some(parent) = parent else { return std::future::pending().await };
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(PARENT_POLL).await;
    }
}
