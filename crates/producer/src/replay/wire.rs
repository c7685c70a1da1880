//! From a line of a file to a record of a stream.
//!
//! Whatever the line is, a consumer decides about the record as [`parse_line`] does about the line:
//!
//! | line | payload | partition key |
//! | --- | --- | --- |
//! | a valid `time,user,computer` | the wire form, `{"time":1,"user":"U1","computer":"C1"}` | the user |
//! | a valid line that begins with `{` | the line | the user |
//! | any other | the line, or its prefix (below) | its SHA-256 in lower-case hex |
//!
//! The last kind is invalid on a stream, too. It is no JSON object; or it is one that begins with blanks, which the consumer tells from a
//! foreign producer's by the partition key; or it is longer than 1 MiB. If a line is too long to be held whole
//! ([`OVERLONG_WHOLE_BYTES_MAX`](authpulse_files::OVERLONG_WHOLE_BYTES_MAX)), the prefix that is sent is itself longer than 1 MiB.
//!
//! If times are to be now ([`Live`]), every valid line is sent in the wire form instead, with an RFC 3339 time in UTC with six decimals,
//! whatever the line's own form: whole seconds since `base` could not carry a distance divided by a speed. The line's own `event_id` and
//! attributes go along; keys that no consumer knows do not.
//!
//! However a plain line spells its time, an integer is written without leading zeros, and an RFC 3339 time as UTC with six decimals, so
//! that consumers of an earlier version can read it as well. Neither changes the time, its form or the content id.

use std::ops::Range;

use authpulse_event::parse::attribute_members;
use authpulse_event::time::push_rfc3339;
use authpulse_event::{ATTRIBUTES, EventTime, MAX_RECORD_BYTES, ParsedEvent, Reading, TimeForm, id, parse_line};
use authpulse_stream::PutRecord;
use bytes::Bytes;
use memchr::{memchr, memchr2};

use super::live::Live;

use authpulse_files::tally::Tally;

use authpulse_files::{LINE_BYTES_MAX, Line, OVERLONG_PREFIX_BYTES, OVERLONG_WHOLE_BYTES_MAX};
use authpulse_stream::limits::MAX_PAYLOAD_BYTES;

const _: () = assert!(OVERLONG_WHOLE_BYTES_MAX <= MAX_PAYLOAD_BYTES, "what is held whole can be sent");
const _: () =
    assert!(OVERLONG_PREFIX_BYTES > LINE_BYTES_MAX, "a prefix of an overlong line is invalid, whatever it holds");

/// Where a record lies in its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Encoded {
    /// Where in the batch's bytes the payload is.
    pub(super) payload: Range<usize>,
    /// Where the partition key is; it may lie within the payload.
    pub(super) partition_key: Range<usize>,
    /// The event time, if the record is a valid event.
    pub(super) time: Option<EventTime>,
    /// The number of its line.
    pub(super) line: u64,
}

/// Appends the record of a line to `out`, and counts it. The event has its own time, or the one that `live` gives it.
#[inline]
pub(super) fn push_record(
    out: &mut Vec<u8>,
    line: &Line<'_>,
    base: EventTime,
    live: Option<&mut Live>,
    tally: &mut Tally,
) -> Encoded {
    let start = out.len();
    let parsed = parse_line(line.bytes, Reading::three_fields(base));
    match &parsed {
        Ok(event) => tally.event(event),
        Err(invalid) => tally.rejected(line.number, "invalid", &invalid.0),
    }
    let Ok(event) = parsed else {
        out.extend_from_slice(line.bytes);
        let payload = start..out.len();
        out.extend_from_slice(id::sha256_hex(line.bytes).as_bytes());
        return Encoded { partition_key: payload.end..out.len(), payload, time: None, line: line.number };
    };
    let time = Some(event.time);
    if let Some(live) = live {
        return push_live(out, line, &event, live.at(event.time));
    }
    if line.bytes.first() == Some(&b'{') {
        out.extend_from_slice(line.bytes);
        let payload = start..out.len();
        out.extend_from_slice(event.user.as_bytes());
        return Encoded { partition_key: payload.end..out.len(), payload, time, line: line.number };
    }
    out.extend_from_slice(b"{\"time\":");
    push_time(out, line.bytes, event.time, event.form);
    out.extend_from_slice(b",\"user\":\"");
    let user = push_escaped(out, &event.user);
    out.extend_from_slice(b"\",\"computer\":\"");
    push_escaped(out, &event.computer);
    out.extend_from_slice(b"\"}");
    let payload = start..out.len();
    // A name without escapes is its own key.
    let partition_key = user.unwrap_or_else(|| {
        out.extend_from_slice(event.user.as_bytes());
        payload.end..out.len()
    });
    Encoded { payload, partition_key, time, line: line.number }
}

/// Appends an event with another time, in the wire form, with nothing in it but what the engine may read. Attributes go along as they are
/// written, even invalid ones: whether they are taken, and counted where they are dropped, is for the consumer to decide.
fn push_live(out: &mut Vec<u8>, line: &Line<'_>, event: &ParsedEvent<'_>, at: EventTime) -> Encoded {
    let start = out.len();
    out.extend_from_slice(b"{\"time\":\"");
    push_rfc3339(out, at);
    out.extend_from_slice(b"\",\"user\":\"");
    let user = push_escaped(out, &event.user);
    out.extend_from_slice(b"\",\"computer\":\"");
    push_escaped(out, &event.computer);
    if let Some(id) = &event.own_id {
        out.extend_from_slice(b"\",\"event_id\":\"");
        push_escaped(out, id);
    }
    out.push(b'"');
    if line.bytes.first() == Some(&b'{') {
        let before = out.len();
        for (key, value) in attribute_members(line.bytes, ATTRIBUTES) {
            for part in [b",\"", key.as_bytes(), b"\":", value] {
                out.extend_from_slice(part);
            }
        }
        // The time is longer than a number of seconds: better an event without attributes than a record that is too long to be one.
        if out.len() - start >= MAX_RECORD_BYTES {
            out.truncate(before);
        }
    }
    out.push(b'}');
    let payload = start..out.len();
    let partition_key = user.unwrap_or_else(|| {
        out.extend_from_slice(event.user.as_bytes());
        payload.end..out.len()
    });
    Encoded { payload, partition_key, time: Some(event.time), line: line.number }
}

/// The record that a replay sends for a line that is a valid event; `None` for any other line.
pub fn record_of(line: &[u8], base: EventTime) -> Option<PutRecord> {
    parse_line(line, Reading::three_fields(base)).ok()?;
    let mut out = Vec::new();
    let whole = Line { number: 1, offset: 0, bytes: line, length: line.len() as u64 };
    let Encoded { payload, partition_key, .. } = push_record(&mut out, &whole, base, None, &mut Tally::default());
    let out = Bytes::from(out);
    Some(PutRecord { payload: out.slice(payload), partition_key: out.slice(partition_key) })
}

/// Appends the time of a valid line.
fn push_time(out: &mut Vec<u8>, line: &[u8], time: EventTime, form: TimeForm) {
    match form {
        TimeForm::Seconds => {
            let end = memchr(b',', line).unwrap_or(line.len());
            let written = line[..end].trim_ascii();
            let zeros = written.iter().take_while(|byte| **byte == b'0').count();
            out.extend_from_slice(&written[zeros..]);
        }
        TimeForm::Rfc3339 => {
            out.push(b'"');
            push_rfc3339(out, time);
            out.push(b'"');
        }
    }
}

/// Appends a valid name as the inside of a JSON string; returns where it is, if it has no escapes. A valid name has no control characters,
/// so only quotes and backslashes need escapes.
fn push_escaped(out: &mut Vec<u8>, name: &str) -> Option<Range<usize>> {
    let start = out.len();
    let mut rest = name.as_bytes();
    let mut escaped = false;
    while let Some(at) = memchr2(b'"', b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
        escaped = true;
    }
    out.extend_from_slice(rest);
    (!escaped).then_some(start..out.len())
}
