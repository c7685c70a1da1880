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
