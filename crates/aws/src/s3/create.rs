//! Makes a file that is not there yet: in one request, in parts, or as a copy of another.

use super::{S3Store, failed};
use crate::Encryption;
use authpulse_aws_client::fault::{Fault, code, explain, status};
use authpulse_aws_client::{PAUSES_MS, once};
use authpulse_lake::StoreError;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, MetadataDirective, ServerSideEncryption};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use std::time::Duration;

/// The metadata with the id of the put that made a file.
pub(super) const PUT_ID: &str = "authpulse-put";
/// Files above this many bytes are put in parts: a part that fails is repeated, not the whole file.
const PARTS_ABOVE: usize = 16 << 20;
/// The bytes of a part. S3 wants at least 5 MiB for each part but the last, and at most 10,000 parts.
const PART: usize = 8 << 20;
/// How many parts are sent at the same time.
const PARTS_AT_ONCE: usize = 4;

/// Why one attempt did not make the file.
enum Attempt {
    /// The name is taken.
    Taken,
    /// The call failed, see [`Fault`].
    Fault(Fault),
}

/// Whose file has a name.
enum Standing {
    Ours,
    Other,
    Nobody,
}

/// The encryption as the three settings of a request.
fn encryption(of: &Encryption) -> (Option<ServerSideEncryption>, Option<String>, Option<bool>) {
    match of {
        Encryption::Bucket => (None, None, None),
        Encryption::S3 => (Some(ServerSideEncryption::Aes256), None, None),
        // The bucket's own key saves a call to KMS for each file, and its price.
        Encryption::Kms(key) => (Some(ServerSideEncryption::AwsKms), key.clone(), Some(true)),
    }
}

impl S3Store {
    /// Makes a file with this content, in parts if it is large.
    ///
    /// # Errors
    /// The name is taken ([`StoreError::AlreadyExists`]), S3 refuses, or the outcome stays unclear after several attempts.
    pub(super) async fn create_from(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        if body.len() > PARTS_ABOVE {
            return self.create_in_parts(path, body).await;
        }
        let id = new_put_id();
        self.create("writing", path, &id, || async {
            let (mode, key, bucket_key) = encryption(&self.encryption);
            let put = self
                .client
                .put_object()
                .bucket(self.location.bucket())
                .key(self.location.key(path))
                .if_none_match("*")
                .metadata(PUT_ID, &id)
                .set_server_side_encryption(mode)
                .set_ssekms_key_id(key)
                .set_bucket_key_enabled(bucket_key)
                .body(ByteStream::from(body.clone()));
            let put = put.customize().config_override(aws_sdk_s3::config::Builder::new().retry_config(once()));
            put.send().await.map(drop).map_err(|e| self.attempt(&e, path))
        })
        .await
    }

    /// Tries until the file is there, the name is another's, or an error is final.
    async fn create<F>(
        &self,
        action: &'static str,
        path: &str,
        id: &str,
        attempt: impl Fn() -> F,
    ) -> Result<(), StoreError>
    where
        F: Future<Output = Result<(), Attempt>>,
    {
        let taken = || Err(StoreError::AlreadyExists { path: path.to_owned() });
        let mut pauses = PAUSES_MS.iter();
        // Whether an earlier attempt may have taken effect, so that the file there may be our own.
        let mut repeated = false;
        loop {
            let cause = match attempt().await {
                Ok(()) => return Ok(()),
                Err(Attempt::Taken) if !repeated => return taken(),
                Err(Attempt::Fault(Fault::Refused(why))) if !repeated => {
                    return Err(failed(path, action, Fault::Refused(why)));
                }
                Err(Attempt::Taken) => "the name is taken, and nothing stands under it".to_owned(),
                Err(Attempt::Fault(fault)) => fault.text(),
            };
            let cause = match self.standing(path, id).await {
                Ok(Standing::Ours) => return Ok(()),
                Ok(Standing::Other) => return taken(),
                Ok(Standing::Nobody) => cause,
                Err(fault) => format!("{cause}; looking for it: {}", fault.text()),
            };
            repeated = true;
            match pauses.next() {
                Some(pause) => tokio::time::sleep(Duration::from_millis(*pause)).await,
                None => return Err(failed(path, action, Fault::Unclear(cause))),
            }
        }
    }

    async fn standing(&self, path: &str, id: &str) -> Result<Standing, Fault> {
        Ok(match self.head(path).await? {
            Some(head) if head.put.as_deref() == Some(id) => Standing::Ours,
            Some(_) => Standing::Other,
            None => Standing::Nobody,
        })
    }

    fn attempt<E>(&self, error: &SdkError<E>, path: &str) -> Attempt
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if status(error) == 412 || code(error) == "PreconditionFailed" {
            return Attempt::Taken;
        }
        if code(error) == "NoSuchUpload" {
            // S3 forgets an upload when a completion has taken effect, and when it was aborted.
            return Attempt::Fault(Fault::Unclear("S3 knows the upload no more".to_owned()));
        }
        Attempt::Fault(explain(error, &self.call("s3:PutObject", path)))
    }

    async fn create_in_parts(&self, path: &str, body: Bytes) -> Result<(), StoreError> {
        let id = new_put_id();
        let (mode, key, bucket_key) = encryption(&self.encryption);
        let begin = self
            .client
            .create_multipart_upload()
            .bucket(self.location.bucket())
            .key(self.location.key(path))
            .metadata(PUT_ID, &id)
            .set_server_side_encryption(mode)
            .set_ssekms_key_id(key)
            .set_bucket_key_enabled(bucket_key);
        let put = self.call("s3:PutObject", path);
        let begun = begin.send().await.map_err(|e| failed(path, "writing", explain(&e, &put)))?;
        let upload = begun.upload_id().unwrap_or_default().to_owned();
        let outcome = match self.upload_parts(path, &upload, &body).await {
            Ok(parts) => self.complete(path, &upload, &id, parts).await,
            Err(error) => Err(error),
        };
        if outcome.is_err() {
            // The parts of an upload that is never completed cost as much as a file, and no listing shows them.
            let abort = self.client.abort_multipart_upload().bucket(self.location.bucket());
            if let Err(e) = abort.key(self.location.key(path)).upload_id(&upload).send().await
                && code(&e) != "NoSuchUpload"
            {
                let why = explain(&e, &self.call("s3:AbortMultipartUpload", path)).text();
                tracing::warn!(path, upload, why, "an upload could not be aborted; a lifecycle rule of the bucket may");
            }
        }
        outcome
    }

    async fn upload_parts(&self, path: &str, upload: &str, body: &Bytes) -> Result<Vec<CompletedPart>, StoreError> {
        let starts = (0..body.len()).step_by(PART).zip(1..);
        let parts = starts.map(|(start, number)| {
            let part = body.slice(start..body.len().min(start + PART));
            async move {
                // A part may be sent again: the last one counts, and both are equal.
                let sent = self
                    .client
                    .upload_part()
                    .bucket(self.location.bucket())
                    .key(self.location.key(path))
                    .upload_id(upload)
                    .part_number(number)
                    .body(ByteStream::from(part))
                    .send()
                    .await
                    .map_err(|e| failed(path, "writing", explain(&e, &self.call("s3:PutObject", path))))?;
                Ok(CompletedPart::builder()
                    .part_number(number)
                    .set_e_tag(sent.e_tag)
                    .set_checksum_crc32(sent.checksum_crc32)
                    .set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
                    .build())
            }
        });
        futures::stream::iter(parts).buffered(PARTS_AT_ONCE).try_collect().await
    }

    async fn complete(&self, path: &str, upload: &str, id: &str, parts: Vec<CompletedPart>) -> Result<(), StoreError> {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        self.create("writing", path, id, || async {
            let complete = self
                .client
                .complete_multipart_upload()
                .bucket(self.location.bucket())
                .key(self.location.key(path))
                .upload_id(upload)
                .if_none_match("*")
                .multipart_upload(parts.clone());
            let complete =
                complete.customize().config_override(aws_sdk_s3::config::Builder::new().retry_config(once()));
            complete.send().await.map(drop).map_err(|e| self.attempt(&e, path))
        })
        .await
    }

    /// Makes a file as a copy of `from`, with its metadata.
    ///
    /// # Errors
    /// The name is taken ([`StoreError::AlreadyExists`]), `from` is not there, S3 refuses, or the outcome stays unclear.
    pub(super) async fn create_copy(&self, from: &str, to: &str) -> Result<(), StoreError> {
        let source = self.head(from).await.map_err(|fault| failed(from, "looking at", fault))?;
        let source = source.ok_or_else(|| StoreError::NotFound { path: from.to_owned() })?;
        // Not every store that speaks S3 knows the condition on a copy, so this asks first. If two workers copy at once, both copies are
        // equal.
        if self.head(to).await.map_err(|fault| failed(to, "looking at", fault))?.is_some() {
            return Err(StoreError::AlreadyExists { path: to.to_owned() });
        }
        // The copy keeps the metadata, so its put id says that it is a copy of that file.
        let id = source.put.unwrap_or_default();
        let outcome = self
            .create("copying", to, &id, || async {
                let (mode, key, bucket_key) = encryption(&self.encryption);
                let copy = self
                    .client
                    .copy_object()
                    .copy_source(format!("{}/{}", self.location.bucket(), quote(&self.location.key(from))))
                    .bucket(self.location.bucket())
                    .key(self.location.key(to))
                    .metadata_directive(MetadataDirective::Copy)
                    .if_none_match("*")
                    .set_server_side_encryption(mode)
                    .set_ssekms_key_id(key)
                    .set_bucket_key_enabled(bucket_key);
                let copy = copy.customize().config_override(aws_sdk_s3::config::Builder::new().retry_config(once()));
                copy.send().await.map(drop).map_err(|e| self.attempt(&e, to))
            })
            .await;
        match outcome {
            // The source was there a moment ago: another worker has finished the same copy and removed it.
            Err(StoreError::Refused { .. }) if self.size_is_none(from).await => {
                Err(StoreError::NotFound { path: from.to_owned() })
            }
            outcome => outcome,
        }
    }

    async fn size_is_none(&self, path: &str) -> bool {
        matches!(self.head(path).await, Ok(None))
    }
}

fn new_put_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// A key in the form that the header of a copy needs.
fn quote(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
