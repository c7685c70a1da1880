//! Checks of requests that every store answers in the same way.

use crate::limits::{MAX_PARTITION_KEY_BYTES, MAX_PAYLOAD_BYTES, MAX_PROGRESS_BYTES, MAX_PUT_BYTES, MAX_PUT_RECORDS};
use crate::{ProducerProgress, PutRecord, ReadFrom, StreamError};
use authpulse_event::ShardId;

/// Checks that a put keeps to the limits.
///
/// # Errors
/// [`StreamError::Refused`] names a limit that it breaks.
pub(crate) fn check_put(records: &[PutRecord], progress: Option<&ProducerProgress>) -> Result<(), StreamError> {
    let refuse = |what: String, why: String| Err(StreamError::Refused { what, why });
    if records.len() > MAX_PUT_RECORDS {
        return refuse(
            format!("put of {} records", records.len()),
            format!("a put takes at most {MAX_PUT_RECORDS}; send several"),
        );
    }
    let mut bytes = 0;
    for (index, record) in records.iter().enumerate() {
        if record.payload.len() > MAX_PAYLOAD_BYTES {
            return refuse(
                format!("record {index} of a put, {} bytes", record.payload.len()),
                format!("a payload has at most {MAX_PAYLOAD_BYTES} bytes; send something shorter"),
            );
        }
        if record.partition_key.is_empty() || record.partition_key.len() > MAX_PARTITION_KEY_BYTES {
            return refuse(
                format!("record {index} of a put, with a partition key of {} bytes", record.partition_key.len()),
                format!("a partition key has 1 to {MAX_PARTITION_KEY_BYTES} bytes; choose another"),
            );
        }
        bytes += record.payload.len() + record.partition_key.len();
    }
    if bytes > MAX_PUT_BYTES {
        return refuse(
            format!("put of {bytes} bytes"),
            format!("a put takes at most {MAX_PUT_BYTES} bytes of payloads and keys; send several"),
        );
    }
    let progress_bytes = progress.map_or(0, |progress| progress.job.len() + progress.state.len());
    if progress_bytes > MAX_PROGRESS_BYTES {
        return refuse(
            format!("put with a progress of {progress_bytes} bytes"),
            format!("a progress has at most {MAX_PROGRESS_BYTES} bytes; store the rest elsewhere"),
        );
    }
    Ok(())
}

/// The sequence number after which to read; 0 for the start.
///
/// # Errors
/// [`StreamError::Refused`] if the stream has not given out the position.
pub(crate) fn start_after(shard: &ShardId, from: ReadFrom, next_sequence: u64) -> Result<u64, StreamError> {
    match from {
        ReadFrom::Start => Ok(0),
        ReadFrom::After(position) => position.sequence.as_u64().filter(|after| *after < next_sequence).ok_or_else(|| {
            StreamError::Refused {
                what: format!("read of '{shard}' after {position}"),
                why: format!(
                    "the stream has given out numbers below {next_sequence} only; the position belongs to another stream, \
                     or this one was restored from an older copy"
                ),
            }
        }),
    }
}

/// The error for a change of a stream that was closed.
pub(crate) fn closed(name: &str) -> StreamError {
    StreamError::Refused {
        what: format!("change of stream '{name}'"),
        why: "the stream was closed for good; create another".to_owned(),
    }
}
