//! How a parser must read records: from when integer times count, and which attributes it takes in.

use crate::attributes::{ATTRIBUTES, Attribute};
use crate::time::EventTime;

/// Which fields an event has. A lake keeps its model for life: a key that was ignored must not start to matter unnoticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventModel {
    /// 1: time, user, computer and id. All other keys are passed over.
    #[default]
    ThreeFields,
    /// 2: attributes as well.
    Attributes,
}

impl EventModel {
    /// The newest model that this program knows.
    pub const NEWEST: EventModel = EventModel::Attributes;

    /// The model's number, as entries store it.
    pub fn number(self) -> u32 {
        match self {
            EventModel::ThreeFields => 1,
            EventModel::Attributes => 2,
        }
    }

    /// The model with this number, if this program knows it.
    pub fn from_number(number: u32) -> Option<EventModel> {
        [EventModel::ThreeFields, EventModel::NEWEST].into_iter().find(|model| model.number() == number)
    }

    /// The attributes of `list` that this model takes in: all or none.
    pub fn of(self, list: &'static [Attribute]) -> &'static [Attribute] {
        match self {
            EventModel::ThreeFields => &[],
            EventModel::Attributes => list,
        }
    }
}

/// How bytes are read as events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The moment from which integer times count.
    pub base: EventTime,
    /// The attributes that are taken in; keys of others are passed over.
    pub attributes: &'static [Attribute],
}

impl Reading {
    /// How a lake of this model reads.
    pub fn new(base: EventTime, model: EventModel) -> Reading {
        Reading { base, attributes: model.of(ATTRIBUTES) }
    }

    /// Without attributes. Enough for callers that need only time, user, computer or id, or only whether a record is an event:
    /// attributes change none of these.
    pub const fn three_fields(base: EventTime) -> Reading {
        Reading { base, attributes: &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::DEFAULT_BASE;
    use crate::{ParsedEvent, parse_line, parse_record};

    fn read<'a>(record: &'a str, model: EventModel) -> ParsedEvent<'a> {
        let reading = Reading::new(DEFAULT_BASE, model);
        let event = parse_record(record.as_bytes(), b"U1", reading).unwrap();
        assert_eq!(parse_line(record.as_bytes(), reading).as_ref(), Ok(&event), "{record}");
        event
    }

    fn with(members: &str) -> String {
        format!("{{\"time\":1,\"user\":\"U1\",\"computer\":\"C1\",{members}}}")
    }

    /// The attributes that model 2 reads from these members, and how many it dropped. Checks that all else is the same in both models.
    fn taken(members: &str) -> (String, u16) {
        let record = with(members);
        let event = read(&record, EventModel::Attributes);
        let three = read(&record, EventModel::ThreeFields);
        assert_eq!((&three.attributes, three.fields_dropped), (&crate::Attributes::NONE, 0), "{record}");
        assert_eq!(ParsedEvent { attributes: three.attributes.clone(), fields_dropped: 0, ..event.clone() }, three);
        (format!("{:?}", event.attributes), event.fields_dropped)
    }

    #[test]
    fn model_2_takes_what_model_1_passes_over() {
        let all =
            r#""source_ip":"10.0.0.1","outcome":"FAILURE","mfa":false,"lat":48.137,"user_agent":"cur\u006c","other":1"#;
        let shown = r#"{"outcome": Text("failure"), "source_ip": Text("10.0.0.1"), "mfa": Int(0), "lat": Double(48.14), "user_agent": Text("curl")}"#;
        assert_eq!(taken(all), (shown.to_owned(), 0));
        assert_eq!(taken(r#""m\u0066a":true"#), (r#"{"mfa": Int(1)}"#.to_owned(), 0));
        // A line of three fields has no attributes.
        let event = parse_line(b"1,U1,C1", Reading::new(DEFAULT_BASE, EventModel::Attributes)).unwrap();
        assert!(event.attributes.is_empty());
    }

    #[test]
    fn what_is_no_value_is_dropped_and_counted_and_the_event_stays() {
        for (members, dropped) in [
            (r#""source_ip":"localhost""#, 1),
            (r#""mfa":1,"lat":"48","outcome":"maybe""#, 3),
            (r#""app":["a"],"device":{"x":1},"site":NaN"#, 3),
            (r#""app":"\ud800","device":"\q","site":"a\u0000""#, 3),
            (r#""app":"a","app":"a""#, 1),
            (r#""app":"a","app":"b","app":"c","\u0061pp":null"#, 1),
            (r#""app":null,"app":null"#, 1),
            // No values, so nothing is dropped.
            (r#""app":null,"outcome":null,"mfa":null,"lat":null"#, 0),
            (r#""app":"","outcome":" ","source_ip":"""#, 0),
        ] {
            assert_eq!(taken(members), ("{}".to_owned(), dropped), "{members}");
        }
        let not_utf8 = b"{\"time\":1,\"user\":\"U1\",\"computer\":\"C1\",\"app\":\"\xff\",\"site\":\"s\"}";
        let event = parse_record(not_utf8, b"", Reading::new(DEFAULT_BASE, EventModel::Attributes)).unwrap();
        assert_eq!((format!("{:?}", event.attributes).as_str(), event.fields_dropped), (r#"{"site": Text("s")}"#, 1));
    }

    #[test]
    fn a_record_that_is_none_is_none_under_both_models() {
        for record in
            [with(r#""app":"#), with(r#""app":'a'"#), with(r#""app":"a""app":1"#), "{\"app\":\"a\"}".to_owned()]
        {
            for model in [EventModel::ThreeFields, EventModel::Attributes] {
                assert!(parse_line(record.as_bytes(), Reading::new(DEFAULT_BASE, model)).is_err(), "{record}");
            }
        }
    }

    #[test]
    fn models_are_known_by_their_numbers() {
        let known: Vec<_> = (0..4).map(EventModel::from_number).collect();
        assert_eq!(known, [None, Some(EventModel::ThreeFields), Some(EventModel::Attributes), None]);
        assert_eq!(EventModel::default().number(), 1);
    }
}
