//! A service that was away for longer than the stream keeps its shards: their state goes over to their children, and records that were
//! not read are lost.

use crate::small_lake::{SmallLake, options};
use async_trait::async_trait;
use authpulse_audit::verify::{VerifyOptions, verify};
use authpulse_event::{Position, ShardId};
use authpulse_journal::Env;
use authpulse_journal::env::SystemClock;
use authpulse_lake::Table;
use authpulse_lease::{Fleet, MemoryLeases};
use authpulse_service::drive::{Ended, run_service};
use authpulse_service::service::{Mode, Service};
use authpulse_stream::{
    CreateOptions, MemoryStream, PutRecord, ReadBatch, ReadFrom, ReadLimit, ShardDescription, Stream,
    StreamDescription, StreamError, StreamWriter,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// A stream that has forgotten some of its shards.
struct Forgetful {
    stream: MemoryStream,
    forgotten: Mutex<Vec<ShardId>>,
}

impl Forgetful {
    fn knows(&self, shard: &ShardId) -> Result<(), StreamError> {
        match self.forgotten.lock().unwrap().contains(shard) {
            false => Ok(()),
            true => Err(StreamError::NotFound { what: shard.to_string(), hint: "it has expired".to_owned() }),
        }
    }

    async fn open(&self) -> Vec<ShardDescription> {
        let mut open: Vec<_> = self.stream.shards().await.unwrap().into_iter().filter(|shard| !shard.closed).collect();
        open.sort_by_key(|shard| shard.range);
        open
    }

    /// Splits every open shard, and returns those that were split.
    async fn split(&self) -> Vec<ShardId> {
        let open = self.open().await;
        for shard in &open {
            let at = shard.range.first + (shard.range.last - shard.range.first) / 2 + 1;
            self.stream.split(&shard.id, at).await.unwrap();
        }
        open.into_iter().map(|shard| shard.id).collect()
    }

    fn forget(&self, shards: Vec<ShardId>) {
        self.forgotten.lock().unwrap().extend(shards);
    }
}

#[async_trait]
impl Stream for Forgetful {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        self.stream.describe().await
    }
    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        let shards = self.stream.shards().await?;
        Ok(shards.into_iter().filter(|shard| self.knows(&shard.id).is_ok()).collect())
    }
    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        self.knows(shard)?;
        self.stream.read(shard, from, limit).await
    }
    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        self.knows(shard)?;
        self.stream.tip(shard).await
    }
}

/// Every user logs on to a computer of its own, one second after another.
async fn put(stream: &Forgetful, from: u64) {
    let records = (0..20).map(|n| PutRecord {
        payload: format!("{{\"time\":{},\"user\":\"U{n}\",\"computer\":\"C{n}\"}}", from + n).into(),
        partition_key: format!("U{n}").into(),
    });
    stream.stream.put(records.collect(), None).await.unwrap();
}

async fn consume(lake: &SmallLake, stream: &Arc<Forgetful>, mode: Mode) {
    let env = &Env { clock: Arc::new(SystemClock), ..lake.env.clone() };
    let options = options();
    let service = Service::open(env.clone(), options.clone(), stream.clone(), mode).await.unwrap();
    let fleet = Fleet::new(Arc::new(MemoryLeases::new()), "w1", options.leases);
    let (_send, stop) = watch::channel(false);
    assert_eq!(run_service(service, env, &options, fleet, stop).await.unwrap(), Ended::Complete);
}

/// For each user, how many logons are stored, and how many of them are on a new device.
async fn stored_rows(lake: &SmallLake) -> BTreeMap<String, (u32, i32)> {
    let mut found: BTreeMap<String, (u32, i32)> = BTreeMap::new();
    for file in lake.env.lake.live_files(Table::CURATED).await.unwrap().files {
        for batch in lake.env.lake.read_curated(&file, None).await.unwrap() {
            for row in batch.unwrap().iter() {
                let (logons, new) = found.entry(row.user_id.to_owned()).or_default();
                (*logons, *new) = (*logons + 1, *new + row.is_new_device);
            }
        }
    }
    found
}

async fn away(unread: bool, generations: usize) {
    let lake = SmallLake::new();
    let stream = MemoryStream::new(CreateOptions { shards: 2, ..CreateOptions::default() }).unwrap();
    let stream = Arc::new(Forgetful { stream, forgotten: Mutex::default() });
    put(&stream, 1_000).await;
    consume(&lake, &stream, Mode::UntilCaughtUp).await;
    if unread {
        put(&stream, 1_100).await;
    }
    for _ in 0..generations {
        let closed = stream.split().await;
        stream.forget(closed);
    }
    put(&stream, 1_200).await;
    consume(&lake, &stream, Mode::Seal).await;
    let found = stored_rows(&lake).await;
    let wanted: BTreeMap<String, (u32, i32)> = (0..20).map(|n| (format!("U{n}"), (2, 1))).collect();
    assert_eq!(found, wanted, "no device is new twice: unread {unread}, {generations} generations");
    let report = verify(&lake.env, &VerifyOptions::default()).await.unwrap();
    assert_eq!(report.difference, None, "{report}");
    assert!(report.totals().adds_up());
    assert_eq!(report.totals().gaps, 2, "of the two shards nobody can tell what was lost: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_know_what_shards_knew_that_were_forgotten() {
    for unread in [false, true] {
        for generations in [1, 2, 3] {
            away(unread, generations).await;
        }
    }
}
