//! The identity of an event: an id that its producer sent, or the SHA-256 of its canonical line.

use crate::time::{EventTime, SECOND, push_rfc3339};
use sha2::{Digest, Sha256};

/// How an event's time was written. One instant has a different content id in each form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeForm {
    /// Whole seconds since `base`.
    Seconds,
    /// An RFC 3339 time.
    Rfc3339,
}

/// Where an event's id comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventIdRef<'a> {
    /// The producer sent none: the id is the SHA-256 of the canonical line.
    Content(TimeForm),
    /// The producer's own id, used as it is.
    Own(&'a str),
}

/// Replaces `out` with the canonical line `time,user,computer`. The time is decimal seconds since `base`, or RFC 3339 in UTC with six
/// decimals.
pub fn canonical_line(out: &mut Vec<u8>, base: EventTime, time: EventTime, form: TimeForm, user: &str, computer: &str) {
    out.clear();
    match form {
        TimeForm::Seconds => push_decimal(out, ((time - base) / SECOND) as u64),
        TimeForm::Rfc3339 => push_rfc3339(out, time),
    }
    out.push(b',');
    out.extend_from_slice(user.as_bytes());
    out.push(b',');
    out.extend_from_slice(computer.as_bytes());
}

fn push_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// The content id of a canonical line: lower-case hexadecimal SHA-256.
pub fn content_id(canonical_line: &[u8]) -> [u8; 64] {
    hex(&Sha256::digest(canonical_line).into())
}

/// Lower-case hexadecimal of a 32-byte digest.
pub fn hex(digest: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0u8; 64];
    for (pair, byte) in out.chunks_exact_mut(2).zip(digest) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    out
}

/// Lower-case hexadecimal SHA-256 of some bytes. A line that does not parse has this as its partition key.
pub fn sha256_hex(bytes: &[u8]) -> String {
    content_id(bytes).iter().map(|b| char::from(*b)).collect()
}

/// Whether an own id could equal a content id: 64 lower-case hexadecimal digits.
pub fn looks_like_content_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DEFAULT_BASE;

    #[test]
    fn the_canonical_line_has_either_form() {
        let mut line = Vec::new();
        let time = DEFAULT_BASE + 150_885 * SECOND;
        canonical_line(&mut line, DEFAULT_BASE, time, TimeForm::Seconds, "U620", "C17693");
        assert_eq!(line, b"150885,U620,C17693");
        canonical_line(&mut line, DEFAULT_BASE, DEFAULT_BASE + SECOND, TimeForm::Rfc3339, "U1", "C1");
        assert_eq!(line, b"2015-01-01T00:00:01.000000Z,U1,C1");
    }

    #[test]
    fn the_content_id_is_hex_sha256() {
        // printf 'abc' | sha256sum
        assert_eq!(sha256_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(looks_like_content_id(&sha256_hex(b"abc")) && !looks_like_content_id(&"A".repeat(64)));
    }
}
