//! How a batch of records is stored.
//!
//! A batch is a run of records of one shard with consecutive sequence numbers and one arrival. Its body is one zstd frame
//! over
//!
//! ```text
//! +-----------------+---------+-------------+-----+
//! | payload length  | payload | key length  | key |   once per record
//! | LEB128          |         | LEB128      |     |
//! +-----------------+---------+-------------+-----+
//! ```
//!
//! and its header, stored beside it, says the rest. A CRC-32 covers header and body, so that a batch that was damaged, or put in another's
//! place, is recognised before any of it is used. The records that a read returns are slices of one buffer.

use crate::limits::{MAX_PAYLOAD_BYTES, MAX_PUT_BYTES};
use crate::{PutRecord, ReadLimit, Record};
use authpulse_event::varint::put_varint;
use authpulse_event::{ArrivalTime, Position};
use bytes::{BufMut, Bytes};
use std::ops::Range;

const ZSTD_LEVEL: i32 = 1;
/// Most bytes of a LEB128 number of 32 bits.
const MAX_VARINT_BYTES: usize = 5;
/// Most bytes of a body before compression: no batch holds more than one put.
const MAX_RAW_BYTES: usize = MAX_PUT_BYTES + MAX_PAYLOAD_BYTES;

/// What is known about a batch without reading its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The shard's number.
    pub shard: u64,
    /// Sequence number of the first record; the others follow without a hole.
    pub first_sequence: u64,
    /// How many records.
    pub count: u32,
    /// Records of the shard before this batch.
    pub ordinal: u64,
    /// When the stream took them.
    pub arrival: ArrivalTime,
    /// Bytes of the body before compression.
    pub raw_bytes: u32,
    /// Bytes of all payloads.
    pub payload_bytes: u32,
}

impl Header {
    /// Sequence number of the last record.
    pub fn last_sequence(&self) -> u64 {
        self.first_sequence + u64::from(self.count) - 1
    }

    /// CRC-32 of header and body.
    pub fn checksum(&self, body: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        for number in [self.shard, self.first_sequence, self.ordinal] {
            crc.update(&number.to_le_bytes());
        }
        crc.update(&self.arrival.micros().to_le_bytes());
        for number in [self.count, self.raw_bytes, self.payload_bytes] {
            crc.update(&number.to_le_bytes());
        }
        crc.update(body);
        crc.finalize()
    }
}

/// The body of a batch that is still growing.
#[derive(Default)]
pub(crate) struct Encoder {
    raw: Vec<u8>,
    count: u32,
    payload_bytes: u32,
}

impl Encoder {
    /// Adds a record.
    pub fn push(&mut self, record: &PutRecord) {
        let (payload, key) = (&record.payload, &record.partition_key);
        self.raw.reserve(payload.len() + key.len() + 2 * MAX_VARINT_BYTES);
        put_varint(&mut self.raw, payload.len() as u64);
        self.raw.put_slice(payload);
        put_varint(&mut self.raw, key.len() as u64);
        self.raw.put_slice(key);
        self.count += 1;
        self.payload_bytes += payload.len() as u32; // a put is bounded, and a batch lies within a put
    }

    /// Bytes of the body so far, before compression.
    pub fn raw_bytes(&self) -> usize {
        self.raw.len()
    }

    /// Whether nothing was pushed since the last [`Encoder::take`].
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Records pushed since the last [`Encoder::take`].
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The header of what was pushed.
    pub fn header(&self, shard: u64, first_sequence: u64, ordinal: u64, arrival: ArrivalTime) -> Header {
        let (count, payload_bytes) = (self.count, self.payload_bytes);
        Header { shard, first_sequence, count, ordinal, arrival, raw_bytes: self.raw.len() as u32, payload_bytes }
    }

    /// The compressed body; the encoder is empty again.
    ///
    /// # Errors
    /// The compressor fails.
    pub fn take(&mut self, compressor: &mut zstd::bulk::Compressor<'_>) -> std::io::Result<Vec<u8>> {
        let body = compressor.compress(&self.raw)?;
        self.raw.clear();
        (self.count, self.payload_bytes) = (0, 0);
        Ok(body)
    }
}

/// A compressor for [`Encoder::take`].
///
/// # Errors
/// zstd cannot set one up.
pub(crate) fn compressor() -> std::io::Result<zstd::bulk::Compressor<'static>> {
    zstd::bulk::Compressor::new(ZSTD_LEVEL)
}

/// What a read may still return.
#[derive(Debug)]
pub(crate) struct Budget {
    records: usize,
    bytes: usize,
    spent: bool,
}

impl Budget {
    /// The budget of a read under this limit.
    pub fn new(limit: ReadLimit) -> Self {
        Budget { records: limit.records, bytes: limit.bytes, spent: false }
    }

    /// Takes one record with this much payload; the first record of a read always fits.
    pub fn take(&mut self, payload_bytes: usize) -> bool {
        let fits = !self.spent || (self.records > 0 && payload_bytes <= self.bytes);
        self.spent = true;
        if fits {
            self.records = self.records.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(payload_bytes);
        }
        fits
    }
}

/// Appends the records of a batch after sequence number `after` to `out`, as far as the budget goes. Returns whether
/// it went to the batch's end.
///
/// # Errors
/// Words that say what is wrong with the batch.
pub(crate) fn decode(
    header: &Header,
    checksum: u32,
    body: &[u8],
    after: u64,
    budget: &mut Budget,
    decompressor: &mut zstd::bulk::Decompressor<'_>,
    out: &mut Vec<Record>,
) -> Result<bool, String> {
    if header.checksum(body) != checksum {
        return Err("its checksum does not match".to_owned());
    }
    if header.raw_bytes as usize > MAX_RAW_BYTES {
        return Err(format!("it claims {} bytes, more than a batch can have", header.raw_bytes));
    }
    let raw = decompressor
        .decompress(body, header.raw_bytes as usize)
        .map_err(|cause| format!("its body cannot be decompressed: {cause}"))?;
    let (mut at, mut begin, mut is_whole) = (0, None, true);
    let mut fields = Vec::with_capacity(budget.records.min(header.count as usize));
    let end = header.first_sequence + u64::from(header.count);
    for sequence in header.first_sequence..end {
        let before = at;
        let payload = field(&raw, &mut at)?;
        let key = field(&raw, &mut at)?;
        if sequence <= after {
            continue;
        }
        if !budget.take(payload.len()) {
            (at, is_whole) = (before, false);
            break;
        }
        begin.get_or_insert(before);
        fields.push((sequence, payload, key));
    }
    if is_whole && at != raw.len() {
        return Err("it holds more than its records".to_owned());
    }
    // Records keep the buffer that they lie in. If a batch is read in parts, each part must not keep the whole batch.
    let begin = begin.unwrap_or(at);
    let (raw, begin) = if at - begin < raw.len() / 2 {
        (Bytes::copy_from_slice(&raw[begin..at]), begin)
    } else {
        (Bytes::from(raw), 0)
    };
    let slice = |field: Range<usize>| raw.slice(field.start - begin..field.end - begin);
    out.extend(fields.into_iter().map(|(sequence, payload, key)| Record {
        payload: slice(payload),
        partition_key: slice(key),
        position: Position { sequence: sequence.into(), sub_sequence: 0 },
        arrival: header.arrival,
    }));
    Ok(is_whole)
}

/// Where the next length-prefixed field lies.
fn field(raw: &[u8], at: &mut usize) -> Result<Range<usize>, String> {
    const SHORT: &str = "it ends within a record";
    let mut length = 0usize;
    for index in 0..MAX_VARINT_BYTES {
        let byte = *raw.get(*at).ok_or(SHORT)?;
        *at += 1;
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let end = at.checked_add(length).filter(|end| *end <= raw.len()).ok_or(SHORT)?;
            return Ok(std::mem::replace(at, end)..end);
        }
    }
    Err("it holds a length without an end".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(records: &[(Vec<u8>, Vec<u8>)]) -> (Header, Vec<u8>) {
        let mut encoder = Encoder::default();
        for (payload, key) in records {
            encoder.push(&PutRecord { payload: payload.clone().into(), partition_key: key.clone().into() });
        }
        let header = encoder.header(3, 100, 40, ArrivalTime::from_micros(7));
        (header, encoder.take(&mut compressor().unwrap()).unwrap())
    }

    fn decode_all(header: &Header, checksum: u32, body: &[u8], after: u64) -> Result<Vec<Record>, String> {
        let mut out = Vec::new();
        let mut budget = Budget::new(ReadLimit { records: usize::MAX, bytes: usize::MAX });
        let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
        decode(header, checksum, body, after, &mut budget, &mut decompressor, &mut out).map(|_| out)
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(
            records in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<u8>(), 0..20)), 1..40),
            skip in 0u64..45,
        ) {
            let (header, body) = encode(&records);
            let read = decode_all(&header, header.checksum(&body), &body, 99 + skip).unwrap();
            let expected: Vec<_> = records.iter().enumerate().skip(skip as usize).collect();
            prop_assert_eq!(read.len(), expected.len());
            for (record, (index, (payload, key))) in read.iter().zip(expected) {
                prop_assert_eq!(&record.payload[..], &payload[..]);
                prop_assert_eq!(&record.partition_key[..], &key[..]);
                prop_assert_eq!(record.position.sequence.as_u64(), Some(100 + index as u64));
            }
        }

        #[test]
        fn a_flipped_bit_is_noticed(bit in 0usize..800, size in 1usize..200) {
            let (header, mut body) = encode(&[(vec![7; size], b"k".to_vec()), (vec![1; 3], b"l".to_vec())]);
            let checksum = header.checksum(&body);
            let bit = bit % (body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode_all(&header, checksum, &body, 0).is_err());
        }

        #[test]
        fn garbage_under_a_right_checksum_is_an_error_or_records_but_no_panic(raw in prop::collection::vec(any::<u8>(), 0..200), count in 1u32..9) {
            let body = compressor().unwrap().compress(&raw).unwrap();
            let header = Header { shard: 0, first_sequence: 1, count, ordinal: 0, arrival: ArrivalTime::default(), raw_bytes: raw.len() as u32, payload_bytes: 0 };
            let _ = decode_all(&header, header.checksum(&body), &body, 0);
            let _ = decode_all(&header, header.checksum(&raw), &raw, 0);
        }
    }

    /// A reader that takes a batch in parts holds no more memory than what it took.
    #[test]
    fn a_part_of_a_batch_does_not_keep_the_whole() {
        let records: Vec<_> = (0..100u8).map(|n| (vec![n; 50], b"key".to_vec())).collect();
        let (header, body) = encode(&records);
        let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
        for (after, taken, whole) in [(99, 10, false), (149, 10, false), (190, 9, true), (199, 0, true)] {
            let mut budget = Budget::new(ReadLimit { records: 10, bytes: usize::MAX });
            let mut out = Vec::new();
            let checksum = header.checksum(&body);
            let read = decode(&header, checksum, &body, after, &mut budget, &mut decompressor, &mut out);
            assert_eq!((read, out.len()), (Ok(whole), taken), "after {after}");
            let Some(first) = out.first() else { continue };
            assert_eq!(first.payload, vec![after as u8 - 99; 50]);
            // From the first byte of the first to the last byte of the last, and one or two for the lengths.
            let from = first.payload.as_ptr() as usize;
            let to = out.last().unwrap().partition_key.as_ptr() as usize + 3;
            assert!(to - from <= taken * 55, "after {after}");
            let mut records = out.into_iter();
            let (first, rest) = (records.next().unwrap().payload, records.as_slice().len());
            drop(records);
            // As the only holder of its buffer it can be turned back into it, which shows how large the kept buffer is.
            let kept = first.try_into_mut().unwrap();
            assert!(kept.capacity() <= (rest + 1) * 55, "after {after} {} bytes are kept", kept.capacity());
        }
    }

    #[test]
    fn a_batch_in_anothers_place_is_noticed() {
        let (header, body) = encode(&[(b"a".to_vec(), b"k".to_vec())]);
        let checksum = header.checksum(&body);
        let other = Header { shard: 4, ..header };
        assert_eq!(decode_all(&other, checksum, &body, 0), Err("its checksum does not match".to_owned()));
    }
}
