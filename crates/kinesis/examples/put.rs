//! Puts lines of standard input into a stream, each as a record whose key is the line's first word. It uses this library's producer
//! alone. Many records go into one Kinesis record, and each key's stay in order. Region, credentials and endpoints are found as the AWS
//! SDK finds them.
//!
//! `cargo run --release -p authpulse-kinesis --example put -- NAME|ARN < FILE`

use authpulse_aws_client::Aws;
use authpulse_kinesis::pack::Packing;
use authpulse_kinesis::{Address, AwsKinesis, KinesisWriter, MemoryProgress, SystemTimes};
use authpulse_stream::{PutRecord, StreamWriter};
use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// How long a call may take to begin with its answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The records of one put: this many are in memory at once, and an aggregate has records of one put only.
const PUT_RECORDS: usize = 10_000;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Some(name) = std::env::args().nth(1) else {
        eprintln!("usage: put NAME|ARN < FILE");
        return Ok(());
    };
    let (aws, address) = (Aws::load(ANSWER).await?, Address::parse(&name)?);
    let api = Arc::new(AwsKinesis::open(&aws, &address).await?);
    // How far it got is not stored: records put again after a failure are in the stream twice. The seed for the pauses after throttles: a
    // single process needs no random one.
    let progress = Arc::new(MemoryProgress::default());
    let writer = KinesisWriter::new(api, Arc::new(SystemTimes::new()), progress, Packing::default(), &name, 1);
    let mut lines = std::io::stdin().lock().lines();
    loop {
        let mut records = Vec::new();
        for line in lines.by_ref().take(PUT_RECORDS) {
            let line = line?;
            let key = line.split_whitespace().next().ok_or("a line without a word has no key")?.to_owned();
            records.push(PutRecord { payload: line.into(), partition_key: key.into() });
        }
        if records.is_empty() {
            break;
        }
        writer.put(records, None).await?;
    }
    println!("{}", writer.cost().await);
    Ok(())
}
