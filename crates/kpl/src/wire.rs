//! The part of protobuf that the format needs: proto2, read as Google's library for Java reads it.
//!
//! Unknown fields, and known ones with another wire type, are passed over. Anything not well formed is an error.

/// The bytes are not well-formed protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Groups nested deeper than this are refused, as in Google's libraries.
const MAX_DEPTH: u32 = 100;
/// The most bytes that a varint of 64 bits takes.
const MAX_VARINT_BYTES: usize = 10;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Number(u64),
    /// Where the bytes begin and end in the whole buffer.
    Bytes(usize, usize),
    /// A value of a wire type that this format does not use; it was passed over.
    Other,
}

/// Reads fields one after another.
pub(crate) struct WireReader<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> WireReader<'a> {
    /// A reader over `bytes[from..end]`.
    pub fn new(bytes: &'a [u8], from: usize, end: usize) -> WireReader<'a> {
        WireReader { bytes, at: from, end }
    }

    /// The next field's number and value; `None` at the end.
    ///
    /// # Errors
    /// The bytes end within a field, or its tag or a number is not valid.
    pub fn next(&mut self) -> Result<Option<(u32, Value)>, Malformed> {
        if self.at == self.end {
            return Ok(None);
        }
        let (field, kind) = self.tag()?;
        Ok(Some((field, self.value(field, kind, 0)?)))
    }

    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        // Google's readers keep the low 32 bits of a tag.
        let tag = self.varint()? as u32;
        match tag >> 3 {
            0 => Err(Malformed),
            field => Ok((field, (tag & 7) as u8)),
        }
    }

    fn value(&mut self, field: u32, kind: u8, depth: u32) -> Result<Value, Malformed> {
        match kind {
            0 => self.varint().map(Value::Number),
            1 => self.pass(8).map(|()| Value::Other),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                let from = self.at;
                self.pass(length)?;
                Ok(Value::Bytes(from, self.at))
            }
            3 => self.group(field, depth + 1).map(|()| Value::Other),
            5 => self.pass(4).map(|()| Value::Other),
            // 4 ends a group that was not begun; 6 and 7 do not exist.
            _ => Err(Malformed),
        }
    }

    fn group(&mut self, field: u32, depth: u32) -> Result<(), Malformed> {
        if depth > MAX_DEPTH {
            return Err(Malformed);
        }
        loop {
            let (inner, kind) = self.tag()?;
            if kind == 4 {
                return if inner == field { Ok(()) } else { Err(Malformed) };
            }
            self.value(inner, kind, depth)?;
        }
    }

    fn pass(&mut self, length: usize) -> Result<(), Malformed> {
        if length > self.end - self.at {
            return Err(Malformed);
        }
        self.at += length;
        Ok(())
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for n in 0..MAX_VARINT_BYTES {
            if self.at == self.end {
                return Err(Malformed);
            }
            let byte = self.bytes[self.at];
            self.at += 1;
            // Bits beyond the 64th are dropped, as protobuf readers do.
            value |= u64::from(byte & 0x7F) << (7 * n);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

/// How many bytes a number takes as a varint.
pub(crate) fn varint_len(value: u64) -> usize {
    // Seven bits a byte, and one byte for zero.
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Appends a number as a varint.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field of bytes. Its number must be below 16, so that the tag is one byte.
pub(crate) fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes a field takes that [`put_bytes`] writes, with `length` bytes of content.
pub(crate) fn bytes_field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value)>, Malformed> {
        let mut reader = WireReader::new(bytes, 0, bytes.len());
        let mut fields = Vec::new();
        while let Some(field) = reader.next()? {
            fields.push(field);
        }
        Ok(fields)
    }

    #[test]
    fn numbers_have_the_length_that_is_reckoned() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX >> 1, u64::MAX] {
            let mut out = vec![0x08];
            put_varint(&mut out, value);
            assert_eq!(out.len(), 1 + varint_len(value), "{value}");
            assert_eq!(fields(&out).unwrap(), [(1, Value::Number(value))]);
        }
    }

    #[test]
    fn what_is_unknown_is_passed_over_and_what_is_broken_refused() {
        // Fields 15 as 64 bits, as 32 bits, as a group with a group in it.
        assert_eq!(fields(b"\x79\0\0\0\0\0\0\0\0\x7d\0\0\0\0\x08\x05").unwrap().len(), 3);
        assert_eq!(fields(b"\x7b\x0b\x08\x01\x0c\x7c\x08\x05").unwrap(), [(15, Value::Other), (1, Value::Number(5))]);
        let broken: [&[u8]; 9] = [
            b"\x08",
            b"\x0a\x02a",
            b"\x79\0\0",
            b"\x7b\x08\x01",
            b"\x7b\x0c",
            b"\x0c",
            b"\x0e\x01",
            b"\x00\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ];
        for bytes in broken {
            assert_eq!(fields(bytes), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(fields(&[0x0b; 101]), Err(Malformed), "a hundred groups at most");
    }
}
