//! Times in stored JSON, as microseconds, whatever kind of time they are. For `#[serde(with = "micros")]`.

use authpulse_event::time::InMicros;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes a time.
///
/// # Errors
/// Whatever the serializer reports.
pub fn serialize<T: InMicros, S: Serializer>(time: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.in_micros())
}

/// Reads a time.
///
/// # Errors
/// The stored value is not an integer of 64 bits.
pub fn deserialize<'de, T: InMicros, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    i64::deserialize(deserializer).map(T::of_micros)
}

/// A time or null. A field that may be missing needs `default` as well.
pub mod maybe {
    use super::{Deserialize, Deserializer, InMicros, Serializer};

    /// Writes a time or null.
    ///
    /// # Errors
    /// Whatever the serializer reports.
    pub fn serialize<T: InMicros, S: Serializer>(time: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&time.in_micros()),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a time or null.
    ///
    /// # Errors
    /// The stored value is neither null nor an integer of 64 bits.
    pub fn deserialize<'de, T: InMicros, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Option::<i64>::deserialize(deserializer).map(|time| time.map(T::of_micros))
    }
}
