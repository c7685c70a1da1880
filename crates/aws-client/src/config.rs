//! One configuration for all clients: credentials, region and endpoints, time limits and repetition.

use aws_config::identity::IdentityCache;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector, proxy::ProxyConfig};
use aws_types::service_config::ServiceConfigKey;
use std::time::Duration;

/// How long connecting may take. Waiting longer helps nobody: the next attempt may reach another host.
const CONNECT: Duration = Duration::from_secs(3);
/// How long the first byte of an answer may take. S3 answers within some 100 ms, and a large CompleteMultipartUpload within seconds.
/// Beyond this the answer is lost rather than slow.
pub const ANSWER: Duration = Duration::from_secs(20);
/// How long one attempt may take, with the body: 64 MiB at 10 Mbit/s take 54 s.
const ATTEMPT: Duration = Duration::from_secs(60);
/// How long all attempts of one call may take: a worker waits for the answer, and could read on meanwhile.
const OPERATION: Duration = Duration::from_secs(180);
/// The attempts of a call that may be repeated. The pauses in between double from `BACKOFF`, and are shortened at random.
const ATTEMPTS: u32 = 5;
const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// How long an idle connection is kept for the next call. Entries and commits come every 10 to 30 s. But if the other side has closed the
/// connection meanwhile, the answer is unclear, and S3 closes idle connections after some 20 s.
const IDLE: Duration = Duration::from_secs(15);

/// Why AWS cannot be used with the given settings.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AwsError {
    /// No region is set anywhere.
    #[error("no AWS region is set: set AWS_REGION, or `region` in the profile")]
    NoRegion,
    /// The lake's address cannot be used.
    #[error("'{text}' cannot be a lake: {why}")]
    Location {
        /// The address as it was given.
        text: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A call failed.
    #[error("{0}")]
    Call(String),
}

/// Region, credentials, endpoints, time limits and retries, the same for all clients.
#[derive(Clone, Debug)]
pub struct Aws {
    sdk: SdkConfig,
    answer: Duration,
}

impl Aws {
    /// Reads the environment and the profile as every AWS tool does: `AWS_REGION`, `AWS_PROFILE`, keys, web identity, the
    /// metadata of ECS tasks and EC2 instances (IMDSv2), `AWS_ENDPOINT_URL` and its kin, `AWS_USE_FIPS_ENDPOINT`,
    /// `HTTPS_PROXY`. Credentials are asked for at the first call. An answer that does not begin within `answer` is lost.
    ///
    /// # Errors
    /// There is no region.
    pub async fn load(answer: Duration) -> Result<Aws, AwsError> {
        Aws::build(answer, |loader| loader).await
    }

    /// The same, with what a test sets itself: endpoint, region, credentials.
    ///
    /// # Errors
    /// There is no region.
    pub async fn load_with(adjust: impl FnOnce(ConfigLoader) -> ConfigLoader) -> Result<Aws, AwsError> {
        Aws::build(ANSWER, adjust).await
    }

    async fn build(answer: Duration, adjust: impl FnOnce(ConfigLoader) -> ConfigLoader) -> Result<Aws, AwsError> {
        // The SDK's own connector but for how long it keeps idle connections.
        let http = Builder::new().build_with_connector_fn(|settings, components| {
            let mut connector = Connector::builder().proxy_config(ProxyConfig::from_env()).pool_idle_timeout(IDLE);
            connector.set_connector_settings(settings.cloned());
            connector.set_sleep_impl(components.and_then(|c| c.sleep_impl()));
            connector.tls_provider(Provider::Rustls(CryptoMode::AwsLc)).build()
        });
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(CONNECT)
            .read_timeout(answer)
            .operation_attempt_timeout(ATTEMPT)
            .operation_timeout(OPERATION)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(BACKOFF)
            .with_max_backoff(BACKOFF_MAX);
        let loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http)
            .timeout_config(timeouts)
            .retry_config(retries)
            // One for all clients: a role is assumed once, not once a service.
            .identity_cache(IdentityCache::lazy().build());
        let sdk = adjust(loader).load().await;
        if sdk.region().is_none_or(|region| region.as_ref().is_empty()) {
            return Err(AwsError::NoRegion);
        }
        Ok(Aws { sdk, answer })
    }

    /// What the clients are made from.
    pub fn sdk(&self) -> &SdkConfig {
        &self.sdk
    }

    /// How long the first byte of an answer may take.
    pub fn answer(&self) -> Duration {
        self.answer
    }

    /// The region.
    pub fn region(&self) -> &str {
        self.sdk.region().map_or("", |region| region.as_ref())
    }

    /// Whether S3 is reached at an address of the user's own, by `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL` or a profile.
    pub fn has_s3_endpoint(&self) -> bool {
        let key = ServiceConfigKey::builder().service_id("S3").env("AWS_ENDPOINT_URL").profile("endpoint_url").build();
        let of_service = || self.sdk.service_config().and_then(|config| config.load_config(key.ok()?));
        self.sdk.endpoint_url().is_some() || of_service().is_some()
    }
}

/// For calls that must not be repeated unseen: an answer that is lost is looked up, not guessed.
pub fn once() -> RetryConfig {
    RetryConfig::disabled()
}

/// Pauses between attempts that are made outside of the SDK, in milliseconds. After the last one the caller is told.
pub const PAUSES_MS: [u64; 4] = [100, 400, 1_600, 3_200];
