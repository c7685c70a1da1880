//! Results, on standard output. It is no error if their reader has stopped reading (`authpulse status | head`); any other failure to write
//! them is one.

use super::PATIENCE_WITH_RESULTS;
use crate::stop_request::stop_requested;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use thiserror::Error;

/// How often to check, while results are being written, whether the process was told to end.
const LOOK: Duration = Duration::from_millis(50);
/// How long until a descriptor that another process made non-blocking is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(10);

/// Results could not be written.
#[derive(Debug, Error)]
#[error("the results could not be written to standard output")]
pub struct ResultsLost {
    source: io::Error,
}

impl ResultsLost {
    /// The [`ResultsLost`] among an error and its causes, if there is one.
    pub fn of(error: &anyhow::Error) -> Option<&ResultsLost> {
        error.chain().find_map(|cause| {
            let within = || cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref();
            cause.downcast_ref().or_else(within)
        })
    }

    /// Whether the reader has gone away.
    pub fn is_unread(&self) -> bool {
        self.source.kind() == ErrorKind::BrokenPipe
    }
}

/// Standard output without the buffer and the lock of the library. If it was closed at the start, the library has opened `/dev/null`
/// instead.
fn stdout() -> io::Result<&'static File> {
    static STDOUT: OnceLock<File> = OnceLock::new();
    if let Some(file) = STDOUT.get() {
        return Ok(file);
    }
    let file = io::stdout().as_fd().try_clone_to_owned()?;
    Ok(STDOUT.get_or_init(|| File::from(file)))
}

fn write_all(mut bytes: &[u8]) -> io::Result<()> {
    let mut out = stdout()?;
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::park_timeout(AGAIN_AFTER),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes text to standard output, however long its reader takes. But a process that was told to end waits for it no longer than
/// [`PATIENCE_WITH_RESULTS`].
///
/// # Errors
/// Standard output cannot be written to, or its reader takes nothing while the process was told to end.
pub fn write(text: String) -> Result<(), ResultsLost> {
    let (done, outcome) = channel();
    let writing = std::thread::Builder::new().name("authpulse-stdout".to_owned()).spawn(move || {
        // The receiver is gone only if the process is about to end.
        let _ = done.send(write_all(text.as_bytes()));
    });
    let begun = Instant::now();
    let outcome = match writing {
        Err(error) => Err(error),
        Ok(_) => loop {
            match outcome.recv_timeout(LOOK) {
                Ok(outcome) => break outcome,
                Err(RecvTimeoutError::Disconnected) => break Err(io::Error::other("writing ended by a bug")),
                Err(RecvTimeoutError::Timeout) => {
                    if stop_requested()
                        .is_some_and(|request| request.since.max(begun).elapsed() > PATIENCE_WITH_RESULTS)
                    {
                        break Err(io::Error::new(ErrorKind::TimedOut, "its reader takes nothing"));
                    }
                }
            }
        },
    };
    outcome.map_err(|source| ResultsLost { source })
}

/// Standard output as a writer; its errors are [`ResultsLost`].
pub struct Results;

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let lost = |source: io::Error| io::Error::new(source.kind(), ResultsLost { source });
        write_all(bytes).map_err(lost)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
