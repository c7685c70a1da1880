use super::*;
use crate::checkpoint::Checkpoint;
use crate::entry::tests::entry;
use crate::entry::{Entry, EntryCounts, EntryError, Spill};
use crate::section_list::SectionList;
use authpulse_engine::Counts;
use authpulse_event::{ATTRIBUTES, EventModel, ShardId};

fn attributes(members: &[(&str, serde_json::Value)]) -> StoredAttributes {
    let members: serde_json::Map<_, _> =
        members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    serde_json::from_value(members.into()).unwrap()
}

/// An entry whose events have attributes.
fn with_attributes() -> Entry {
    let mut entry = entry();
    entry.time_rules.event_model = 2;
    entry.waiting[0].attributes = attributes(&[("app", "mail \"2\"".into()), ("mfa", true.into())]);
    entry.spill.unscored.push(Unscored {
        time: EventTime::from_micros(5),
        arrival: ArrivalTime::from_micros(6),
        user: "U1".to_owned(),
        computer: "C1".to_owned(),
        id: StoredId::Seconds,
        windows: [1, 2, 3, 4],
        new_device: true,
        attributes: attributes(&[("lat", 47.38.into()), ("lon", (-8.5).into()), ("source_ip", "10.0.0.7".into())]),
    });
    entry
}

/// The entry as a program without sections reads it.
fn read(entry: &Entry) -> Result<Entry, EntryError> {
    Entry::decode(&ShardId::new(&entry.shard), entry.n, &entry.encode(), &SectionList::default())
}

fn json(entry: &Entry) -> serde_json::Value {
    serde_json::to_value(entry).unwrap()
}

#[test]
fn attributes_come_back_as_they_were_stored() {
    let entry = with_attributes();
    let read = read(&entry).unwrap();
    assert_eq!(read, entry);
    let from = read.restore_from(&read.spill, ATTRIBUTES).unwrap();
    let shown = |attributes: &authpulse_event::Attributes| format!("{attributes:?}");
    assert_eq!(shown(&from.waiting[0].attributes), r#"{"mfa": Int(1), "app": Text("mail \"2\"")}"#);
    let unscored = &from.unscored[0].event.attributes;
    assert_eq!(shown(unscored), r#"{"source_ip": Text("10.0.0.7"), "lat": Double(47.38), "lon": Double(-8.5)}"#);
    assert_eq!(Waiting::from(&from.waiting[0]), entry.waiting[0]);
    assert_eq!(Unscored::from(&from.unscored[0]), entry.spill.unscored[0]);
    // A program that asks for no attributes gets the event without any.
    assert!(read.restore_from(&read.spill, &[]).unwrap().waiting[0].attributes.is_empty());
    // Their size counts when it is decided whether a spill is small.
    let long = Spill {
        unscored: vec![Unscored {
            attributes: attributes(&[("app", "a".repeat(1_000).into())]),
            ..entry.spill.unscored[0].clone()
        }],
        ..Spill::default()
    };
    assert!(long.size_estimate() > 1_000 && entry.spill.size_estimate() < 300, "{}", entry.spill.size_estimate());
}

/// What an entry stored before there were attributes is what it would store today.
#[test]
fn what_is_not_used_leaves_no_trace_in_an_entry() {
    let mut entry = entry();
    entry
        .spill
        .unscored
        .push(Unscored { attributes: StoredAttributes::default(), ..with_attributes().spill.unscored.remove(0) });
    let text = json(&entry).to_string();
    for word in ["attributes", "event_model", "fields_dropped"] {
        assert!(!text.contains(word), "{word}: {text}");
    }
    assert_eq!(entry.event_model(), Ok(EventModel::ThreeFields));
    let dropped = Counts { received: 3, fields_dropped: 2, ..Counts::default() };
    entry.counts = EntryCounts::new(&dropped, (0, 0), (0, 0));
    assert_eq!(json(&entry)["counts"]["fields_dropped"], 2);
    assert_eq!(json(&with_attributes())["time_rules"]["event_model"], 2);
}

/// An entry that repeats another's events keeps attributes of other programs; a program that takes the events up leaves them out.
#[test]
fn attributes_that_nobody_here_knows_are_carried_on_and_left_out() {
    let mut entry = with_attributes();
    let newer =
        attributes(&[("app", "mail".into()), ("mood", "good".into()), ("mfa", 3.into()), ("site", vec![1].into())]);
    entry.spill.unscored[0].attributes = newer;
    let read = read(&entry).unwrap();
    assert_eq!(read.encode(), entry.encode());
    assert_eq!(json(&read)["side"]["unscored"][0]["attributes"]["mood"], "good");
    let from = read.restore_from(&read.spill, ATTRIBUTES).unwrap();
    assert_eq!(format!("{:?}", from.unscored[0].event.attributes), r#"{"app": Text("mail")}"#);
}

#[test]
fn an_event_model_that_nobody_here_knows_is_of_a_newer_program() {
    let shard = ShardId::new("shardId-000000000001");
    let mut newer = entry();
    newer.time_rules.event_model = 3;
    let error = read(&newer).unwrap_err();
    assert!(matches!(error, EntryError::Newer { format: 3, newest: 2, .. }), "{error}");
    assert!(error.to_string().contains("the event model of entry 7"), "{error}");
    let error =
        Checkpoint::decode(&shard, 7, &Checkpoint::new(newer, &Spill::default()).encode(), &SectionList::default())
            .unwrap_err();
    assert!(matches!(error, EntryError::Newer { .. }), "{error}");
    assert_eq!(with_attributes().event_model(), Ok(EventModel::Attributes));
}

#[test]
fn what_is_dropped_stays_counted_where_entries_are_folded() {
    let with = |n, fields_dropped| {
        let mut entry = Entry { n, ..entry() };
        entry.counts.fields_dropped = fields_dropped;
        entry
    };
    let mut checkpoint = Checkpoint::new(with(1, 3), &Spill::default());
    checkpoint.add(with(2, 4), &Spill::default());
    assert_eq!(checkpoint.fields_dropped, 7);
    let none = Checkpoint::new(with(1, 0), &Spill::default());
    assert!(!serde_json::to_string(&none).unwrap().contains("fields_dropped"));
}
