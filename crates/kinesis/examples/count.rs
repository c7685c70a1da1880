//! Counts the user records in a stream, from the oldest that is kept to the tip, in all open and closed shards at the same time. It uses
//! this library alone, without leases, tables or a lake. Aggregates are taken apart. Region, credentials and endpoints are found as the
//! AWS SDK finds them.
//!
//! `cargo run --release -p authpulse-kinesis --example count -- NAME|ARN`

use authpulse_aws_client::Aws;
use authpulse_kinesis::{Address, AwsKinesis, KinesisStream, StartAt, SystemTimes};
use authpulse_stream::{ReadFrom, ReadLimit, Stream};
use futures::future::try_join_all;
use std::sync::Arc;
use std::time::Duration;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long a call may take to begin with its answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The most that one read returns.
const LIMIT: ReadLimit = ReadLimit { records: 10_000, bytes: 8 << 20 };

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Some(name) = std::env::args().nth(1) else {
        eprintln!("usage: count NAME|ARN");
        return Ok(());
    };
    let (aws, address) = (Aws::load(ANSWER).await?, Address::parse(&name)?);
    let api = Arc::new(AwsKinesis::open(&aws, &address).await?);
    // A seed for the pauses after throttles: one process needs no chance.
    let stream = KinesisStream::new(api, Arc::new(SystemTimes::new()), StartAt::TrimHorizon, &name, 1);
    let stream: Arc<dyn Stream> = Arc::new(stream);
    let shards = stream.shards().await?;
    let counts = try_join_all(shards.into_iter().map(|shard| {
        let stream = stream.clone();
        async move {
            let (mut from, mut records, mut bytes) = (ReadFrom::Start, 0u64, 0u64);
            loop {
                let read = stream.read(&shard.id, from, LIMIT).await?;
                if read.gap.is_some() {
                    eprintln!("{}: records were gone before they were read", shard.id);
                }
                for record in &read.records {
                    from = ReadFrom::After(record.position);
                    records += 1;
                    bytes += record.payload.len() as u64;
                }
                if read.at_tip || read.at_end {
                    println!("{}: {records} records, {bytes} bytes", shard.id);
                    return Ok::<u64, Failure>(records);
                }
            }
        }
    }));
    println!("{} records", counts.await?.iter().sum::<u64>());
    Ok(())
}
