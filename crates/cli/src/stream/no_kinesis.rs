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

/// There is none.
pub struct Writer(Infallible);

impl Writer {
    pub async fn open(name: &str, _aggregate: bool, _progress: Option<&Path>) -> Result<Writer> {
        refuse(name)
    }
    pub fn stream(&self) -> &dyn StreamWriter {
        match self.0 {}
    }
    pub async fn told(&self) -> Option<String> {
        match self.0 {}
    }
}

/// There is none.
pub struct KinesisReader(Infallible);

/// There are none.
pub struct Leases(Infallible);

impl Leases {
    pub fn store(&self) -> &dyn LeaseStore {
        match self.0 {}
    }
    pub async fn refuse_a_living_leader(&self) -> Result<()> {
        match self.0 {}
    }
}

/// Never made.
pub struct Consumed {
    pub stream: Arc<dyn Stream>,
    pub fleet: Fleet,
}

impl KinesisReader {
    pub async fn open(name: &str) -> Result<KinesisReader> {
        refuse(name)
    }
    pub fn stream(&self) -> LocalStream {
        match self.0 {}
    }
    pub async fn leases(&self, _: &str) -> Result<Leases> {
        match self.0 {}
    }
    pub async fn consume(&self, _: &Env, _: &Options, _: &str, _: Start, _: Reading, _: &str) -> Result<Consumed> {
        match self.0 {}
    }
}

pub async fn create(name: &str, _shards: Option<u32>) -> Result<()> {
    refuse(name)
}
pub async fn split(name: &str, _shard: &ShardDescription) -> Result<()> {
    refuse(name)
}
pub async fn merge(name: &str, _left: &ShardId, _right: &ShardId) -> Result<()> {
    refuse(name)
}
pub async fn delete(name: &str) -> Result<()> {
    refuse(name)
}
pub async fn particulars(name: &str) -> Result<String> {
    refuse(name)
}
pub async fn deregister(name: &str, _app: &str) -> Result<()> {
    refuse(name)
}
pub fn application_and_start(_: Option<&str>, _: Option<&str>) -> Result<(String, Start)> {
    Ok((String::new(), Start::TrimHorizon))
}
