//! Where a record lies: shard, sequence number, sub-sequence number.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The name of a shard, such as `shardId-000000000000`; `file` for a backfilled file. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(Arc<str>);

impl ShardId {
    /// Wraps a name as the stream gave it.
    pub fn new(name: impl AsRef<str>) -> Self {
        ShardId(Arc::from(name.as_ref()))
    }
    /// The shard of backfilled files, over the whole ring.
    pub fn file() -> Self {
        ShardId::new("file")
    }
    /// Whether this is the shard of backfilled files.
    pub fn is_file(&self) -> bool {
        self.as_str() == "file"
    }
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A sequence number: a decimal number of at most 72 digits, ordered as a number. Kinesis writes up to 56 digits (below 2^187); the
/// embedded stream and files count from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SequenceNumber {
    high: u128,
    low: u128,
}

/// `low` holds this many decimal digits, `high` the rest.
const LOW_DIGITS: usize = 36;

impl SequenceNumber {
    /// Below every number that a stream gives out.
    pub const ZERO: SequenceNumber = SequenceNumber { high: 0, low: 0 };

    /// The number as an integer, if it fits 64 bits. Those of files and of the embedded stream always do.
    pub fn as_u64(self) -> Option<u64> {
        if self.high == 0 { u64::try_from(self.low).ok() } else { None }
    }
}

impl From<u64> for SequenceNumber {
    fn from(value: u64) -> Self {
        SequenceNumber { high: 0, low: u128::from(value) }
    }
}

impl FromStr for SequenceNumber {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_start_matches('0');
        if text.is_empty() || digits.len() > 2 * LOW_DIGITS || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!("'{text}' is not a sequence number of at most {} digits", 2 * LOW_DIGITS));
        }
        let (high, low) = digits.split_at(digits.len().saturating_sub(LOW_DIGITS));
        let number =
            |part: &str| if part.is_empty() { 0 } else { part.parse().expect("at most 36 digits fit 128 bits") };
        Ok(SequenceNumber { high: number(high), low: number(low) })
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.high == 0 { write!(f, "{}", self.low) } else { write!(f, "{}{:036}", self.high, self.low) }
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a record lies in its shard. The records of an aggregate share a sequence number and differ in the sub-sequence number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Position {
    /// The sequence number that the stream gave.
    pub sequence: SequenceNumber,
    /// The place within an aggregate; 0 for a record that is not in one.
    pub sub_sequence: u64,
}

impl Position {
    /// The place before the first record of every shard.
    pub const START: Position = Position { sequence: SequenceNumber::ZERO, sub_sequence: 0 };
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.sequence, self.sub_sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_keep_their_digits_and_order_as_numbers() {
        let kinesis = "49590338271490256608559692538361571095921575989136588898";
        assert_eq!(kinesis.parse::<SequenceNumber>().unwrap().to_string(), kinesis);
        let (small, large): (SequenceNumber, SequenceNumber) = ("9".parse().unwrap(), "10".parse().unwrap());
        assert!(small < large && large < kinesis.parse().unwrap());
        assert_eq!("1000000000000000000000000000000000000".parse::<SequenceNumber>().unwrap().to_string().len(), 37);
        assert!("".parse::<SequenceNumber>().is_err() && "-1".parse::<SequenceNumber>().is_err());
        assert_eq!(SequenceNumber::from(7).as_u64(), Some(7));
    }
}
