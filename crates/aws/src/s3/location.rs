//! `s3://bucket/prefix`, and the keys of files below it.

use authpulse_aws_client::AwsError;
use std::fmt;

/// The schemes by which other tools name the same files.
const SCHEMES: [&str; 3] = ["s3://", "s3a://", "s3n://"];

/// The bucket and prefix of a lake in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    bucket: String,
    /// Empty, or the prefix followed by `/`.
    root: String,
}

impl S3Location {
    /// Parses `s3://bucket/prefix`; the prefix may be missing.
    ///
    /// # Errors
    /// It has another form, or readers of the tables would understand its name otherwise.
    pub fn parse(text: &str) -> Result<S3Location, AwsError> {
        let refused = |why: &str| AwsError::Location { text: text.to_owned(), why: why.to_owned() };
        let rest = text.strip_prefix("s3://").ok_or_else(|| refused("write s3://BUCKET/PREFIX"))?;
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let is_bucket = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
        if !(3..=63).contains(&bucket.len()) || !bucket.bytes().all(is_bucket) {
            return Err(refused("the name of a bucket has 3 to 63 lower-case letters, digits, '-' and '.'"));
        }
        let prefix = prefix.trim_end_matches('/');
        // Readers of Iceberg escape some other characters, and then do not find the files.
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./=!".contains(&b);
        if prefix.len() > 512 || !prefix.bytes().all(is_plain) {
            return Err(refused("a prefix has at most 512 letters, digits and '-', '_', '.', '=', '!', '/'"));
        }
        if !prefix.is_empty() && prefix.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(refused("no part of a prefix is empty, '.' or '..'"));
        }
        let root = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(S3Location { bucket: bucket.to_owned(), root })
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The beginning of every key of the lake: empty, or the prefix followed by `/`.
    pub(super) fn root(&self) -> &str {
        &self.root
    }

    /// The key of a file in the bucket. `path` is its path in the lake.
    pub(super) fn key(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    /// The URI of a file. `path` is its path in the lake.
    pub(crate) fn uri(&self, path: &str) -> String {
        format!("s3://{}/{}{path}", self.bucket, self.root)
    }

    /// The path in the lake of a URI; `None` if it is outside of the lake.
    pub(super) fn relative<'a>(&self, uri: &'a str) -> Option<&'a str> {
        let rest = SCHEMES.iter().find_map(|scheme| uri.strip_prefix(scheme))?;
        rest.strip_prefix(self.bucket.as_str())?.strip_prefix('/')?.strip_prefix(self.root.as_str())
    }
}

impl fmt::Display for S3Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.root.trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_and_lead_back() {
        let place = S3Location::parse("s3://my-bucket/a/lake/").unwrap();
        assert_eq!(place.to_string(), "s3://my-bucket/a/lake");
        assert_eq!(place.uri("warehouse/t"), "s3://my-bucket/a/lake/warehouse/t");
        assert_eq!(place.relative("s3a://my-bucket/a/lake/x/y"), Some("x/y"));
        for elsewhere in
            ["s3://my-bucket/a/lakes/x", "s3://my-bucket2/a/lake/x", "s3://my-bucket/x", "file:///a", "a/lake/x"]
        {
            assert_eq!(place.relative(elsewhere), None, "{elsewhere}");
        }
        let whole = S3Location::parse("s3://my-bucket").unwrap();
        assert_eq!((whole.uri("x"), whole.relative("s3://my-bucket/x")), ("s3://my-bucket/x".to_owned(), Some("x")));
    }

    #[test]
    fn what_readers_would_misread_is_refused() {
        for text in [
            "my-bucket/a",
            "s3://",
            "s3://ab/x",
            "s3://Bucket/x",
            "s3://bucket/a b",
            "s3://bucket/a%2Fb",
            "s3://bucket/a//b",
            "s3://bucket/../b",
            "s3://bucket/a?b",
            "s3a://bucket/x",
        ] {
            assert!(S3Location::parse(text).is_err(), "{text}");
        }
    }
}
