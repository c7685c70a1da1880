//! Events that wait, or are accepted but not scored, as entries carry them on.

use super::StoredPosition;
use crate::micros;
use authpulse_engine::names::{ComputerId, UserId};
use authpulse_engine::rows::{AcceptedEvent, EventId, Windows};
use authpulse_engine::{NamedEvent, WaitingEvent};
use authpulse_event::attributes::Given;
use authpulse_event::{ArrivalTime, Attribute, Attributes, EventTime, TimeForm};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The attributes of an event, by their keys in records. An entry that repeats another's events keeps attributes that this program does not
/// know, and values whose form it does not know. When a program takes such an event up again it leaves them out, as it does when it reads a
/// record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StoredAttributes(BTreeMap<String, Value>);

impl StoredAttributes {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The attributes that are in the list.
    fn taken(&self, list: &'static [Attribute]) -> Attributes {
        if self.is_empty() {
            return Attributes::NONE;
        }
        let given = |at: usize| match self.0.get(list[at].key) {
            None | Some(Value::Null) => Given::Nothing,
            Some(Value::String(text)) => Given::Text(text.into()),
            Some(Value::Number(number)) => Given::Number(number.to_string().into()),
            Some(Value::Bool(yes)) => Given::Bool(*yes),
            Some(Value::Array(_) | Value::Object(_)) => Given::Unfit,
        };
        Attributes::take(list, given).0
    }

    /// Roughly how many bytes of JSON the attributes take.
    fn size_estimate(&self) -> usize {
        let of_value = |value: &Value| value.as_str().map_or(8, str::len);
        self.0.iter().map(|(key, value)| key.len() + of_value(value) + 6).sum()
    }
}

impl From<&Attributes> for StoredAttributes {
    fn from(attributes: &Attributes) -> Self {
        let stored = |given| match given {
            Given::Text(text) => Value::String(text.into_owned()),
            Given::Number(number) => number.parse::<f64>().map_or(Value::Null, Value::from),
            Given::Bool(yes) => Value::Bool(yes),
            Given::Nothing | Given::Unfit => Value::Null,
        };
        StoredAttributes(attributes.given().map(|(key, given)| (key.to_owned(), stored(given))).collect())
    }
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The event time.
    #[serde(with = "micros")]
    pub(super) time: EventTime,
    /// The user's name.
    pub(super) user: String,
    /// The computer's name.
    pub(super) computer: String,
    /// How its id is made.
    pub(super) id: StoredId,
    /// In hexadecimal, because a record's bytes need not be text.
    pub(super) payload: String,
    /// The whole length of the record, in bytes.
    pub(super) payload_bytes: u64,
    /// The position of its record.
    pub(super) at: StoredPosition,
    /// When its record arrived.
    #[serde(with = "micros")]
    pub(super) arrival: ArrivalTime,
    /// How many events that did not wait have been accepted since.
    pub(super) accepted_since: u32,
    /// The event's attributes; left out if there are none.
    #[serde(default, skip_serializing_if = "StoredAttributes::is_empty")]
    pub(super) attributes: StoredAttributes,
}

/// How an event's id is made: from its content with the time as `seconds` or `rfc3339`, or the producer's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StoredId {
    Seconds,
    Rfc3339,
    Own(String),
}

impl From<&EventId> for StoredId {
    fn from(id: &EventId) -> Self {
        match id {
            EventId::Content(TimeForm::Seconds) => StoredId::Seconds,
            EventId::Content(TimeForm::Rfc3339) => StoredId::Rfc3339,
            EventId::Own(id) => StoredId::Own(id.to_string()),
        }
    }
}

impl From<StoredId> for EventId {
    fn from(id: StoredId) -> Self {
        match id {
            StoredId::Seconds => EventId::Content(TimeForm::Seconds),
            StoredId::Rfc3339 => EventId::Content(TimeForm::Rfc3339),
            StoredId::Own(id) => EventId::Own(id.into()),
        }
    }
}

/// An event that is accepted but not yet scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unscored {
    /// The event time.
    #[serde(with = "micros")]
    pub(super) time: EventTime,
    /// When its record arrived.
    #[serde(with = "micros")]
    pub(super) arrival: ArrivalTime,
    /// The user's name.
    pub(super) user: String,
    /// The computer's name.
    pub(super) computer: String,
    /// How its id is made.
    pub(super) id: StoredId,
    /// `login_count_1h`, `login_count_24h`, `unique_computers_1h`, `unique_computers_24h`.
    pub(super) windows: [u32; 4],
    /// Whether the user had never been accepted on the computer before.
    pub(super) new_device: bool,
    /// The event's attributes; left out if there are none.
    #[serde(default, skip_serializing_if = "StoredAttributes::is_empty")]
    pub(super) attributes: StoredAttributes,
}

impl From<&WaitingEvent> for Waiting {
    fn from(w: &WaitingEvent) -> Self {
        Waiting {
            time: w.time,
            user: w.user.clone(),
            computer: w.computer.clone(),
            id: (&w.id).into(),
            payload: w.payload.iter().map(|b| format!("{b:02x}")).collect(),
            payload_bytes: w.payload_bytes,
            at: w.position.into(),
            arrival: w.arrival,
            accepted_since: w.accepted_since,
            attributes: (&w.attributes).into(),
        }
    }
}

impl Waiting {
    /// Event time, user, computer and arrival, for `status`.
    pub fn summary(&self) -> (EventTime, &str, &str, ArrivalTime) {
        (self.time, &self.user, &self.computer, self.arrival)
    }

    /// The position of its record in its source.
    pub fn place(&self) -> &StoredPosition {
        &self.at
    }

    /// The event, with those of its attributes that are in the list.
    ///
    /// # Errors
    /// Text: the payload is not hexadecimal, or the position cannot be parsed.
    pub(super) fn to_event(&self, list: &'static [Attribute]) -> Result<WaitingEvent, String> {
        let digit = |at: usize| self.payload.get(at..at + 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let payload: Option<Vec<u8>> = (0..self.payload.len()).step_by(2).map(digit).collect();
        Ok(WaitingEvent {
            time: self.time,
            user: self.user.clone(),
            computer: self.computer.clone(),
            id: self.id.clone().into(),
            attributes: self.attributes.taken(list),
            payload: payload.ok_or("the payload of an event that waits is not hexadecimal")?,
            payload_bytes: self.payload_bytes,
            position: self.at.position()?,
            arrival: self.arrival,
            accepted_since: self.accepted_since,
        })
    }
}

impl From<&NamedEvent> for Unscored {
    fn from(named: &NamedEvent) -> Self {
        let (event, w) = (&named.event, &named.event.windows);
        Unscored {
            time: event.event_time,
            arrival: event.ingestion_time,
            user: named.user.clone(),
            computer: named.computer.clone(),
            id: (&event.id).into(),
            windows: [w.logons_1h, w.logons_24h, w.computers_1h, w.computers_24h],
            new_device: event.new_device,
            attributes: (&event.attributes).into(),
        }
    }
}

impl Unscored {
    /// Roughly how many bytes of JSON it takes.
    pub(super) fn size_estimate(&self) -> usize {
        160 + self.attributes.size_estimate()
    }

    /// The event with names instead of numbers, and with those of its attributes that are in the list.
    pub fn to_event(&self, list: &'static [Attribute]) -> NamedEvent {
        let [logons_1h, logons_24h, computers_1h, computers_24h] = self.windows;
        NamedEvent {
            event: AcceptedEvent {
                event_time: self.time,
                ingestion_time: self.arrival,
                user: UserId::default(),
                computer: ComputerId::default(),
                id: self.id.clone().into(),
                windows: Windows { logons_1h, logons_24h, computers_1h, computers_24h },
                new_device: self.new_device,
                attributes: self.attributes.taken(list),
            },
            user: self.user.clone(),
            computer: self.computer.clone(),
        }
    }
}

#[cfg(test)]
mod tests;
