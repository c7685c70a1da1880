//! What all clients of AWS share: the configuration for calls, and what their answers mean.
//!
//! - [`Aws`]: one configuration for all clients, found as the AWS SDKs and the AWS CLI find it.
//! - [`fault`]: what an error means, and what a person can do about it.

mod config;
pub mod fault;

pub use config::{ANSWER, Aws, AwsError, PAUSES_MS, once};
