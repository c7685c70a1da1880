//! Makes, reshards and deletes streams with the AWS SDK.

use crate::api::ApiError;
use crate::aws::{Address, client, understand};
use authpulse_aws_client::Aws;
use authpulse_aws_client::fault::code;
use authpulse_event::ShardId;
use authpulse_stream::StreamError;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{BuildError, ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::types::{StreamMode, StreamModeDetails};
use std::time::Duration;

/// How long a change of a stream may take, and the pause between two looks at it.
const CHANGE: Duration = Duration::from_secs(600);
const LOOK: Duration = Duration::from_millis(500);

/// How a new stream's capacity is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewStream {
    /// This many shards, paid for by the hour.
    Provisioned(u32),
    /// On demand: Kinesis splits and merges the shards.
    OnDemand,
}

/// Makes, reshards and deletes a stream. Every call waits until the stream is active again, or gone. Calls that reshard first wait for
/// changes that others have begun.
#[derive(Clone, Debug)]
pub struct Control {
    client: Client,
    address: Address,
}

impl Control {
    /// Controls a stream, which need not exist yet.
    pub fn new(aws: &Aws, address: Address) -> Control {
        Control { client: Client::from_conf(client(aws, &address).build()), address }
    }

    fn fault<E>(&self, doing: &'static str, action: &'static str) -> impl FnOnce(SdkError<E>) -> StreamError + '_
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        move |error| {
            let shown = self.address.to_string();
            match understand(&error, action, &shown) {
                ApiError::InvalidArgument(why) | ApiError::Refused(why) => {
                    StreamError::Refused { what: format!("{doing} of {shown}"), why }
                }
                error => crate::stream_error(&shown, doing, error),
            }
        }
    }

    /// Makes a stream.
    ///
    /// # Errors
    /// There is a stream of that name, the account has too many shards, the call is not allowed, the stream is addressed by an ARN, or it
    /// is not active in time.
    pub async fn create(&self, new: NewStream) -> Result<(), StreamError> {
        // The call takes no ARN: the stream would be made in the caller's account, whatever account the ARN names.
        if let Address::Arn { name, .. } = &self.address {
            let why = format!(
                "name it as kinesis:{name}, with the credentials of the account and the AWS_REGION that it is to be in"
            );
            return Err(StreamError::Refused {
                what: format!("a new stream is made by its name, not as {}", self.address),
                why,
            });
        }
        let call = self.client.create_stream().stream_name(self.address.name());
        let mode = |mode| StreamModeDetails::builder().stream_mode(mode).build();
        let wrong =
            |error: BuildError| StreamError::Refused { what: format!("new {}", self.address), why: error.to_string() };
        let call = match new {
            NewStream::Provisioned(shards) => call.shard_count(i32::try_from(shards).unwrap_or(i32::MAX)),
            NewStream::OnDemand => call.stream_mode_details(mode(StreamMode::OnDemand).map_err(wrong)?),
        };
        call.send().await.map_err(self.fault("create", "kinesis:CreateStream"))?;
        self.wait(false).await
    }

    /// Splits a shard so that its second child begins at `at`.
    ///
    /// # Errors
    /// The shard is closed, the stream is on demand, `at` is outside of the shard, or the stream is not active in time.
    pub async fn split(&self, shard: &ShardId, at: u128) -> Result<(), StreamError> {
        self.wait(false).await?;
        let call = self.client.split_shard().shard_to_split(shard.as_str()).new_starting_hash_key(at.to_string());
        let call = match &self.address {
            Address::Name(name) => call.stream_name(name),
            Address::Arn { arn, .. } => call.stream_arn(arn),
        };
        call.send().await.map_err(self.fault("split", "kinesis:SplitShard"))?;
        self.wait(false).await
    }

    /// Merges two neighbouring shards.
    ///
    /// # Errors
    /// They are not neighbours, one is closed, the stream is on demand, or it is not active in time.
    pub async fn merge(&self, left: &ShardId, right: &ShardId) -> Result<(), StreamError> {
        self.wait(false).await?;
        let call = self.client.merge_shards().shard_to_merge(left.as_str()).adjacent_shard_to_merge(right.as_str());
        let call = match &self.address {
            Address::Name(name) => call.stream_name(name),
            Address::Arn { arn, .. } => call.stream_arn(arn),
        };
        call.send().await.map_err(self.fault("merge", "kinesis:MergeShards"))?;
        self.wait(false).await
    }

    /// Deletes a stream with all its records.
    ///
    /// # Errors
    /// The stream does not exist, fan-out consumers are registered on it, or it is not gone in time.
    pub async fn delete(&self) -> Result<(), StreamError> {
        let call = self.client.delete_stream();
        let call = match &self.address {
            Address::Name(name) => call.stream_name(name),
            Address::Arn { arn, .. } => call.stream_arn(arn),
        };
        call.send().await.map_err(self.fault("delete", "kinesis:DeleteStream"))?;
        self.wait(true).await
    }

    async fn wait(&self, gone: bool) -> Result<(), StreamError> {
        let looks = CHANGE.as_millis() / LOOK.as_millis();
        for _ in 0..looks {
            let call = self.client.describe_stream_summary();
            let call = match &self.address {
                Address::Name(name) => call.stream_name(name),
                Address::Arn { arn, .. } => call.stream_arn(arn),
            };
            match call.send().await {
                Ok(told) => {
                    let status = told.stream_description_summary.map(|summary| summary.stream_status);
                    if !gone && status.is_some_and(|status| status.as_str() == "ACTIVE") {
                        return Ok(());
                    }
                }
                Err(error) if gone && code(&error) == "ResourceNotFoundException" => return Ok(()),
                Err(error) => return Err(self.fault("describe", "kinesis:DescribeStreamSummary")(error)),
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(StreamError::Storage {
            stream: self.address.to_string(),
            action: "change",
            cause: format!("it was begun, and is not done after {} minutes; look again later", CHANGE.as_secs() / 60),
            retry: true,
        })
    }
}
