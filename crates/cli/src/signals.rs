//! SIGTERM and SIGINT ask for an orderly end: stop reading, store, commit, exit 0. A second one ends the process at once.

use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How long an orderly end of a service may take. Whoever started it kills it soon after: ECS after 30 s, systemd by our unit after 20.
const END_WITHIN: Duration = Duration::from_secs(18);
/// How often a child looks whether its parent still lives.
const PARENT_POLL: Duration = Duration::from_millis(200);

/// The same for a service, which is to have ended [`END_WITHIN`] after it was asked to: where a store does not answer, it ends without
/// having stored what it had decided, which is as if it had been killed.
///
/// # Errors
/// If signals cannot be listened to.
pub fn stop_signal_of_service(parent: Option<u32>) -> std::io::Result<watch::Receiver<bool>> {
    let stop = stop_signal(parent)?;
    let mut told = stop.clone();
    tokio::spawn(async move {
        if told.wait_for(|stop| *stop).await.is_ok() {
            tokio::time::sleep(END_WITHIN).await;
            eprintln!(
                "error: not everything could be stored within {} s, as a service that is needed for it does not answer; nothing is \
                 lost: whoever goes on reads again what was not stored",
                END_WITHIN.as_secs()
            );
            std::process::exit(1);
        }
    });
    Ok(stop)
}

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
