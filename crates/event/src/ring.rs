//! The 128-bit ring over which partition keys are spread: MD5, as in Kinesis.

use md5::{Digest, Md5};
use std::fmt;

/// A place on the ring.
pub type RingHash = u128;

/// MD5 of a partition key, read as a big-endian number. A user's name is such a key: this is where the user and its state lie on the
/// ring.
pub fn hash_key(key: &[u8]) -> RingHash {
    u128::from_be_bytes(Md5::digest(key).into())
}

/// A contiguous range of the ring, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashRange {
    /// The first place of the range.
    pub first: RingHash,
    /// The last place of the range; never below `first`.
    pub last: RingHash,
}

impl HashRange {
    /// The whole ring.
    pub const FULL: HashRange = HashRange { first: 0, last: u128::MAX };

    /// Whether the range holds this place.
    pub fn contains(&self, hash: RingHash) -> bool {
        (self.first..=self.last).contains(&hash)
    }

    /// The part that both ranges have in common, if any.
    pub fn intersect(&self, other: &HashRange) -> Option<HashRange> {
        let (first, last) = (self.first.max(other.first), self.last.min(other.last));
        (first <= last).then_some(HashRange { first, last })
    }

    /// Divides the ring evenly into `parts` ranges, as Kinesis does for a new stream.
    pub fn divide(parts: u32) -> Vec<HashRange> {
        let parts = u128::from(parts.max(1));
        let width = u128::MAX / parts;
        (0..parts)
            .map(|i| HashRange {
                first: if i == 0 { 0 } else { i * width + 1 },
                last: if i + 1 == parts { u128::MAX } else { (i + 1) * width },
            })
            .collect()
    }

    /// Whether the ranges together hold every place of the ring; they may overlap.
    pub fn cover_ring(ranges: impl IntoIterator<Item = HashRange>) -> bool {
        HashRange::FULL.is_covered_by(ranges)
    }

    /// Whether the ranges together hold every place of this one; they may overlap, and reach beyond it.
    pub fn is_covered_by(&self, ranges: impl IntoIterator<Item = HashRange>) -> bool {
        let mut parts: Vec<_> = ranges.into_iter().filter_map(|range| range.intersect(self)).collect();
        parts.sort_unstable();
        let mut next = self.first;
        for part in parts {
            if part.first > next {
                return false;
            }
            if part.last == self.last {
                return true;
            }
            next = next.max(part.last + 1);
        }
        false
    }
}

/// `first-last` in hexadecimal, 32 digits each, as file names and entries have it.
impl fmt::Display for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{:032x}", self.first, self.last)
    }
}

impl fmt::Debug for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for HashRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split_once('-')
            .and_then(|(a, b)| Some((u128::from_str_radix(a, 16).ok()?, u128::from_str_radix(b, 16).ok()?)));
        match parts {
            Some((first, last)) if first <= last => Ok(HashRange { first, last }),
            _ => Err(format!("'{text}' is not a hash range such as {}", HashRange::FULL)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_divided_ring_is_covered_without_overlap() {
        for parts in 1..=64 {
            let ranges = HashRange::divide(parts);
            assert!(HashRange::cover_ring(ranges.iter().copied()));
            for pair in ranges.windows(2) {
                assert_eq!(pair[0].last + 1, pair[1].first);
            }
            if parts > 1 {
                assert!(!HashRange::cover_ring(ranges.into_iter().skip(1)));
            }
        }
        assert!(!HashRange::cover_ring([]));
    }

    #[test]
    fn parts_cover_a_range_without_a_hole() {
        const HALF: u128 = 1 << 127;
        let (lower, upper) =
            (HashRange { last: HALF - 1, ..HashRange::FULL }, HashRange { first: HALF, ..HashRange::FULL });
        let middle = HashRange { first: 100, ..lower };
        assert!(HashRange::FULL.is_covered_by([upper, lower]));
        assert!(!HashRange::FULL.is_covered_by([upper, middle]));
        assert!(!HashRange::FULL.is_covered_by([lower]));
        assert!(middle.is_covered_by([middle]));
        assert!(middle.is_covered_by([upper, lower]), "what reaches beyond it");
        assert!(lower.is_covered_by([middle, HashRange { last: 200, ..lower }]), "what overlaps");
    }

    #[test]
    fn ranges_print_and_parse() {
        let range = HashRange { first: 7, last: u128::MAX / 3 };
        assert_eq!(range.to_string().parse::<HashRange>(), Ok(range));
        assert!("9-1".parse::<HashRange>().is_err());
    }

    #[test]
    fn the_hash_is_md5_big_endian() {
        assert_eq!(hash_key(b"U1") >> 120, u128::from(Md5::digest(b"U1")[0]));
    }
}
