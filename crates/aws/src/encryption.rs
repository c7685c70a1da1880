//! How files are encrypted.

/// How files are encrypted where they lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Encryption {
    /// As the bucket says: SSE-S3 unless it says otherwise.
    #[default]
    Bucket,
    /// SSE-S3, whatever the bucket says.
    S3,
    /// SSE-KMS under this key (id, ARN or alias), or under the account's own key for S3.
    Kms(Option<String>),
}
