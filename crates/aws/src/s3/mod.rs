//! The files of a lake in a bucket.
//!
//! What this assumes of S3: a put with `If-None-Match: *` makes a new file or changes nothing; a read or listing after an answer shows
//! what it answered; a file that is put in parts appears whole, when the upload is completed.
//!
//! Every file carries the random id of the put that made it (`x-amz-meta-authpulse-put`). If an answer is lost, the file is looked up: it
//! has this id, or another, or there is no file. For these calls the SDK must not repeat: its second attempt would find the first one's
//! file, and report "exists already".

mod create;
mod location;

pub use location::S3Location;

use crate::Encryption;
use async_trait::async_trait;
use authpulse_aws_client::fault::{Call, Fault, code, explain, status};
use authpulse_aws_client::{Aws, PAUSES_MS};
use authpulse_event::ProcessingTime;
use authpulse_lake::store::{ObjectMeta, check_path, out_of_range};
use authpulse_lake::{ObjectStore, StoreError};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::Object;
use bytes::Bytes;
use std::ops::Range;
use std::time::Duration;

/// The most names in a page of a listing, which is the limit of S3.
const PAGE: usize = 1000;

/// A lake's files under a prefix of a bucket. Cheap to clone.
#[derive(Clone, Debug)]
pub struct S3Store {
    client: Client,
    location: S3Location,
    encryption: Encryption,
}

/// What HEAD says about a file.
struct Head {
    size: u64,
    /// The id of the put that made it.
    put: Option<String>,
}

impl S3Store {
    /// The store at a location; nothing is asked yet.
    pub fn new(aws: &Aws, location: S3Location, encryption: Encryption) -> S3Store {
        // An endpoint of the user's own has one host name for all buckets, so the bucket goes into the path.
        let config = aws_sdk_s3::config::Builder::from(aws.sdk()).force_path_style(aws.has_s3_endpoint()).build();
        S3Store { client: Client::from_conf(config), location, encryption }
    }

    /// The bucket and prefix of the lake.
    pub fn location(&self) -> &S3Location {
        &self.location
    }

    fn call(&self, action: &'static str, path: &str) -> Call {
        Call { action, on: self.location.uri(path) }
    }

    fn listing(&self) -> Call {
        Call { action: "s3:ListBucket", on: format!("s3://{}", self.location.bucket()) }
    }

    async fn head(&self, path: &str) -> Result<Option<Head>, Fault> {
        let asked = self.client.head_object().bucket(self.location.bucket()).key(self.location.key(path)).send().await;
        match asked {
            Ok(head) => Ok(Some(Head {
                size: head.content_length().unwrap_or_default().max(0).cast_unsigned(),
                put: head.metadata().and_then(|m| m.get(create::PUT_ID)).cloned(),
            })),
            Err(e) if status(&e) == 404 => Ok(None),
            Err(e) => Err(explain(&e, &self.call("s3:GetObject", path))),
        }
    }

    /// Reads a file, or a range in the form of HTTP, with both ends included. Also returns the size of the whole file.
    async fn read(&self, path: &str, part: Option<String>) -> Result<(Bytes, Option<u64>), ReadError> {
        let mut pauses = PAUSES_MS.iter();
        loop {
            let get = self.client.get_object().bucket(self.location.bucket()).key(self.location.key(path));
            let answer = match get.set_range(part.clone()).send().await {
                Ok(answer) => answer,
                Err(e) if code(&e) == "NoSuchKey" => return Err(ReadError::NotFound),
                Err(e) if status(&e) == 416 => return Err(ReadError::BeyondTheEnd),
                Err(e) => return Err(ReadError::Fault(explain(&e, &self.call("s3:GetObject", path)))),
            };
            let size = answer.content_range().and_then(|text| text.rsplit_once('/')?.1.parse().ok());
            match answer.body.collect().await {
                Ok(body) => return Ok((body.into_bytes(), size)),
                // The SDK repeats calls, but not if the body of an answer is cut off.
                Err(e) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(Duration::from_millis(*pause)).await,
                    None => {
                        let cause = format!("the body was cut off {} times: {e}", PAUSES_MS.len() + 1);
                        return Err(ReadError::Fault(Fault::Unclear(cause)));
                    }
                },
            }
        }
    }

    /// One page of a listing: files, folders, and where the next page begins.
    async fn page(
        &self,
        prefix: &str,
        from: &PageStart,
        limit: usize,
        delimiter: Option<&str>,
    ) -> Result<(Vec<ObjectMeta>, Vec<String>, Option<String>), StoreError> {
        let mut list = self
            .client
            .list_objects_v2()
            .bucket(self.location.bucket())
            .prefix(self.location.key(prefix))
            .max_keys(limit.min(PAGE) as i32)
            .set_delimiter(delimiter.map(str::to_owned));
        match from {
            PageStart::Behind(path) if path.is_empty() => {}
            PageStart::Behind(path) => list = list.start_after(self.location.key(path)),
            PageStart::Token(token) => list = list.continuation_token(token),
        }
        let page = list.send().await.map_err(|e| failed(prefix, "listing", explain(&e, &self.listing())))?;
        let strip = |key: &str| key.strip_prefix(self.location.root()).map(str::to_owned);
        let files = page.contents().iter().filter_map(|object| meta(object, strip(object.key()?)?)).collect();
        let folders = page.common_prefixes().iter().filter_map(|folder| strip(folder.prefix()?)).collect();
        Ok((files, folders, page.next_continuation_token().map(str::to_owned)))
    }
}

enum PageStart {
    Behind(String),
    Token(String),
}

enum ReadError {
    NotFound,
    BeyondTheEnd,
    Fault(Fault),
}

/// A listed file; `None` for a name that ends with `/`: the AWS console makes such files, without content, to show folders.
fn meta(object: &Object, path: String) -> Option<ObjectMeta> {
    if path.is_empty() || path.ends_with('/') {
        return None;
    }
    let size = object.size().unwrap_or_default().max(0).cast_unsigned();
    Some(ObjectMeta { path, size, modified: object.last_modified().map_or_else(ProcessingTime::default, modified) })
}

fn modified(time: &DateTime) -> ProcessingTime {
    let micros = time.secs().saturating_mul(1_000_000).saturating_add(i64::from(time.subsec_nanos() / 1_000));
    ProcessingTime::from_micros(micros)
}

fn failed(path: &str, action: &'static str, fault: Fault) -> StoreError {
    let path = path.to_owned();
    match fault {
        Fault::Refused(why) => StoreError::Refused { path, why },
        Fault::Busy(cause) | Fault::Unclear(cause) => StoreError::Failed { path, action, cause },
    }
}

fn is_missing<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(code(error), "NoSuchKey" | "NotFound") || (status(error) == 404 && code(error).is_empty())
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put_new(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        check_path(path)?;
        self.create_from(path, body).await
    }

    async fn get(&self, path: &str) -> Result<Bytes, StoreError> {
        check_path(path)?;
        match self.read(path, None).await {
            Ok((body, _)) => Ok(body),
            Err(ReadError::NotFound) => Err(StoreError::NotFound { path: path.to_owned() }),
            Err(ReadError::Fault(fault)) => Err(failed(path, "reading", fault)),
            Err(ReadError::BeyondTheEnd) => Ok(Bytes::new()),
        }
    }

    async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        check_path(path)?;
        // An empty range cannot be asked for in HTTP.
        if range.start < range.end {
            match self.read(path, Some(format!("bytes={}-{}", range.start, range.end - 1))).await {
                Ok((body, _)) if body.len() as u64 == range.end - range.start => return Ok(body),
                Ok((body, size)) => {
                    return Err(out_of_range(path, &range, size.unwrap_or(range.start + body.len() as u64)));
                }
                Err(ReadError::NotFound) => return Err(StoreError::NotFound { path: path.to_owned() }),
                Err(ReadError::Fault(fault)) => return Err(failed(path, "reading a part of", fault)),
                Err(ReadError::BeyondTheEnd) => {}
            }
        }
        match self.size(path).await? {
            None => Err(StoreError::NotFound { path: path.to_owned() }),
            Some(size) if range.start == range.end && range.end <= size => Ok(Bytes::new()),
            Some(size) => Err(out_of_range(path, &range, size)),
        }
    }

    async fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        check_path(path)?;
        let head = self.head(path).await.map_err(|fault| failed(path, "looking at", fault))?;
        Ok(head.map(|head| head.size))
    }

    async fn delete(&self, path: &str) -> Result<(), StoreError> {
        check_path(path)?;
        let delete = self.client.delete_object().bucket(self.location.bucket()).key(self.location.key(path));
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(e) if is_missing(&e) => Ok(()),
            Err(e) => Err(failed(path, "deleting", explain(&e, &self.call("s3:DeleteObject", path)))),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectMeta>, StoreError> {
        self.list_from(prefix, "", usize::MAX).await
    }

    async fn list_from(&self, prefix: &str, start_after: &str, limit: usize) -> Result<Vec<ObjectMeta>, StoreError> {
        let mut all = Vec::new();
        let mut from = PageStart::Behind(start_after.to_owned());
        while all.len() < limit {
            let (files, _, next) = self.page(prefix, &from, limit - all.len(), None).await?;
            all.extend(files);
            match next {
                Some(token) => from = PageStart::Token(token),
                None => break,
            }
        }
        Ok(all)
    }

    async fn folders(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut all = Vec::new();
        let mut from = PageStart::Behind(String::new());
        loop {
            let (_, folders, next) = self.page(prefix, &from, PAGE, Some("/")).await?;
            all.extend(
                folders.iter().filter_map(|folder| Some(folder.strip_prefix(prefix)?.trim_end_matches('/').to_owned())),
            );
            match next {
                Some(token) => from = PageStart::Token(token),
                None => return Ok(all),
            }
        }
    }

    async fn copy_new(&self, from: &str, to: &str) -> Result<(), StoreError> {
        check_path(from)?;
        check_path(to)?;
        self.create_copy(from, to).await
    }

    fn uri(&self, path: &str) -> String {
        self.location.uri(path)
    }

    fn relative(&self, uri: &str) -> Result<String, StoreError> {
        let path = self.location.relative(uri).ok_or_else(|| StoreError::Refused {
            path: uri.to_owned(),
            why: format!(
                "it does not lie in the lake at {}: a lake cannot be moved, because its tables name their files in full",
                self.location
            ),
        })?;
        check_path(path)?;
        Ok(path.to_owned())
    }
}
