//! The configuration of a client for a server that the test runs.

use authpulse_aws_client::Aws;
use aws_sdk_dynamodb::config::{Credentials, Region};

pub async fn aws(endpoint: &str) -> Aws {
    Aws::load_with(|loader| {
        loader.endpoint_url(endpoint).region(Region::new("us-east-1")).credentials_provider(Credentials::for_tests())
    })
    .await
    .unwrap()
}
