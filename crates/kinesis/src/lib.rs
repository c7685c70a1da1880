//! Kinesis Data Streams: a producer that aggregates, keeps order and resends as the KPL does, and a consumer that reads by position.
//!
//! - [`KinesisWriter`] puts records into a stream ([`authpulse_stream::StreamWriter`]).
//! - [`KinesisStream`] reads records from a stream ([`authpulse_stream::Stream`]).
//! - [`DynamoDbLeases`] says which of many workers reads which shard, in the table of the KCL ([`authpulse_lease::LeaseStore`]).
//! - [`AwsKinesis`] makes the calls with the AWS SDK; [`Control`] makes, reshards and deletes streams.
//!
//! ```text
//!  pure:   map (who takes a key)   pack (what goes into a call)   pace (how fast, how long to wait)   cost
//!  shell:  writer, reader, fan_out <--- api (trait) ---> aws
//!          leases <--- table (trait) ---> dynamodb
//!          control
//! ```
//!
//! Nothing here knows of risk, tables or lakes. `docs/kinesis.md` says what is promised.

pub mod api;
mod aws;
mod control;
pub mod cost;
mod cursor;
mod draining;
mod dynamodb;
mod fan_out;
mod leases;
pub mod limits;
pub mod map;
pub mod pace;
pub mod pack;
mod patience;
mod poll;
pub mod progress;
mod reader;
mod room;
mod subscription;
pub mod table;
mod time;
mod tip;
mod writer;

pub use aws::{Address, AwsKinesis};
pub use control::{Control, NewStream};
pub use cursor::StartAt;
pub use dynamodb::DynamoDbTable;
pub use leases::DynamoDbLeases;
pub use progress::{FileProgress, MemoryProgress, ProgressStore};
pub use reader::KinesisStream;
pub use time::{Chance, ServiceTimes, SystemTimes, Time};
pub use writer::KinesisWriter;

use api::ApiError;
use authpulse_stream::StreamError;

/// Turns an error of a call into one of the stream's traits.
fn stream_error(stream: &str, action: &'static str, error: ApiError) -> StreamError {
    let retry = error.may_pass() || error == ApiError::ExpiredIterator;
    match error {
        ApiError::NotFound(why) => StreamError::NotFound { what: stream.to_owned(), hint: why },
        error => StreamError::Storage { stream: stream.to_owned(), action, cause: error.to_string(), retry },
    }
}
