//! Records go in and come out.

use super::subject::{ALL, Make, NOON, after, is_refused, record, texts};
use authpulse_event::ring::hash_key;
use authpulse_event::time::MICROSECOND;
use authpulse_event::{ArrivalTime, Position, ShardId, Span};
use authpulse_stream::limits::{
    MAX_PARTITION_KEY_BYTES, MAX_PAYLOAD_BYTES, MAX_PROGRESS_BYTES, MAX_PUT_BYTES, MAX_PUT_RECORDS,
};
use authpulse_stream::{ReadFrom, ReadLimit, StreamError};
use futures::executor::block_on;

pub fn records_come_back_in_order_from_the_shard_that_owns_their_key(make: Make) {
    let s = make(5);
    let mut puts = Vec::new();
    for round in 0..4 {
        let records: Vec<_> = (0..300)
            .map(|i| record(format!("U{}", i * 7 % 90).as_bytes(), format!("{round}/{i}").as_bytes()))
            .collect();
        let receipts = s.try_put(records.clone(), None).unwrap();
        assert_eq!(receipts.len(), records.len());
        puts.extend(records.into_iter().zip(receipts));
    }
    let mut numbers: Vec<_> = puts.iter().map(|(_, receipt)| receipt.sequence.as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=1200).collect::<Vec<_>>(), "numbers are the stream's, from 1, each once");
    for shard in s.shards() {
        let read = s.read(&shard.id, ReadFrom::Start, ALL);
        let expected: Vec<_> = puts.iter().filter(|(_, receipt)| receipt.shard == shard.id).collect();
        assert!(!expected.is_empty() && read.records.len() == expected.len() && read.at_tip && !read.at_end);
        assert_eq!((read.gap, read.clock), (None, Some(NOON)));
        for (got, (put, receipt)) in read.records.iter().zip(expected) {
            assert_eq!((&got.payload, &got.partition_key), (&put.payload, &put.partition_key));
            assert_eq!(got.position, Position { sequence: receipt.sequence, sub_sequence: 0 });
            assert!(shard.range.contains(hash_key(&got.partition_key)));
        }
        assert!(read.records.windows(2).all(|pair| pair[0].position < pair[1].position));
        assert_eq!(s.tip(&shard.id), read.records.last().unwrap().position);
    }
}

pub fn reading_resumes_after_any_record(make: Make) {
    let s = make(2);
    for round in 0..3 {
        let records: Vec<_> =
            (0..40).map(|i| record(format!("U{i}").as_bytes(), format!("{round}/{i}").as_bytes())).collect();
        s.try_put(records, None).unwrap();
    }
    let s = s.reopen();
    for shard in s.shards() {
        let all = s.read_all(&shard.id);
        assert_eq!(s.read(&shard.id, ReadFrom::After(Position::START), ALL).records, all);
        for (index, record) in all.iter().enumerate() {
            let rest = s.read(&shard.id, ReadFrom::After(record.position), ALL);
            assert_eq!(rest.records, all[index + 1..]);
            assert!(rest.at_tip && rest.gap.is_none());
            let next = s.read(&shard.id, ReadFrom::After(record.position), ReadLimit { records: 1, bytes: 0 });
            assert_eq!(next.records, all[index + 1..].iter().take(1).cloned().collect::<Vec<_>>());
            assert_eq!(next.at_tip, index + 2 >= all.len());
        }
    }
}

pub fn a_read_keeps_to_its_limits_but_returns_at_least_one_record(make: Make) {
    let s = make(1);
    s.put(&[("k", "aaaa"), ("k", "bb"), ("k", "")]);
    s.put(&[("k", "cccccccc"), ("k", "d")]);
    let shard = ShardId::new("shardId-000000000000");
    for (records, bytes, expected) in [
        (0, 0, 1),
        (1, usize::MAX, 1),
        (4, usize::MAX, 4),
        (usize::MAX, 3, 1),
        (usize::MAX, 4, 1),
        (usize::MAX, 5, 1),
        (usize::MAX, 6, 3),
        (usize::MAX, 13, 3),
        (usize::MAX, 14, 4),
        (5, 15, 5),
    ] {
        let read = s.read(&shard, ReadFrom::Start, ReadLimit { records, bytes });
        assert_eq!(read.records.len(), expected, "{records} records, {bytes} bytes");
        assert_eq!(read.at_tip, expected == 5);
    }
}

pub fn a_put_of_the_greatest_size_comes_back_whole(make: Make) {
    let s = make(3);
    let records: Vec<_> =
        (0..MAX_PUT_RECORDS).map(|i| record(format!("U{}", i % 1000).as_bytes(), i.to_string().as_bytes())).collect();
    s.try_put(records, None).unwrap();
    let mut seen = vec![false; MAX_PUT_RECORDS];
    for shard in s.shards() {
        let mut from = ReadFrom::Start;
        loop {
            let read = s.read(&shard.id, from, ReadLimit { records: 7_777, bytes: usize::MAX });
            for text in texts(&read.records) {
                assert!(!std::mem::replace(&mut seen[text.parse::<usize>().unwrap()], true));
            }
            from = ReadFrom::After(read.records.last().unwrap().position);
            if read.at_tip {
                break;
            }
        }
    }
    assert!(seen.iter().all(|seen| *seen));
}

pub fn payloads_may_be_empty_long_or_not_text(make: Make) {
    let s = make(1);
    // Does not compress, so that the stored form is long as well.
    let mut state = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    })
    .take(MAX_PAYLOAD_BYTES)
    .collect();
    let payloads = [&b""[..], b"\0\xff\xfe\n", &noise[..1_048_576 + 1], &noise, b""];
    s.try_put(payloads.iter().map(|payload| record(b"k", payload)).collect(), None).unwrap();
    let read = s.read_all(&s.shards()[0].id);
    assert_eq!(read.len(), payloads.len());
    assert!(read.iter().zip(payloads).all(|(record, payload)| record.payload == payload));
}

pub fn keys_may_be_any_bytes_but_not_empty(make: Make) {
    let s = make(4);
    let long = [0xEE; MAX_PARTITION_KEY_BYTES];
    for key in [&b"\0"[..], b"\xff\xfe", "Zoë".as_bytes(), &long] {
        let receipt = s.try_put(vec![record(key, b"x")], None).unwrap().remove(0);
        let shard = s.shards().into_iter().find(|shard| shard.id == receipt.shard).unwrap();
        assert!(shard.range.contains(hash_key(key)));
        assert_eq!(s.read_all(&shard.id).last().unwrap().partition_key, key);
    }
    assert!(is_refused(s.try_put(vec![record(b"", b"x")], None)));
}

pub fn what_is_over_a_limit_is_refused_whole(make: Make) {
    let s = make(1);
    let good = record(b"k", b"x");
    let half = record(b"k", &vec![0; MAX_PAYLOAD_BYTES]);
    assert!(is_refused(s.try_put(vec![good.clone(); MAX_PUT_RECORDS + 1], None)));
    assert!(is_refused(s.try_put(vec![half; MAX_PUT_BYTES / MAX_PAYLOAD_BYTES], None)));
    assert!(is_refused(s.try_put(vec![good.clone(), record(b"k", &vec![0; MAX_PAYLOAD_BYTES + 1])], None)));
    assert!(is_refused(s.try_put(vec![good.clone()], Some(("job", &"s".repeat(MAX_PROGRESS_BYTES))))));
    assert!(is_refused(s.try_put(vec![good, record(&[b'k'; MAX_PARTITION_KEY_BYTES + 1], b"")], None)));
    assert_eq!(s.tip(&s.shards()[0].id), Position::START);
}

pub fn arrivals_never_fall(make: Make) {
    let s = make(1);
    let shard = s.shards()[0].id.clone();
    let (mut expected, mut newest) = (Vec::new(), ArrivalTime::default());
    for step in [0, 5, -3, -100, 50, 60, -1] {
        s.advance(Span::from_micros(step));
        s.put(&[("k", "x"), ("k", "y")]);
        newest = newest.max(s.now());
        expected.extend([newest; 2]);
    }
    let read = s.read(&shard, ReadFrom::Start, ALL);
    assert_eq!(read.records.iter().map(|record| record.arrival).collect::<Vec<_>>(), expected);
    assert_eq!(read.clock, None, "a clock behind the records is none");
    s.advance(newest - s.now() - MICROSECOND);
    assert_eq!(s.read(&shard, ReadFrom::Start, ALL).clock, None);
    s.advance(MICROSECOND);
    assert_eq!(s.read(&shard, ReadFrom::Start, ALL).clock, Some(newest));
    s.advance(Span::millis(1));
    assert_eq!(s.read(&shard, ReadFrom::Start, ALL).clock, Some(s.now()));
    // Also not where a stream is opened again, or a child takes over.
    s.put(&[("k", "z")]);
    let newest = s.now();
    s.advance(-500 * MICROSECOND);
    let s = s.reopen();
    let [_, child] = s.split(&shard, 1).unwrap();
    s.put(&[("k", "z")]);
    assert_eq!(s.read_all(&child)[0].arrival, newest);
}

pub fn an_empty_shard_is_at_its_tip(make: Make) {
    let s = make(2);
    for shard in s.shards() {
        let read = s.read(&shard.id, ReadFrom::Start, ALL);
        assert!(read.records.is_empty() && read.at_tip && !read.at_end && read.gap.is_none());
        assert_eq!(s.tip(&shard.id), Position::START);
    }
}

pub fn a_position_of_another_stream_is_refused(make: Make) {
    let s = make(2);
    let receipts = s.put(&[("a", "x"), ("b", "y"), ("c", "z")]);
    for shard in s.shards() {
        // Any number that the stream gave is a place in every shard; a later or a foreign one is not.
        for receipt in &receipts {
            s.read(&shard.id, after(receipt.sequence), ALL);
        }
        for foreign in ["4", "99999999999999999999", "49590338271490256608559692538361571095921575989136588898"] {
            assert!(
                is_refused(block_on(s.stream().read(&shard.id, after(foreign.parse().unwrap()), ALL))),
                "{foreign}"
            );
        }
    }
}

pub fn an_unknown_shard_is_not_found(make: Make) {
    let s = make(2);
    for name in ["shardId-000000000002", "shardId-1", "file", "", "shardId-18446744073709551615"] {
        let shard = ShardId::new(name);
        let missing = |result: Result<(), StreamError>| matches!(result, Err(StreamError::NotFound { .. }));
        assert!(missing(block_on(s.stream().read(&shard, ReadFrom::Start, ALL)).map(drop)), "{name}");
        assert!(missing(block_on(s.stream().tip(&shard)).map(drop)));
        assert!(missing(s.split(&shard, 1).map(drop)));
        assert!(missing(s.merge(&shard, &s.shards()[0].id).map(drop)));
    }
}
