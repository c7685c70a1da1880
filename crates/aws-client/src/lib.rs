//! Asking AWS, whatever the service: who asks, where and how long, and what an answer means.
//!
//! - [`Aws`]: one configuration for all clients, found as the AWS SDKs and the AWS CLI find it.
//! - [`fault`]: what an error means, and what to do about it, in words.

mod config;
pub mod fault;

pub use config::{ANSWER, Aws, AwsError, PAUSES_MS, once};
