//! What signals do. SIGTERM and SIGINT ask for an orderly end: stop reading, store, commit, exit 0; a second one ends the process at once.
//! SIGHUP asks a service to reopen its decisions file; any other command, and a service on a terminal, ends in order. The process acts on a
//! signal before it prints anything. A signal that comes before anything listens waits until something does.

use crate::logging::SERVICE;
use crate::output::{self, Level, say, tell};
use crate::stop_request;
use anyhow::Result;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long an orderly end of a service may take. Whatever started it kills it soon after: ECS after 30 s, systemd with our unit after 20
/// s.
const END_WITHIN: Duration = Duration::from_secs(18);
/// How often a child looks whether its parent still lives.
const PARENT_POLL: Duration = Duration::from_millis(200);

/// Signals that mean nothing here, but end a process by default. With SIGXFSZ ignored, a write beyond the limit of file sizes fails, as on
/// a full disk.
const IGNORED: [libc::c_int; 4] = [libc::SIGUSR1, libc::SIGUSR2, libc::SIGALRM, libc::SIGXFSZ];

/// Whether SIGHUP was ignored when this process began, as `nohup` has it.
static HANGUP_IS_IGNORED: OnceLock<bool> = OnceLock::new();

/// Signals that ask for an end, or for a file to be reopened.
const ASKING: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// To be called first, on the first thread. From here on, signals that mean nothing are ignored, and those that ask for something wait
/// until something listens to them or [`let_through`] is called.
pub fn start() {
    HANGUP_IS_IGNORED.get_or_init(|| is_ignored(libc::SIGHUP));
    mask(libc::SIG_BLOCK);
    IGNORED.into_iter().for_each(ignore);
}

/// Lets signals that waited, and all that come, take effect: either this command listens to none, or it does by now.
pub fn let_through() {
    mask(libc::SIG_UNBLOCK);
}

/// Blocks or unblocks the asking signals for the calling thread. Threads that it starts inherit this; processes that it starts do not,
/// because the standard library resets their mask.
#[expect(unsafe_code, reason = "the standard library lets no signal wait")]
fn mask(how: libc::c_int) {
    let mut asking = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the first call initialises the whole set, all calls get signals that exist, and nothing else is written to.
    unsafe {
        libc::sigemptyset(asking.as_mut_ptr());
        for signal in ASKING {
            libc::sigaddset(asking.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, asking.as_ptr(), std::ptr::null_mut());
    }
}

#[expect(unsafe_code, reason = "the standard library sets no signal to be ignored; this touches no memory")]
fn ignore(signal: libc::c_int) {
    // SAFETY: SIG_IGN runs no code, and these signals have no handler that could be lost.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

#[expect(unsafe_code, reason = "nothing else tells what was inherited for a signal")]
fn is_ignored(signal: libc::c_int) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the call only writes the old one, a plain struct that is valid when zeroed.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// What a service learns from signals.
pub struct Heard {
    /// True once the service was asked to end.
    pub stop: watch::Receiver<bool>,
    /// Counts how often the service was asked to reopen its files.
    pub reopen: watch::Receiver<u64>,
    /// Ends the process if its orderly end takes too long; to be aborted once the end is reached.
    pub watchdog: Option<JoinHandle<()>>,
}

/// Listens for the signals of a service. The service must end within [`END_WITHIN`] of being asked: if a store does not answer, the process
/// ends without storing what it had decided, as if it had been killed.
///
/// # Errors
/// The system refuses to register a handler for a signal.
pub fn heard_by_service(parent: Option<u32>) -> std::io::Result<Heard> {
    // SIGHUP ends a service on a terminal, since nobody watches it once that is gone, and a demo's consumer, which ends with its demo.
    let on_terminal =
        std::io::stdin().is_terminal() || std::io::stdout().is_terminal() || std::io::stderr().is_terminal();
    let mut heard = listen(parent, !on_terminal && parent.is_none())?;
    let mut told = heard.stop.clone();
    heard.watchdog = Some(tokio::spawn(async move {
        if told.wait_for(|stop| *stop).await.is_ok() {
            tokio::time::sleep(END_WITHIN).await;
            output::tell_at(
                Level::Error,
                &format!(
                    "not everything could be stored within {} s, as a service that is needed for it does not answer; nothing is \
                     lost: whoever goes on reads again what was not stored",
                    END_WITHIN.as_secs()
                ),
            );
            tracing::info!(target: SERVICE, why = "error", "ended");
            output::exit(1);
        }
    }));
    Ok(heard)
}

/// A receiver that is true once the process was asked to end, or once `parent` is no longer its parent.
///
/// # Errors
/// The system refuses to register a handler for a signal.
pub fn stop_signal(parent: Option<u32>) -> std::io::Result<watch::Receiver<bool>> {
    Ok(listen(parent, false)?.stop)
}

fn listen(parent: Option<u32>, hangup_reopens: bool) -> std::io::Result<Heard> {
    let (send, stop) = watch::channel(false);
    let (ask, reopen) = watch::channel(0);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = match HANGUP_IS_IGNORED.get() {
        Some(true) => None,
        _ => Some(signal(SignalKind::hangup())?),
    };
    let_through();
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            let by = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                () = hung_up(&mut hangup) => "SIGHUP",
                () = orphaned(parent), if !asked => "the end of its parent",
            };
            match (by, asked) {
                ("SIGHUP", _) if hangup_reopens => ask.send_modify(|n| *n += 1),
                // A terminal that goes away may say so more than once.
                ("SIGHUP", true) => {}
                (_, true) => {
                    tracing::info!(target: SERVICE, why = "signal", signal = by, "ended at once");
                    output::exit(130);
                }
                (_, false) => {
                    asked = true;
                    stop_request::note(by);
                    // The receiver is gone if all work is done already.
                    let _ = send.send(true);
                    tell!("stopping: storing what is decided; once more to end at once (nothing stored is lost)");
                }
            }
        }
    });
    Ok(Heard { stop, reopen, watchdog: None })
}

/// Resolves at SIGHUP; never where it is ignored.
async fn hung_up(hangup: &mut Option<Signal>) {
    match hangup {
        Some(hangup) => drop(hangup.recv().await),
        None => std::future::pending().await,
    }
}

/// Resolves when `parent` is no longer the parent of this process; never without one.
async fn orphaned(parent: Option<u32>) {
    let Some(parent) = parent else { return std::future::pending().await };
    while std::os::unix::process::parent_id() == parent {
        tokio::time::sleep(PARENT_POLL).await;
    }
}

/// The orderly end of a command that was told to stop before its input was at its end.
///
/// # Errors
/// Standard output cannot be written to.
pub fn ended_early() -> Result<ExitCode> {
    say!("stopped; run the same command again to go on")?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Far above what a signal takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// On a thread of its own, since a blocked signal waits for one thread. Without the mask, the signal would end the tests.
    #[test]
    fn what_comes_before_anybody_listens_is_heard() {
        let heard = std::thread::spawn(|| {
            start();
            #[expect(unsafe_code, reason = "the standard library sends no signal")]
            // SAFETY: it touches no memory.
            let sent = unsafe { libc::raise(libc::SIGTERM) };
            assert_eq!(sent, 0);
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut stop = stop_signal(None).unwrap();
                tokio::time::timeout(PATIENCE, stop.wait_for(|stop| *stop)).await.is_ok_and(|stop| stop.is_ok())
            })
        });
        assert!(heard.join().unwrap());
        assert_eq!(stop_request::stop_requested().unwrap().by, "SIGTERM");
    }
}
