//! The lake on AWS: files and journal on S3, tables in the Glue Data Catalog, the committer's lock in DynamoDB.
//!
//! - [`S3Store`]: the lake's files.
//! - [`GlueCatalog`]: which metadata file is a table's current one.
//! - [`DynamoDbCommitterLock`]: which of many workers commits.
//!
//! Nothing here decides what is written: these are the traits of `authpulse-lake` over the network. Correctness rests on two conditional
//! calls, `PutObject` with `If-None-Match: *` and `UpdateTable` with `VersionId`. All other calls may be lost, late or repeated.

mod encryption;
mod glue;
mod lock;
mod s3;

pub use authpulse_aws_client::{ANSWER, Aws, AwsError};
pub use encryption::Encryption;
pub use glue::GlueCatalog;
pub use lock::{DynamoDbCommitterLock, LOCK_TABLE};
pub use s3::{S3Location, S3Store};
