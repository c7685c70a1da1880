//! The records that all shards together have read and not stored stay within one bound, however many shards there are.

use crate::small_lake::{SmallLake, options};
use async_trait::async_trait;
use authpulse_engine::rows::ScoredEvent;
use authpulse_event::{Position, ShardId};
use authpulse_journal::Env;
use authpulse_journal::env::SystemClock;
use authpulse_lake::RawRecord;
use authpulse_lease::{Fleet, MemoryLeases};
use authpulse_service::drive::{Ended, run_service};
use authpulse_service::service::{Mode, Service};
use authpulse_settings::Options;
use authpulse_stream::{
    CreateOptions, MemoryStream, PutRecord, ReadBatch, ReadFrom, ReadLimit, Record, ShardDescription, Stream,
    StreamDescription, StreamError, StreamWriter,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

const MEMORY: usize = 1 << 20;
/// Enough records for several entries a shard, however many shards there are.
const RECORDS: usize = 6_000;
const PAYLOAD_BYTES: usize = 50;

/// A stream that notes how much one read took of it, once every shard is read: until then those that are there have more.
struct Noted {
    stream: MemoryStream,
    shards: usize,
    read: Mutex<BTreeSet<ShardId>>,
    most: AtomicUsize,
}

#[async_trait]
impl Stream for Noted {
    async fn describe(&self) -> Result<StreamDescription, StreamError> {
        self.stream.describe().await
    }
    async fn shards(&self) -> Result<Vec<ShardDescription>, StreamError> {
        self.stream.shards().await
    }
    async fn read(&self, shard: &ShardId, from: ReadFrom, limit: ReadLimit) -> Result<ReadBatch, StreamError> {
        let read = self.stream.read(shard, from, limit).await?;
        let mut before = self.read.lock().unwrap();
        if before.len() == self.shards {
            self.most.fetch_max(read.records.len(), Ordering::Relaxed);
        }
        before.insert(shard.clone());
        Ok(read)
    }
    async fn tip(&self, shard: &ShardId) -> Result<Position, StreamError> {
        self.stream.tip(shard).await
    }
}

fn record(n: usize) -> PutRecord {
    let user = format!("U{}", n % 997);
    let payload = format!("{{\"time\":{},\"user\":\"{user}\",\"computer\":\"C{}\"}}", 10_000 + n, n % 13);
    PutRecord { payload: format!("{payload:PAYLOAD_BYTES$}").into(), partition_key: user.into() }
}

async fn consumed(shards: u32) -> (SmallLake, Arc<Noted>) {
    let lake = SmallLake::new();
    let stream = MemoryStream::new(CreateOptions { shards, ..CreateOptions::default() }).unwrap();
    stream.put((0..RECORDS).map(record).collect(), None).await.unwrap();
    let (read, most) = (Mutex::default(), AtomicUsize::new(0));
    let stream = Arc::new(Noted { stream, shards: shards as usize, read, most });
    let env = &Env { clock: Arc::new(SystemClock), ..lake.env.clone() };
    let entry_age = Options::default().entry_age;
    let options = Arc::new(Options { memory: MEMORY as u64, entry_age, ..(*options()).clone() });
    let service = Service::open(env.clone(), options.clone(), stream.clone(), Mode::UntilCaughtUp).await.unwrap();
    let fleet = Fleet::new(Arc::new(MemoryLeases::new()), "w1", options.leases);
    let (_send, stop) = watch::channel(false);
    assert_eq!(run_service(service, env, &options, fleet, stop).await.unwrap(), Ended::Complete);
    (lake, stream)
}

#[tokio::test]
async fn all_shards_together_hold_no_more_than_the_memory() {
    let held = size_of::<RawRecord>() + size_of::<ScoredEvent>() + PAYLOAD_BYTES;
    for shards in [4, 32] {
        let (lake, stream) = consumed(shards).await;
        let of_an_entry = MEMORY / (2 * shards as usize);
        let (mut all, mut most) = (0, 0);
        for shard in lake.env.journal.shards().await.unwrap() {
            let entries = lake.entries(shard.as_str()).await;
            let rows: Vec<_> = entries.iter().map(|e| e.counts.curated as usize).filter(|rows| *rows > 0).collect();
            all += rows.iter().sum::<usize>();
            // The first entry was begun while there were fewer shards.
            most = most.max(rows.iter().skip(1).copied().max().unwrap_or(0));
        }
        assert_eq!(all, RECORDS);
        assert!(most > 0, "{shards} shards stored one entry each");
        // One entry is filled while another is stored; records that are read count to the one that is filled.
        assert!(most * held <= of_an_entry, "{shards} shards: an entry of {most} rows, of {held} bytes and more each");
        let read = stream.most.load(Ordering::Relaxed);
        let at_hand = read * (held + size_of::<Record>());
        assert!(at_hand <= of_an_entry / 8, "{shards} shards: {read} records in one read");
    }
}
