use super::events::StoredId;
use super::*;
use crate::base::Base;
use authpulse_event::ATTRIBUTES;

/// An entry with something in most of its fields.
pub(crate) fn entry() -> Entry {
    Entry {
        format: FORMAT,
        shard: "shardId-000000000001".to_owned(),
        n: 7,
        epoch: 2,
        commit_id: "c".to_owned(),
        written_at: 1,
        takes_over: false,
        source: Source::Stream { name: "auth".to_owned(), created: 5, shard_id: "shardId-1".to_owned() },
        range: HashRange::FULL.to_string(),
        inherits: Vec::new(),
        from: Position::START.into(),
        to: Place { sequence: "49590338271490256608559692538361571095921575989136588898".to_owned(), sub_sequence: 3 },
        counts: EntryCounts { received: 3, curated: 1, waiting: 1, unscored: 1, ..EntryCounts::default() },
        watermark: Some(-5),
        rises: vec![Rise { after: Position::START.into(), to: 9, cause: "idle".to_owned() }],
        newest_accepted: None,
        last_accepted_live: true,
        hours_through: None,
        shares_through: Some(-3),
        score_spans: vec![Span { range: HashRange::FULL.to_string(), through: None }],
        daily_through: None,
        waiting: vec![Waiting {
            time: 1,
            user: "U1".to_owned(),
            computer: "C1".to_owned(),
            id: StoredId::Own("x".to_owned()),
            payload: "00ff7b".to_owned(),
            payload_bytes: 3,
            at: Position::START.into(),
            arrival: 2,
            accepted_since: 9,
            attributes: StoredAttributes::default(),
        }],
        side: Side::default(),
        side_file: None,
        files: Vec::new(),
        raw: Vec::new(),
        raw_done: 0,
        snapshot: Vec::new(),
        last_snapshot: 0,
        gaps: Vec::new(),
        read_to_end: false,
        settled: false,
        end: false,
        sealed: None,
        time_rules: (&TimeRules::default()).into(),
        rule_set: "r".to_owned(),
        backfill: None,
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    let entry = entry();
    let shard = ShardId::new(&entry.shard);
    let read = Entry::decode(&shard, 7, &entry.encode()).unwrap();
    assert_eq!(read, entry);
    let from = read.restore_from(&read.side, ATTRIBUTES).unwrap();
    assert_eq!(from.waiting[0].payload, b"\x00\xff{");
    assert_eq!(Waiting::from(&from.waiting[0]), entry.waiting[0]);
    assert!(entry.counts.adds_up());
}

#[test]
fn newer_damaged_and_misplaced_entries_are_told_apart() {
    let shard = ShardId::new("shardId-000000000001");
    let newer = Entry { format: FORMAT + 1, ..entry() };
    assert!(matches!(Entry::decode(&shard, 7, &newer.encode()), Err(EntryError::Newer { .. })));
    let older = Entry { format: 1, ..entry() };
    assert_eq!(Entry::decode(&shard, 7, &older.encode()), Ok(older));
    // Where all but the last entries are folded, theirs is what tells.
    let base = |format| Base::new(Entry { format, ..entry() }, &Side::default()).encode();
    assert!(Base::decode(&shard, 7, &base(1)).is_ok() && Base::decode(&shard, 7, &base(FORMAT)).is_ok());
    let error = Base::decode(&shard, 7, &base(FORMAT + 1)).unwrap_err();
    assert!(matches!(error, EntryError::Newer { format, newest: FORMAT, .. } if format == FORMAT + 1), "{error}");
    assert!(Entry::decode(&shard, 8, &entry().encode()).unwrap_err().to_string().contains("says it is entry 7"));
    let bytes = entry().encode();
    for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(Entry::decode(&shard, 7, &bytes[..cut]), Err(EntryError::Damaged { .. })));
    }
}

fn attributes(members: &[(&str, serde_json::Value)]) -> StoredAttributes {
    let members: serde_json::Map<_, _> =
        members.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    serde_json::from_value(members.into()).unwrap()
}

/// An entry whose events carry something.
fn with_attributes() -> Entry {
    let mut entry = entry();
    entry.time_rules.event_model = 2;
    entry.waiting[0].attributes = attributes(&[("app", "mail \"2\"".into()), ("mfa", true.into())]);
    entry.side.unscored.push(Unscored {
        time: 5,
        arrival: 6,
        user: "U1".to_owned(),
        computer: "C1".to_owned(),
        id: StoredId::Seconds,
        windows: [1, 2, 3, 4],
        new_device: true,
        attributes: attributes(&[("lat", 47.38.into()), ("lon", (-8.5).into()), ("source_ip", "10.0.0.7".into())]),
    });
    entry
}

fn json(entry: &Entry) -> serde_json::Value {
    serde_json::to_value(entry).unwrap()
}

#[test]
fn attributes_come_back_as_they_were_stored() {
    let entry = with_attributes();
    let read = Entry::decode(&ShardId::new(&entry.shard), 7, &entry.encode()).unwrap();
    assert_eq!(read, entry);
    let from = read.restore_from(&read.side, ATTRIBUTES).unwrap();
    let shown = |attributes: &authpulse_event::Attributes| format!("{attributes:?}");
    assert_eq!(shown(&from.waiting[0].attributes), r#"{"mfa": Int(1), "app": Text("mail \"2\"")}"#);
    let unscored = &from.unscored[0].event.attributes;
    assert_eq!(shown(unscored), r#"{"source_ip": Text("10.0.0.7"), "lat": Double(47.38), "lon": Double(-8.5)}"#);
    assert_eq!(Waiting::from(&from.waiting[0]), entry.waiting[0]);
    assert_eq!(Unscored::from(&from.unscored[0]), entry.side.unscored[0]);
    // Whoever asks for none gets the event without.
    assert!(read.restore_from(&read.side, &[]).unwrap().waiting[0].attributes.is_empty());
    // What they take up counts where it is decided whether a side is small.
    let long = Side {
        unscored: vec![Unscored {
            attributes: attributes(&[("app", "a".repeat(1_000).into())]),
            ..entry.side.unscored[0].clone()
        }],
        ..Side::default()
    };
    assert!(long.size_estimate() > 1_000 && entry.side.size_estimate() < 300, "{}", entry.side.size_estimate());
}

/// What an entry stored before there were attributes is what it would be today.
#[test]
fn what_is_not_used_leaves_no_trace_in_an_entry() {
    let mut entry = entry();
    entry
        .side
        .unscored
        .push(Unscored { attributes: StoredAttributes::default(), ..with_attributes().side.unscored.remove(0) });
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

/// Another program's attributes are carried on with an entry that repeats its events, and left out by whoever takes those up.
#[test]
fn attributes_that_nobody_here_knows_are_carried_on_and_left_out() {
    let mut entry = with_attributes();
    let newer =
        attributes(&[("app", "mail".into()), ("mood", "good".into()), ("mfa", 3.into()), ("site", vec![1].into())]);
    entry.side.unscored[0].attributes = newer;
    let read = Entry::decode(&ShardId::new(&entry.shard), 7, &entry.encode()).unwrap();
    assert_eq!(read.encode(), entry.encode());
    assert_eq!(json(&read)["side"]["unscored"][0]["attributes"]["mood"], "good");
    let from = read.restore_from(&read.side, ATTRIBUTES).unwrap();
    assert_eq!(format!("{:?}", from.unscored[0].event.attributes), r#"{"app": Text("mail")}"#);
}

#[test]
fn an_event_model_that_nobody_here_knows_is_of_a_newer_program() {
    let shard = ShardId::new("shardId-000000000001");
    let mut newer = entry();
    newer.time_rules.event_model = 3;
    let error = Entry::decode(&shard, 7, &newer.encode()).unwrap_err();
    assert!(matches!(error, EntryError::Newer { format: 3, newest: 2, .. }), "{error}");
    assert!(error.to_string().contains("the event model of entry 7"), "{error}");
    let error = Base::decode(&shard, 7, &Base::new(newer, &Side::default()).encode()).unwrap_err();
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
    let mut base = Base::new(with(1, 3), &Side::default());
    base.add(with(2, 4), &Side::default());
    assert_eq!(base.fields_dropped, 7);
    let none = Base::new(with(1, 0), &Side::default());
    assert!(!serde_json::to_string(&none).unwrap().contains("fields_dropped"));
}
