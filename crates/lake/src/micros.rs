//! Times in what is stored as JSON: numbers of microseconds, of whatever kind. For `#[serde(with = "micros")]`.

use authpulse_event::time::InMicros;
use serde::{Deserialize, Deserializer, Serializer};

/// Writes a time.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: InMicros, S: Serializer>(time: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_i64(time.in_micros())
}

/// Reads a time.
///
/// # Errors
/// What stands there is no number of 64 bits.
pub fn deserialize<'de, T: InMicros, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    i64::deserialize(deserializer).map(T::of_micros)
}

/// A time or null. A field that may be missing says `default` as well.
pub mod maybe {
    use super::{Deserialize, Deserializer, InMicros, Serializer};

    /// Writes a time or null.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<T: InMicros, S: Serializer>(time: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&time.in_micros()),
            None => serializer.serialize_none(),
        }
    }

    /// Reads a time or null.
    ///
    /// # Errors
    /// What stands there is neither null nor a number of 64 bits.
    pub fn deserialize<'de, T: InMicros, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
        Option::<i64>::deserialize(deserializer).map(|time| time.map(T::of_micros))
    }
}
