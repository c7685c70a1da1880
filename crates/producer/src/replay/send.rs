//! Appends a batch exactly once, although an answer may be lost.

use std::time::Duration;

use authpulse_stream::{ProducerProgress, StreamError, StreamWriter};
use tokio::sync::watch;

use super::batch::{Batch, End};
use super::pace::{PaceClock, sleep, stopped};
use super::state::{Job, Note};
use super::{ReplayError, Surroundings};

/// How often an append is tried before the replay gives up.
pub const PUT_ATTEMPTS: u32 = 8;
/// The pause after the first failed attempt; each further one is twice as long.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// How long an append that is under way may still take once the replay is to stop. One that takes longer is given up: a run that continues
/// sends its records again, and some may then be in the stream twice.
pub const STOP_PATIENCE: Duration = Duration::from_secs(10);

/// The probe's point before an append.
pub const PROBE_BEFORE: &str = "stream append before";
/// The probe's point after an append that was stored.
pub const PROBE_AFTER: &str = "stream append after";

/// The note that the stream keeps of a job, if any.
///
/// # Errors
/// The stream fails, after several attempts ([`ReplayError::Progress`]), or the note is unusable ([`ReplayError::Note`]).
pub(super) async fn read_note<C: PaceClock>(
    stream: &dyn StreamWriter,
    job: &Job,
    around: &mut Surroundings<'_, C>,
) -> Result<Option<Note>, ReplayError> {
    let name = || job.name.clone();
    let mut retry = Retry::default();
    let note = loop {
        match stream.progress(&job.name).await {
            Ok(note) => break note,
            Err(error) => retry
                .after(error, around.clock, &mut around.stop)
                .await
                .map_err(|source| ReplayError::Progress { job: name(), source })?,
        }
    };
    note.map(|text| Note::from_json(&text)).transpose().map_err(|why| ReplayError::Note { job: name(), why })
}

/// Appends a batch together with the job's note; false if that was given up because the replay is to stop. `line` is the last line that is
/// in the stream already.
///
/// # Errors
/// The stream never takes one of the records ([`ReplayError::Record`]), or fails, after several attempts ([`ReplayError::Put`]).
pub(super) async fn append<C: PaceClock>(
    stream: &dyn StreamWriter,
    job: &Job,
    batch: &Batch,
    line: u64,
    around: &mut Surroundings<'_, C>,
) -> Result<bool, ReplayError> {
    let state = Note::new(batch.counts, batch.end == Some(End::Complete), batch.shift).to_json();
    let mut retry = Retry::default();
    (around.probe)(PROBE_BEFORE);
    loop {
        let stop = &mut around.stop;
        let over = async {
            stopped(stop).await;
            around.clock.sleep(STOP_PATIENCE).await;
        };
        let appended = tokio::select! {
            biased;
            appended = attempt(stream, job, batch, &state, retry.attempts > 0) => appended,
            () = over => return Ok(false),
        };
        let Err(error) = appended else { break };
        if let StreamError::Record { index, .. } = error {
            return Err(ReplayError::Record { line: batch.line(index), source: error });
        }
        retry.after(error, around.clock, &mut around.stop).await.map_err(|source| ReplayError::Put {
            line,
            attempts: retry.attempts,
            resumable: job.resumable,
            source,
        })?;
    }
    (around.probe)(PROBE_AFTER);
    Ok(true)
}

/// One attempt to put. An earlier attempt may have stored the records, with only its answer lost. The note tells: no two notes are equal.
async fn attempt(
    stream: &dyn StreamWriter,
    job: &Job,
    batch: &Batch,
    state: &str,
    may_be_stored: bool,
) -> Result<(), StreamError> {
    if may_be_stored && stream.progress(&job.name).await?.as_deref() == Some(state) {
        return Ok(());
    }
    let progress = ProducerProgress { job: job.name.clone(), state: state.to_owned() };
    stream.put(batch.records(), Some(progress)).await.map(drop)
}

/// Closes the stream for good.
///
/// # Errors
/// The stream fails, after several attempts ([`ReplayError::Close`]).
pub(super) async fn close<C: PaceClock>(
    stream: &dyn StreamWriter,
    around: &mut Surroundings<'_, C>,
) -> Result<(), ReplayError> {
    let mut retry = Retry::default();
    while let Err(error) = stream.close().await {
        retry.after(error, around.clock, &mut around.stop).await.map_err(|source| ReplayError::Close { source })?;
    }
    Ok(())
}

/// Attempts so far.
#[derive(Default)]
struct Retry {
    attempts: u32,
    /// Set if the replay is to stop: one more attempt, without a pause.
    stopping: bool,
}

impl Retry {
    /// Pauses before another attempt, or returns the error if there is to be none.
    async fn after(
        &mut self,
        error: StreamError,
        clock: &impl PaceClock,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<(), StreamError> {
        self.attempts += 1;
        let may_help = matches!(error, StreamError::Storage { retry: true, .. });
        if !may_help || self.stopping || self.attempts >= PUT_ATTEMPTS {
            return Err(error);
        }
        let pause = BACKOFF_MAX.min(BACKOFF_FIRST * 2u32.pow(self.attempts - 1));
        tracing::warn!(attempt = self.attempts, ?pause, %error, "the stream failed; trying again");
        self.stopping = !sleep(clock, pause, stop).await;
        Ok(())
    }
}
