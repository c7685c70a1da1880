//! The lake on AWS: files and journal on S3, tables in the Glue Data Catalog, the committer's lock in DynamoDB.
//!
//! - [`Aws`]: one configuration for all clients, found as the AWS SDKs and the AWS CLI find it.
//! - [`S3Store`]: the lake's files.
//! - [`GlueCatalog`]: which metadata file is a table's current one.
//! - [`DynamoDbCommitterLock`]: who of many workers commits.
//! - [`fault`]: what an answer means, and what to do about it, in words.
//!
//! Nothing here decides what is written: these are the traits of `authpulse-lake` over the network. Correctness rests on two
//! conditional calls, `PutObject` with `If-None-Match: *` and `UpdateTable` with `VersionId`; everything else may be lost, late
//! or repeated.

mod config;
pub mod fault;
mod glue;
mod lock;
mod s3;

pub use config::{Aws, AwsError, Encryption};
pub use glue::GlueCatalog;
pub use lock::{DynamoDbCommitterLock, LOCK_TABLE};
pub use s3::{S3Location, S3Store};
