//! Attributes of events: how much memory they may take, which rows share them, and when they are dropped.

use authpulse_engine::rows::{AcceptedEvent, ScoredEvent};
use authpulse_engine::settings::{UNSCORED_BYTES_MAX, UNSCORED_MAX};
use authpulse_engine::{
    Incoming, NamedEvent, Output, PopularityIndex, Restoring, Settings, Shard, SourceKind, WaitingEvent,
};
use authpulse_event::attributes::ATTRIBUTES_BYTES_MAX;
use authpulse_event::time::{DEFAULT_BASE, SECOND};
use authpulse_event::{ArrivalTime, EventModel, HashRange, ParsedEvent, Position, parse_record};

/// Structs, and their sizes in bytes before there were attributes.
const BEFORE: [(usize, usize); 5] = [
    (size_of::<AcceptedEvent>(), 64),
    (size_of::<ScoredEvent>(), 88),
    (size_of::<NamedEvent>(), 112),
    (size_of::<WaitingEvent>(), 176),
    (size_of::<ParsedEvent<'static>>(), 88),
];

#[test]
fn an_event_without_attributes_takes_at_most_8_bytes_more() {
    for (now, before) in BEFORE {
        assert!(now <= before + 8, "{now} bytes, {before} before: {BEFORE:?}");
    }
}

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.time.event_model = EventModel::Attributes;
    settings
}

/// A shard that has admitted one event a second, each with the attributes that `members` gives.
fn admitted(events: i64, members: impl Fn(i64) -> String) -> (Shard, Output) {
    let mut shard = Shard::new(settings(), SourceKind::Stream, HashRange::FULL);
    let mut out = Output::default();
    for n in 0..events {
        admit(&mut shard, &mut out, 1 + n, &members(n));
    }
    (shard, out)
}

fn admit(shard: &mut Shard, out: &mut Output, second: i64, members: &str) {
    let payload = format!(r#"{{"time":{second},"user":"U1","computer":"C1"{members}}}"#);
    let reading = shard.settings().reading();
    let parsed = parse_record(payload.as_bytes(), b"U1", reading);
    let (payload, arrival) = (payload.as_bytes(), ArrivalTime::from_micros((DEFAULT_BASE + second * SECOND).micros()));
    let record = Incoming { payload, payload_bytes: payload.len() as u64, position: Position::START, arrival };
    shard.admit(record, parsed, out);
}

/// A popularity index that covers the days before the first event.
fn index(shard: &Shard) -> PopularityIndex {
    let mut index = PopularityIndex::new(shard.settings().time.lookback_days);
    let mut empty = Shard::new(settings(), SourceKind::Stream, HashRange::FULL);
    empty.advance_watermark(DEFAULT_BASE, &mut Output::default());
    empty.cut().daily_counts.iter().for_each(|counts| index.add_counts(counts));
    index
}

#[test]
fn what_is_not_scored_is_bounded_by_bytes_as_well() {
    let (shard, _) = admitted(100, |_| String::new());
    assert_eq!((shard.unscored_bytes(), shard.unscored_room()), (0, UNSCORED_MAX - 100));
    let long =
        ["app", "device", "session", "site", "role"].map(|key| format!(r#","{key}":"{}""#, "a".repeat(256))).concat();
    let (mut shard, mut out) = admitted(1, |_| long.clone());
    let of_one = shard.unscored_bytes();
    assert!(of_one > 5 * 256 && of_one < 6 * 256, "{of_one}");
    let mut second = 2;
    while shard.unscored_room() > 0 {
        admit(&mut shard, &mut out, second, &long);
        second += 1;
    }
    // Room is always kept for one event with the most attributes allowed.
    let bytes = shard.unscored_bytes();
    assert_eq!(bytes, of_one * shard.unscored_len());
    assert!((UNSCORED_BYTES_MAX - ATTRIBUTES_BYTES_MAX - of_one..=UNSCORED_BYTES_MAX).contains(&bytes), "{bytes}");
    assert!(shard.is_half_unscored());
    let half = UNSCORED_BYTES_MAX / 2 / of_one;
    assert!(admitted(half as i64 + 1, |_| long.clone()).0.is_half_unscored());
    // A child counts the bytes that it takes over, and scoring releases them.
    let mut child = Shard::inherit(settings(), HashRange::FULL, vec![shard]);
    assert_eq!(child.unscored_bytes(), bytes);
    let mut index = index(&child);
    child.score_ready(&mut index, &mut out);
    assert_eq!((child.unscored_len(), child.unscored_bytes()), (0, 0));
}

#[test]
fn rows_of_one_entry_share_what_is_equal_and_give_it_up_with_the_entry() {
    let (mut shard, mut out) = admitted(6, |n| format!(r#","app":"a{}""#, n % 2));
    let (mut index, of_one) = (index(&shard), shard.unscored_bytes() / 6);
    shard.score_ready(&mut index, &mut out);
    let address = |row: &ScoredEvent| {
        let (_, value) = row.event.attributes.iter().next().expect("an attribute");
        let authpulse_event::AttributeValue::Text(text) = value else { panic!("{value:?}") };
        text.as_ptr()
    };
    let rows = std::mem::take(&mut out.scored);
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().enumerate().all(|(n, row)| address(row) == address(&rows[n % 2])));
    assert_ne!(address(&rows[0]), address(&rows[1]));
    let held = shard.row_attribute_bytes();
    assert!(held >= 2 * of_one && held < 3 * of_one, "{held} bytes, one takes {of_one}");
    // The cut drops the shared sets: the rows of the next entry share among themselves.
    shard.cut();
    assert_eq!(shard.row_attribute_bytes(), 0);
    admit(&mut shard, &mut out, 7, r#","app":"a0""#);
    shard.score_ready(&mut index, &mut out);
    assert_eq!(out.scored[0].event.attributes, rows[0].event.attributes);
    assert_ne!(address(&out.scored[0]), address(&rows[0]));
    // Attributes do not get into the tables of names, which a shard keeps for ever.
    assert_eq!((shard.user_names().len(), shard.computer_names().len()), (1, 1));
}

#[test]
fn what_is_dropped_is_counted_whatever_becomes_of_the_record() {
    let (mut shard, mut out) = admitted(3, |_| r#","app":1,"mfa":"yes""#.to_owned());
    admit(&mut shard, &mut out, 1, r#","app":1"#);
    assert_eq!((out.counts.received, out.counts.fields_dropped), (4, 7));
    admit(&mut shard, &mut out, 5, r#","app":1,"user":"twice""#);
    assert_eq!((out.counts.rejected_total(), out.counts.fields_dropped), (2, 7));
}

#[test]
fn a_shard_that_is_rebuilt_counts_what_it_holds() {
    let (mut shard, _) = admitted(5, |n| format!(r#","site":"s{n}""#));
    let bytes = shard.unscored_bytes();
    let cut = shard.cut();
    let last = crate::service::restore_from(&cut);
    let restored = Restoring::begin(settings(), SourceKind::Stream, HashRange::FULL, last).finish();
    assert_eq!((restored.unscored_len(), restored.unscored_bytes()), (5, bytes));
    assert_eq!(restored.named_unscored()[4].event.attributes, cut.unscored[4].event.attributes);
}
