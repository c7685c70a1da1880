//! How files on S3 are encrypted.

/// How S3 encrypts files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket says: SSE-S3, unless it is set up otherwise.
    #[default]
    Bucket,
    /// SSE-S3, whatever the bucket says.
    S3,
    /// SSE-KMS under this key (id, ARN or alias), or under the account's own key for S3.
    Kms(Option<String>),
}
