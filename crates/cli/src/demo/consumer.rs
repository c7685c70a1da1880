//! The consumer of a demo: a process of its own.

use crate::lake::LakeLocation;
use crate::output;
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::sync::watch;

/// How often to check whether the consumer has ended.
const CONSUMER_POLL: Duration = Duration::from_millis(20);

/// The process of a consumer.
pub struct Consumer(Child);

impl Consumer {
    /// Starts a consumer on a stream and a lake.
    ///
    /// # Errors
    /// No process can be started.
    pub fn start(location: &LakeLocation, stream: &Path, config: Option<&Path>) -> Result<Consumer> {
        let program = std::env::current_exe().context("this program's own path cannot be found")?;
        let child = Command::new(program)
            .args(output::line::format().words())
            .arg("consume")
            .arg("--stream")
            .arg(format!("local:{}", stream.display()))
            .args(location.words())
            .arg("--with-parent")
            .arg(std::process::id().to_string())
            .args(config.into_iter().flat_map(|config| [OsStr::new("--config"), config.as_os_str()]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        Ok(Consumer(child.context("the consumer process cannot be started")?))
    }

    /// Waits until the consumer ends. Returns none if this process was told to stop first; the consumer is then killed.
    ///
    /// # Errors
    /// The system does not say whether the process has ended.
    pub async fn wait(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Option<ExitStatus>> {
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(Some(status));
            }
            if *stop.borrow_and_update() {
                self.end();
                return Ok(None);
            }
            tokio::select! {
                () = tokio::time::sleep(CONSUMER_POLL) => {}
                _ = stop.changed() => {}
            }
        }
    }

    /// Kills the consumer, and waits until it is gone.
    pub fn end(&mut self) {
        // It may have ended by itself; then there is nothing to kill. What it stored stays, whatever the instant.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
