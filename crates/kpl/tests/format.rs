//! Tests of the format: with records that others wrote, at its limits, and in both directions.

use bytes::Bytes;
use kpl_aggregation::{Aggregate, Aggregator, Damage, Limits, MAGIC, Payload, UserRecord, hash_key, parse};
use proptest::prelude::*;

fn hex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// `message` between the magic bytes and its MD5.
fn framed(message: &[u8]) -> Bytes {
    [&MAGIC[..], message, &hash_key(message).to_be_bytes()].concat().into()
}

fn aggregate(data: &Bytes) -> Aggregate {
    match parse(data) {
        Payload::Aggregate(aggregate) => aggregate,
        other => panic!("{other:?}"),
    }
}

fn records(data: &Bytes) -> Vec<UserRecord> {
    aggregate(data).records().collect()
}

fn put_together(records: &[UserRecord]) -> Bytes {
    let mut aggregator = Aggregator::new(Limits { bytes: 1 << 20, records: usize::MAX });
    for record in records {
        assert!(aggregator.push(record));
    }
    let reckoned = aggregator.encoded_len();
    let out = aggregator.take().unwrap();
    assert!(records.len() == 1 || out.data.len() == reckoned);
    out.data
}

fn with_hash_key(key: &'static str, hash_key: u128, data: &'static str) -> UserRecord {
    UserRecord { explicit_hash_key: Some(hash_key), ..UserRecord::new(key, data) }
}

/// The bytes are those of the format's definition, one by one.
#[test]
fn bytes_are_those_of_the_definition() {
    let (pk1, pk2) = (UserRecord::new("pk1", "hello"), UserRecord::new("pk2", "world"));
    let two =
        hex("f3899ac20a03706b310a03706b321a0908001a0568656c6c6f1a0908011a05776f726c6487c22af1ed18e292eb55b018413a3cff");
    assert_eq!(put_together(&[pk1.clone(), pk2.clone()]), two);
    assert_eq!(records(&two), [pk1, pk2]);
    let three = [with_hash_key("u1", 0, "a"), with_hash_key("u1", u128::MAX, ""), UserRecord::new("u2", "b")];
    let bytes = hex(concat!(
        "f3899ac20a0275310a02753212013012273334303238323336363932303933383436333436333337343630373433313736383231313435",
        "351a07080010001a01611a06080010011a001a0508011a0162df4351479ca56dcff6a03f82e6c628f8"
    ));
    assert_eq!(put_together(&three), bytes);
    assert_eq!(records(&bytes), three);
    // An aggregate of a single record. The KPL never writes one, but readers must accept it.
    assert_eq!(records(&hex("f3899ac20a01781a0408001a001b937f9792c4841e1d2c392dc479dd1f")), [UserRecord::new("x", "")]);
}

#[test]
fn hash_keys_are_those_of_kinesis() {
    for (key, decimal) in [
        ("pk1", "329398341438914906102347661116985167824"),
        ("pk2", "122875064651314509700510597659732835739"),
        ("u1", "303683425387344438270480526878860602804"),
        ("a", "16955237001963240173058271559858726497"),
        ("ü", "255482112228542481294366945247899473731"),
    ] {
        assert_eq!(hash_key(key.as_bytes()).to_string(), decimal);
        assert_eq!(UserRecord::new(key, "").hash_key().to_string(), decimal);
    }
    assert_eq!(with_hash_key("u1", 7, "").hash_key(), 7);
}

#[test]
fn what_the_kpl_wrote_is_read_and_written_alike() {
    let with_keys = Bytes::from_static(include_bytes!("data/kpl-with-hash-keys.bin"));
    let read = records(&with_keys);
    assert_eq!(read.len(), 4);
    assert_eq!(
        read[0],
        with_hash_key(
            "fc03dd88-3e79-448a-b01a-7cf1bd47b784",
            38_486_495_867_508_399_078_159_723_846_051_807_020,
            "RECORD 22 peeobhczbzdmskboupgyq\n"
        )
    );
    assert_eq!(read[3].data, "RECORD 25 nvffvpmuogdopjhamevrk\n");
    assert_eq!(put_together(&read), with_keys);

    let without = Bytes::from_static(include_bytes!("data/kpl-no-hash-keys.bin"));
    let read = records(&without);
    assert_eq!(read.len(), 8);
    assert_eq!(read[0], UserRecord::new("78feb12a-dba0-45ca-a91e-bb1f2f1819b4", "RECORD 18 iklrpsvyhxnerodfeheru\n"));
    assert_eq!(read[7].data, "RECORD 25 txbbvnozrwsboxuomqboq\n");
    assert_eq!(put_together(&read), without);

    let shared = Bytes::from_static(include_bytes!("data/kpl-shared-keys.bin"));
    let read = records(&shared);
    let data = ["2005", "2006", "2007", "2008"].map(|n| format!("RECORD {n} pjqrcfbxafzdndzmbgane"));
    assert_eq!(read.iter().map(|r| &r.data[..]).collect::<Vec<_>>(), data.each_ref().map(|d| d.as_bytes()));
    assert!(read.iter().all(|r| r.partition_key == "1562602074896"));
    assert_eq!(put_together(&read), shared);
}

#[test]
fn what_only_begins_like_an_aggregate_is_plain() {
    let good = framed(b"\x0a\x01k\x1a\x05\x08\x00\x1a\x01x");
    assert_eq!(records(&good).len(), 1);
    let mut wrong_digest = good.to_vec();
    *wrong_digest.last_mut().unwrap() ^= 1;
    let plain: [(&str, Bytes); 12] = [
        ("nothing", Bytes::new()),
        ("three bytes", Bytes::copy_from_slice(&MAGIC[..3])),
        ("the magic alone", Bytes::copy_from_slice(&MAGIC)),
        ("the magic and a digest of nothing", framed(b"")),
        ("a payload that begins with the magic", [&MAGIC[..], b"{\"time\":1,\"user\":\"U1\"}"].concat().into()),
        ("wrong digest", wrong_digest.into()),
        ("one byte short", good.slice(..good.len() - 1)),
        ("another magic", [b"\xF3\x89\x9A\xC3", &good[4..]].concat().into()),
        ("cut off, with the right digest", framed(b"\x0a\x01k\x1a\x05\x08\x00\x1a")),
        ("no payload", framed(b"\x0a\x01k\x1a\x02\x08\x00")),
        ("no index of a key", framed(b"\x0a\x01k\x1a\x03\x1a\x01x")),
        ("a tag without its key", framed(b"\x0a\x01k\x1a\x09\x08\x00\x1a\x01x\x22\x02\x12\x00")),
    ];
    for (what, data) in plain {
        assert!(matches!(parse(&data), Payload::Plain), "{what}");
    }
}

#[test]
fn any_order_unknown_fields_and_tags_are_read() {
    let one = [UserRecord::new("k", "x")];
    for (what, message) in [
        ("the table after the records", &b"\x1a\x05\x08\x00\x1a\x01x\x0a\x01k"[..]),
        ("the payload before its key", b"\x0a\x01k\x1a\x05\x1a\x01x\x08\x00"),
        ("unknown fields", b"\x7a\x02zz\x0a\x01k\x1a\x07\x08\x00\x78\x07\x1a\x01x\x78\x01"),
        ("a tag", b"\x0a\x01k\x1a\x0d\x08\x00\x1a\x01x\x22\x06\x0a\x01t\x12\x01v"),
        ("a key that stands twice: the last counts", b"\x0a\x01j\x0a\x01k\x1a\x07\x08\x00\x08\x01\x1a\x01x"),
        ("a number too long for its value", b"\x0a\x01k\x1a\x06\x08\x80\x00\x1a\x01x"),
        ("a hash key that no record names", b"\x0a\x01k\x12\x01?\x1a\x05\x08\x00\x1a\x01x"),
    ] {
        assert_eq!(records(&framed(message)), one, "{what}");
    }
    let none = aggregate(&framed(b"\x0a\x01k"));
    assert!(none.is_empty() && none.get(0).is_none(), "keys and no record: nothing at all");
}

#[test]
fn what_a_writer_got_wrong_is_told_whole() {
    for (message, damage) in [
        (
            &b"\x0a\x01k\x1a\x05\x08\x00\x1a\x01x\x1a\x05\x08\x01\x1a\x01y"[..],
            Damage::Index { record: 1, index: 1, entries: 1 },
        ),
        (b"\x0a\x01k\x1a\x07\x08\x00\x10\x00\x1a\x01x", Damage::Index { record: 0, index: 0, entries: 0 }),
        (b"\x1a\x05\x08\x00\x1a\x01x", Damage::Index { record: 0, index: 0, entries: 0 }),
        (b"\x0a\x01k\x12\x01x\x1a\x07\x08\x00\x10\x00\x1a\x01x", Damage::HashKey { record: 0 }),
        (b"\x0a\x01k\x12\x02-1\x1a\x07\x08\x00\x10\x00\x1a\x01x", Damage::HashKey { record: 0 }),
        (b"\x0a\x01\xff\x1a\x05\x08\x00\x1a\x01x", Damage::PartitionKey { record: 0 }),
    ] {
        match parse(&framed(message)) {
            Payload::Damaged(found) => assert_eq!(found, damage),
            other => panic!("{damage:?}: {other:?}"),
        }
    }
    let just_too_large = b"\x0a\x01k\x12\x27340282366920938463463374607431768211456\x1a\x07\x08\x00\x10\x00\x1a\x01x";
    assert!(matches!(parse(&framed(just_too_large)), Payload::Damaged(Damage::HashKey { record: 0 })));
}

/// A key is in its table once but may belong to a million records: a caller that copies a long one for each runs out of memory.
#[test]
fn a_key_is_no_longer_than_kinesis_takes() {
    for (key, is_taken) in [("ü".repeat(256), true), ("x".repeat(257), false), ("x".repeat(300_000), false)] {
        let records = [UserRecord::new(key.clone(), "1"), UserRecord::new(key, "2")];
        match parse(&put_together(&records)) {
            Payload::Aggregate(_) => assert!(is_taken),
            Payload::Damaged(damage) => assert!(!is_taken && damage == Damage::PartitionKey { record: 0 }),
            Payload::Plain => panic!("it is an aggregate"),
        }
    }
}

#[test]
fn the_number_of_records_is_bounded() {
    let most = kpl_aggregation::MAX_USER_RECORDS;
    let mut message = b"\x0a\x01k".to_vec();
    (0..most).for_each(|_| message.extend_from_slice(b"\x1a\x04\x08\x00\x1a\x00"));
    assert_eq!(aggregate(&framed(&message)).len(), most);
    message.extend_from_slice(b"\x1a\x04\x08\x00\x1a\x00");
    assert!(matches!(parse(&framed(&message)), Payload::Damaged(Damage::TooMany)));
    let keys = b"\x0a\x00".repeat(most + 1);
    assert!(matches!(parse(&framed(&keys)), Payload::Damaged(Damage::TooMany)));
}

#[test]
fn an_aggregate_is_of_one_shard_or_fits_none() {
    let data = put_together(&[UserRecord::new("pk1", "hello"), UserRecord::new("pk2", "world")]);
    let half = 1u128 << 127;
    let aggregate = aggregate(&data);
    assert!(aggregate.fits(0, u128::MAX));
    assert!(!aggregate.fits(0, half - 1) && !aggregate.fits(half, u128::MAX), "pk1 lies above, pk2 below");
}

#[test]
fn an_aggregator_is_full_by_bytes_or_records() {
    let record = |n: usize| UserRecord::new(format!("U{n}"), vec![b'x'; 100]);
    let mut by_bytes = Aggregator::new(Limits { bytes: 1_000, records: 100 });
    let taken = (0..100).take_while(|n| by_bytes.push(&record(*n))).count();
    // 20 bytes of frame, and 4 for each key and 106 for each record.
    assert_eq!((taken, by_bytes.len(), by_bytes.encoded_len()), (8, 8, 20 + 8 * (4 + 106)));
    assert_eq!(by_bytes.take().unwrap().data.len(), 900);
    assert!(by_bytes.is_empty() && by_bytes.take().is_none());
    let mut by_records = Aggregator::new(Limits { bytes: 1_000, records: 3 });
    assert_eq!((0..9).take_while(|n| by_records.push(&record(*n))).count(), 3);
    let large = UserRecord::new("k", vec![b'x'; 5_000]);
    let mut one = Aggregator::new(Limits { bytes: 1_000, records: 3 });
    assert!(one.push(&large) && !one.push(&large), "the first one always fits");
    assert_eq!(one.take().unwrap().data, large.data);
}

#[test]
fn one_record_goes_as_it_is_unless_it_would_be_taken_apart() {
    let mut aggregator = Aggregator::new(Limits::default());
    let alone = with_hash_key("k", 5, "payload");
    aggregator.push(&alone);
    let out = aggregator.take().unwrap();
    assert_eq!((out.partition_key, out.explicit_hash_key, out.data), ("k".into(), Some(5), "payload".into()));
    let nested = UserRecord::new("k", put_together(&[UserRecord::new("a", "1"), UserRecord::new("b", "2")]));
    aggregator.push(&nested);
    assert_eq!(records(&aggregator.take().unwrap().data), [nested]);
    // An aggregate of two has the KPL's partition key and the first record's place on the ring.
    aggregator.push(&UserRecord::new("pk1", "1"));
    aggregator.push(&alone);
    let out = aggregator.take().unwrap();
    assert_eq!((out.partition_key, out.explicit_hash_key), ("a".into(), Some(hash_key(b"pk1"))));
}

fn user_record() -> impl Strategy<Value = UserRecord> {
    let key = prop_oneof!["[a-c]", "\\PC{1,40}"];
    let place = proptest::option::of(prop_oneof![0u128..3, any::<u128>()]);
    (key, place, proptest::collection::vec(any::<u8>(), 0..300)).prop_map(|(key, explicit_hash_key, data)| UserRecord {
        partition_key: key.into(),
        explicit_hash_key,
        data: data.into(),
    })
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(given in proptest::collection::vec(user_record(), 2..80)) {
        prop_assert_eq!(records(&put_together(&given)), given);
    }

    #[test]
    fn aggregates_keep_their_limits_and_the_order(
        given in proptest::collection::vec(user_record(), 1..200), bytes in 100usize..3_000, most in 1usize..40
    ) {
        let mut aggregator = Aggregator::new(Limits { bytes, records: most });
        let mut out = Vec::new();
        for record in &given {
            if !aggregator.push(record) {
                out.extend(aggregator.take());
                prop_assert!(aggregator.push(record));
            }
        }
        out.extend(aggregator.take());
        let mut back = Vec::new();
        for one in &out {
            prop_assert!(one.user_records <= most);
            if one.user_records == 1 {
                back.push(UserRecord {
                    partition_key: one.partition_key.clone(),
                    explicit_hash_key: one.explicit_hash_key,
                    data: one.data.clone(),
                });
            } else {
                prop_assert!(one.data.len() <= bytes);
                back.extend(records(&one.data));
            }
        }
        prop_assert_eq!(back, given);
    }

    #[test]
    fn no_bytes_make_it_fail(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse(&framed(&message));
        parse(&message.into());
    }

    #[test]
    fn a_changed_byte_never_changes_a_record_unseen(
        given in proptest::collection::vec(user_record(), 2..10), at in any::<prop::sample::Index>(), flip in 1u8..
    ) {
        let mut data = put_together(&given).to_vec();
        let at = at.index(data.len());
        data[at] ^= flip;
        prop_assert!(matches!(parse(&data.into()), Payload::Plain));
    }

    #[test]
    fn a_changed_message_under_a_right_digest_is_read_or_refused(
        given in proptest::collection::vec(user_record(), 2..10), at in any::<prop::sample::Index>(), flip in 1u8..
    ) {
        let data = put_together(&given);
        let mut message = data[4..data.len() - 16].to_vec();
        let at = at.index(message.len());
        message[at] ^= flip;
        if let Payload::Aggregate(aggregate) = parse(&framed(&message)) {
            prop_assert_eq!(aggregate.records().count(), aggregate.len());
        }
    }
}
