//! What a build without AWS says to streams in Kinesis: the same calls, each of which refuses.

use super::Reading;
use super::{NOT_BUILT, Start};
use anyhow::{Result, bail};
use authpulse_event::ShardId;
use authpulse_journal::Env;
use authpulse_lease::{Fleet, LeaseStore};
use authpulse_settings::Options;
use authpulse_stream::{LocalStream, ShardDescription, Stream, StreamWriter};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

fn refuse<T>(name: &str) -> Result<T> {
    bail!("the stream kinesis:{name} cannot be used: {NOT_BUILT}")
}

/// Never made: a stream to send into.
pub struct Writer(Infallible);

impl Writer {
    /// Refuses.
    ///
    /// # Errors
    /// Always: this build has no support for AWS.
    pub async fn open(name: &str, _aggregate: bool, _progress: Option<&Path>) -> Result<Writer> {
        refuse(name)
    }

    /// The stream to put records into.
    pub fn stream(&self) -> &dyn StreamWriter {
        match self.0 {}
    }

    /// What was put and what it costs, in words.
    pub async fn told(&self) -> Option<String> {
        match self.0 {}
    }
}

/// Never made: a stream to read.
pub struct KinesisReader(Infallible);

/// Never made: the leases of an application.
pub struct Leases(Infallible);

impl Leases {
    /// The store that has them.
    pub fn store(&self) -> &dyn LeaseStore {
        match self.0 {}
    }

    /// Refuses if a leader of KCL 3 assigns these leases.
    ///
    /// # Errors
    /// Never: there are no such leases.
    pub async fn refuse_a_living_leader(&self) -> Result<()> {
        match self.0 {}
    }
}

/// Never made: a stream as a consumer reads it, and its leases.
pub struct Consumed {
    /// The stream.
    pub stream: Arc<dyn Stream>,
    /// This worker's part in the leases.
    pub fleet: Fleet,
}

impl KinesisReader {
    /// Refuses.
    ///
    /// # Errors
    /// Always: this build has no support for AWS.
    pub async fn open(name: &str) -> Result<KinesisReader> {
        refuse(name)
    }

    /// The stream, read from its oldest record.
    pub fn stream(&self) -> LocalStream {
        match self.0 {}
    }

    /// The leases of an application.
    ///
    /// # Errors
    /// Never: there is no such stream.
    pub async fn leases(&self, _: &str) -> Result<Leases> {
        match self.0 {}
    }

    /// The stream and its leases for a lake.
    ///
    /// # Errors
    /// Never: there is no such stream.
    pub async fn consume(&self, _: &Env, _: &Options, _: &str, _: Start, _: Reading, _: &str) -> Result<Consumed> {
        match self.0 {}
    }
}

/// Refuses.
///
/// # Errors
/// Always: this build has no support for AWS.
pub async fn create(name: &str, _shards: Option<u32>) -> Result<()> {
    refuse(name)
}

/// Refuses.
///
/// # Errors
/// Always: this build has no support for AWS.
pub async fn split(name: &str, _shard: &ShardDescription) -> Result<()> {
    refuse(name)
}

/// Refuses.
///
/// # Errors
/// Always: this build has no support for AWS.
pub async fn merge(name: &str, _left: &ShardId, _right: &ShardId) -> Result<()> {
    refuse(name)
}

/// Refuses.
///
/// # Errors
/// Always: this build has no support for AWS.
pub async fn delete(name: &str) -> Result<()> {
    refuse(name)
}

/// Refuses.
///
/// # Errors
/// Always: this build has no support for AWS.
pub async fn particulars(name: &str) -> Result<String> {
    refuse(name)
}

/// Refuses.
///
/// # Errors
/// Always: this build has no support for AWS.
pub async fn deregister(name: &str, _app: &str) -> Result<()> {
    refuse(name)
}

/// Some application and start; opening the stream is what refuses.
///
/// # Errors
/// Never.
pub fn application_and_start(_: Option<&str>, _: Option<&str>) -> Result<(String, Start)> {
    Ok((String::new(), Start::TrimHorizon))
}
