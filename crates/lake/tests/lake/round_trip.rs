//! Encoded rows are read back unchanged, whatever they hold.

use crate::common::{memory_lake, put};
use authpulse_engine::flags::{Flag, Flags};
use authpulse_engine::names::{ComputerNames, UserNames};
use authpulse_engine::rows::{
    AcceptedEvent, DayRow, EventId, HourRow, Reason, RejectedRecord, RiskLevel, ScoredEvent, Windows,
};
use authpulse_engine::rules::{LIST, Rule, RuleSet};
use authpulse_event::id::{canonical_line, content_id};
use authpulse_event::time::{DEFAULT_BASE, END_TIME, HOUR, MICROSECOND, MIN_TIME, SECOND, hour_of, start_of_hour};
use authpulse_event::{ArrivalTime, Day, EventTime, Position, ProcessingTime, SequenceNumber, ShardId, Span, TimeForm};
use authpulse_lake::encode::{
    CuratedRows, TimeRange, encode_curated, encode_daily, encode_hourly, encode_raw, encode_rejected,
};
use authpulse_lake::read::LiveFile;
use authpulse_lake::{EncodeOptions, EncodedFile, Lake, RawRecord, RawSource, Table, TableFile};
use bytes::Bytes;
use futures::executor::block_on;
use proptest::prelude::*;

/// Limits so small that a few dozen rows make several files, row groups and pages.
const SMALL: EncodeOptions =
    EncodeOptions { max_rows_per_file: 7, row_group_rows: 3, page_rows: 2, max_payload_bytes: 100 };

/// The rules of 0.1 and one whose column no table has.
const FIVE: &[Rule] = &[
    LIST[0],
    LIST[1],
    LIST[2],
    LIST[3],
    Rule { name: "LATER", column: "is_later", weight: 0, thresholds: &[], ..LIST[0] },
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{1,2}",
        "\\PC{1,30}",
        Just("é\u{10ffff}".repeat(40)),
        Just("x".repeat(256)),
        Just("ﬀ 名前 \u{202e}🦀".to_owned())
    ]
}

fn time() -> impl Strategy<Value = EventTime> {
    let end = END_TIME.micros();
    let micros = prop_oneof![
        4 => DEFAULT_BASE.micros()..(DEFAULT_BASE + 3 * HOUR).micros(),
        1 => MIN_TIME.micros()..end,
        1 => Just(MIN_TIME.micros()),
        1 => Just(end - 1),
        1 => -2i64..2,
    ];
    micros.prop_map(EventTime::from_micros)
}

/// The arrival of a record that arrives at this time.
fn arrival(time: EventTime) -> ArrivalTime {
    ArrivalTime::from_micros(time.micros())
}

/// The time at which everything is processed.
fn processed() -> ProcessingTime {
    ProcessingTime::from_micros((DEFAULT_BASE + 9 * MICROSECOND).micros())
}

#[derive(Clone, Debug)]
struct Event {
    user: String,
    computer: String,
    time: EventTime,
    own_id: Option<String>,
    form: TimeForm,
    windows: [u32; 4],
    popularity: Option<u64>,
    flags: u32,
    score: u8,
}

fn event() -> impl Strategy<Value = Event> {
    let id = (proptest::option::of("\\PC{1,20}"), any::<bool>());
    let popularity = proptest::option::of(0..u64::from(u32::MAX) << 8);
    (name(), name(), time(), id, any::<[u32; 4]>(), popularity, 0u32..32, 0u8..=100).prop_map(
        |(user, computer, time, (own_id, seconds), windows, popularity, flags, score)| {
            let whole = time > DEFAULT_BASE && (time - DEFAULT_BASE) % SECOND == Span::ZERO;
            let form = if seconds && whole { TimeForm::Seconds } else { TimeForm::Rfc3339 };
            Event { user, computer, time, own_id, form, windows, popularity, flags, score }
        },
    )
}

/// A row as text, the same before encoding and after reading.
fn spell(event: &Event) -> String {
    let id = event.own_id.clone().unwrap_or_else(|| {
        let mut line = Vec::new();
        canonical_line(&mut line, DEFAULT_BASE, event.time, event.form, &event.user, &event.computer);
        content_id(&line).iter().map(|b| char::from(*b)).collect()
    });
    let flags: Vec<_> = RuleSet::of(FIVE).names(Flags::from_bits(event.flags)).collect();
    let bits: Vec<_> = Flag::FIRST.iter().map(|f| i32::from(Flags::from_bits(event.flags).has(*f))).collect();
    format!(
        "{id} {:?} {:?} {:?} {:?} {:?} {bits:?} {flags:?} {} {} {:?} {} {:?}",
        event.time,
        event.user,
        event.computer,
        event.time + 5 * MICROSECOND,
        event.windows,
        event.score,
        RiskLevel::of(event.score).name(),
        processed(),
        Day::of(event.time),
        event.popularity,
    )
}

fn scored(events: &[Event], users: &mut UserNames, computers: &mut ComputerNames) -> Vec<ScoredEvent> {
    let row = |e: &Event| ScoredEvent {
        event: AcceptedEvent {
            event_time: e.time,
            ingestion_time: arrival(e.time + 5 * MICROSECOND),
            user: users.intern(&e.user),
            computer: computers.intern(&e.computer),
            id: e.own_id.as_deref().map_or(EventId::Content(e.form), |id| EventId::Own(id.into())),
            windows: Windows {
                logons_1h: e.windows[0],
                logons_24h: e.windows[1],
                computers_1h: e.windows[2],
                computers_24h: e.windows[3],
            },
            new_device: e.flags & 1 == 1,
            attributes: Default::default(),
        },
        popularity: e.popularity,
        flags: Flags::from_bits(e.flags),
        score: e.score,
    };
    events.iter().map(row).collect()
}

/// Puts files, checks what their descriptions say, and returns them as a table would.
fn stored(lake: &Lake, files: Vec<EncodedFile>) -> Vec<LiveFile> {
    let tables = put(lake, files, "t").unwrap();
    for file in &tables {
        let json = serde_json::to_string(file).unwrap();
        assert_eq!(&serde_json::from_str::<TableFile>(&json).unwrap(), file);
    }
    tables.iter().map(LiveFile::from).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn curated_rows_come_back_sorted(events in proptest::collection::vec(event(), 0..40), from in time(), to in time()) {
        let (lake, _, _) = memory_lake();
        let (mut users, mut computers) = (UserNames::default(), ComputerNames::default());
        let rows = scored(&events, &mut users, &mut computers);
        let (users, computers) = (users.view(), computers.view());
        let input = CuratedRows {
            rows: &rows, users: &users, computers: &computers, base: DEFAULT_BASE, rules: &RuleSet::of(FIVE), rule_set: "r1",
            processing_time: processed(), later: None,
        };
        let encoded = encode_curated(&input, &SMALL).unwrap();
        let again = encode_curated(&input, &SMALL).unwrap();
        prop_assert!(encoded.iter().zip(&again).all(|(a, b)| a.bytes == b.bytes));
        let files = stored(&lake, encoded);
        let window = TimeRange { min: from.min(to).micros(), max: from.max(to).micros() };
        let mut found = Vec::new();
        let mut within = 0;
        for file in &files {
            let mut places = Vec::new();
            let mut times: Option<TimeRange> = None;
            for batch in block_on(lake.read_curated(file, None)).unwrap() {
                for row in batch.unwrap().iter() {
                    prop_assert_eq!(row.rule_set, "r1");
                    prop_assert_eq!(Some(row.event_date.0), file.partition);
                    let counts = [row.login_count_1h, row.login_count_24h, row.unique_computers_1h, row.unique_computers_24h];
                    let bits = [row.is_new_device, row.is_burst_login, row.is_lateral_movement, row.is_rare_host];
                    places.push((hour_of(row.event_time), row.user_id.to_owned(), row.event_time));
                    let t = row.event_time.micros();
                    let old = times.unwrap_or(TimeRange { min: t, max: t });
                    times = Some(TimeRange { min: old.min.min(t), max: old.max.max(t) });
                    found.push(format!(
                        "{} {:?} {:?} {:?} {:?} {:?} {bits:?} {:?} {} {} {:?} {} {:?}",
                        row.event_id, row.event_time, row.user_id, row.computer_id, row.ingestion_time, counts,
                        row.risk_flags, row.risk_score, row.risk_level, row.processing_time, row.event_date,
                        row.host_popularity,
                    ));
                }
            }
            prop_assert!(places.is_sorted());
            prop_assert_eq!(times, file.times);
            for batch in block_on(lake.read_pairs(file, Some(window))).unwrap() {
                within += batch.unwrap().len();
            }
        }
        let mut expected: Vec<_> = events.iter().map(spell).collect();
        expected.sort_unstable();
        found.sort_unstable();
        prop_assert_eq!(found, expected);
        prop_assert_eq!(within, events.iter().filter(|e| window.contains(e.time.micros())).count());
    }

    #[test]
    fn aggregates_come_back_sorted(rows in proptest::collection::vec((time(), name(), any::<[u32; 4]>(), 0u8..=100), 0..40)) {
        let (lake, _, _) = memory_lake();
        let mut users = UserNames::default();
        let hours: Vec<_> = rows.iter().map(|(t, user, n, max)| HourRow {
            window_start: start_of_hour(hour_of(*t)),
            user: users.intern(user),
            total_logins: n[0].into(),
            unique_computers: n[1].into(),
            anomaly_count: n[2].into(),
            total_risk_score: n[3].into(),
            max_risk_score: *max,
        }).collect();
        let days: Vec<_> = rows.iter().map(|(t, computer, n, _)| DayRow {
            day: Day::of(*t),
            computer: computer.clone(),
            unique_users: n[0].into(),
            total_logins: n[1].into(),
            high_risk_events: n[2].into(),
        }).collect();
        let mut found = Vec::new();
        for file in stored(&lake, encode_hourly(&hours, &users.view(), None, &SMALL).unwrap()) {
            let mut places = Vec::new();
            for batch in block_on(lake.read_hourly(&file, None)).unwrap() {
                for r in batch.unwrap().iter() {
                    prop_assert_eq!(r.window_end, r.window_start + HOUR);
                    prop_assert!(file.times.unwrap().contains(r.window_start.micros()));
                    places.push((r.window_start, r.user_id.to_owned()));
                    found.push(format!("{:?}", (r.window_start, r.user_id, r.total_logins, r.unique_computers,
                        r.anomaly_count, r.total_risk_score, r.max_risk_score)));
                }
            }
            prop_assert!(places.is_sorted());
        }
        let mut expected: Vec<_> = hours.iter().zip(&rows).map(|(h, (_, user, _, _))| format!("{:?}",
            (h.window_start, user, h.total_logins, h.unique_computers, h.anomaly_count, h.total_risk_score,
            h.max_risk_score))).collect();
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);

        let mut found = Vec::new();
        for file in stored(&lake, encode_daily(&days, None, &SMALL).unwrap()) {
            for batch in block_on(lake.read_daily(&file, None)).unwrap() {
                found.extend(batch.unwrap().iter().map(|r| format!("{:?}",
                    (r.date, r.computer_id, r.unique_users, r.total_logins, r.high_risk_events))));
            }
        }
        let mut expected: Vec<_> = days.iter().map(|d| format!("{:?}",
            (d.day, d.computer.as_str(), d.unique_users, d.total_logins, d.high_risk_events))).collect();
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn payloads_come_back_byte_for_byte(rows in proptest::collection::vec(
        (proptest::collection::vec(any::<u8>(), 0..60), time(), any::<u64>(), 0usize..6), 0..30)) {
        let (lake, store, _) = memory_lake();
        let shard = ShardId::new("shardId-000000000000");
        let kinesis: SequenceNumber = "49590338271490256608559692538361571095921575989136588898".parse().unwrap();
        let letters: Vec<_> = rows.iter().map(|(payload, t, sub, reason)| RejectedRecord {
            reason: Reason::ALL[*reason],
            detail: format!("{payload:?}"),
            payload: payload.clone(),
            payload_bytes: payload.len() as u64 + 70_000,
            position: Position { sequence: kinesis, sub_sequence: *sub >> 1 },
            ingestion_time: arrival(*t),
        }).collect();
        let mut found = Vec::new();
        for file in stored(&lake, encode_rejected(&letters, &shard, ProcessingTime::from_micros(77), None, &SMALL).unwrap()) {
            for batch in block_on(lake.read_rejected(&file, None)).unwrap() {
                for r in batch.unwrap().iter() {
                    prop_assert_eq!((r.shard_id, r.processing_time), ("shardId-000000000000", ProcessingTime::from_micros(77)));
                    prop_assert_eq!((r.ingest_date, Some(r.ingest_date.0)), (Day::of_arrival(r.ingestion_time), file.partition));
                    prop_assert_eq!(r.sequence_number, kinesis.to_string());
                    found.push(format!("{:?}", (r.reason, r.detail, r.payload, r.payload_bytes, r.sub_sequence_number, r.ingestion_time)));
                }
            }
        }
        let mut expected: Vec<_> = letters.iter().map(|l| format!("{:?}", (l.reason.name(), l.detail.as_str(),
            &l.payload[..], l.payload_bytes, l.position.sub_sequence, l.ingestion_time))).collect();
        found.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(found, expected);

        let source = RawSource { stream: "logons".to_owned(), shard: shard.clone() };
        let raw: Vec<_> = rows.iter().map(|(payload, t, sub, _)| RawRecord {
            position: Position { sequence: kinesis, sub_sequence: *sub >> 1 },
            partition_key: Bytes::from_static("U1é".as_bytes()),
            ingestion_time: arrival(*t),
            payload: payload.clone().into(),
        }).collect();
        let mut found = 0;
        for (i, file) in encode_raw(&source, &raw, &SMALL).unwrap().into_iter().enumerate() {
            let path = file.path(&format!("r{i}"));
            let prefix = format!("raw/ingest_date={}/", file.ingest_date);
            prop_assert!(path.starts_with(&prefix));
            block_on(authpulse_lake::ObjectStore::put_new(store.as_ref(), &path, file.bytes.clone())).unwrap();
            for batch in block_on(lake.read_raw(&path)).unwrap() {
                for r in batch.unwrap().iter() {
                    let same = |w: &RawRecord| &w.payload[..] == r.payload && w.ingestion_time == r.ingestion_time;
                    prop_assert!(raw.iter().any(same));
                    prop_assert_eq!((r.stream, r.partition_key, Day::of_arrival(r.ingestion_time)), ("logons", "U1é", file.ingest_date));
                    found += 1;
                }
            }
        }
        prop_assert_eq!(found, raw.len());
    }
}

#[test]
fn no_rows_make_no_files() {
    let (users, computers) = (UserNames::default().view(), ComputerNames::default().view());
    let options = EncodeOptions::default();
    let input = CuratedRows {
        rows: &[],
        users: &users,
        computers: &computers,
        base: EventTime::default(),
        rules: &RuleSet::default(),
        rule_set: "r",
        processing_time: ProcessingTime::default(),
        later: None,
    };
    assert!(encode_curated(&input, &options).unwrap().is_empty());
    assert!(encode_hourly(&[], &users, None, &options).unwrap().is_empty());
    assert!(encode_daily(&[], None, &options).unwrap().is_empty());
    assert!(encode_rejected(&[], &ShardId::file(), ProcessingTime::default(), None, &options).unwrap().is_empty());
    let source = RawSource { stream: "logons".to_owned(), shard: ShardId::file() };
    assert!(encode_raw(&source, &[], &options).unwrap().is_empty());
}

#[test]
fn a_damaged_file_is_named_with_its_table() {
    let (lake, store, _) = memory_lake();
    let day = DayRow { day: Day(0), computer: "C1".to_owned(), unique_users: 1, total_logins: 1, high_risk_events: 0 };
    let file = stored(&lake, encode_daily(&[day], None, &EncodeOptions::default()).unwrap()).remove(0);
    let body = block_on(lake.store().get(&file.path)).unwrap();
    let replace = |body: Bytes| {
        block_on(lake.store().delete(&file.path)).unwrap();
        block_on(authpulse_lake::ObjectStore::put_new(store.as_ref(), &file.path, body)).unwrap();
    };
    let complaint = |file: &LiveFile| match block_on(lake.read_daily(file, None)) {
        Err(e) => e.to_string(),
        Ok(rows) => rows.filter_map(Result::err).map(|e| e.to_string()).collect(),
    };
    replace(body.slice(..body.len() - 1));
    let cut = complaint(&file);
    assert!(cut.contains(&file.path) && cut.contains("host_popularity_daily") && cut.contains("cut off"), "{cut}");
    let no_footer = complaint(&LiveFile { bytes: body.len() as u64 - 1, ..file.clone() });
    assert!(no_footer.contains("footer"), "{no_footer}");
    replace(body.clone());
    let count = complaint(&LiveFile { rows: 2, ..file.clone() });
    assert!(count.contains("holds 1 rows, and the table says 2"), "{count}");
    let mut flipped = body.to_vec();
    flipped[6..40].fill(0xff);
    replace(flipped.into());
    assert!(complaint(&file).contains("damaged"), "{}", complaint(&file));
    block_on(lake.store().delete(&file.path)).unwrap();
    let gone = complaint(&file);
    assert!(gone.contains("missing") && gone.contains(&file.path), "{gone}");
    assert_eq!(file.table, Table::DAILY);
}
