//! Numbers in stored formats, as LEB128: seven bits a byte. (It has nothing to do with events, but the crates that store such numbers
//! all depend on this one.)

/// Appends a number: one to ten bytes, the lowest bits first.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::put_varint;

    #[test]
    fn the_lowest_bits_come_first_and_each_byte_but_the_last_is_marked() {
        for (value, bytes) in [(0, &[0][..]), (127, &[127]), (128, &[0x80, 1]), (300, &[0xac, 2])] {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        assert_eq!((out.len(), out[9]), (10, 1));
    }
}
