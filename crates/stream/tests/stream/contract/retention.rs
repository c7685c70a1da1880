//! What is trimmed, when, and what a consumer learns of it.

use super::subject::{ALL, Make, RETENTION, after, texts};
use authpulse_event::Position;
use authpulse_event::time::{MICROSECOND, SECOND};
use authpulse_stream::{Gap, ReadFrom, ReadLimit};

const ROUNDS: usize = 12;

pub fn nothing_is_trimmed_before_its_time(make: Make) {
    let s = make(1);
    let shard = s.shards()[0].id.clone();
    s.put(&[("k", "a")]);
    s.advance(10 * MICROSECOND);
    s.put(&[("k", "b")]);
    s.advance(RETENTION - 10 * MICROSECOND);
    assert_eq!(s.trim(), 0, "kept at least for the retention");
    s.advance(MICROSECOND);
    assert_eq!(s.trim(), 1);
    assert_eq!(texts(&s.read_all(&shard)), ["b"]);
    s.advance(-5 * RETENTION);
    assert_eq!(s.trim(), 0);
}

pub fn gaps_are_counted_exactly_from_every_position(make: Make) {
    let s = make(3);
    // Rounds of different sizes over several shards, a split midway, so that each shard's numbers have holes.
    for round in 0..ROUNDS {
        let names: Vec<_> = (0..1 + round * 5 % 11).map(|i| (format!("U{i}"), format!("{round}/{i}"))).collect();
        s.put(&names.iter().map(|(key, payload)| (&key[..], &payload[..])).collect::<Vec<_>>());
        if round == ROUNDS / 2 {
            s.split(&s.shards()[1].id, u128::MAX / 2).unwrap();
        }
        s.advance(SECOND);
    }
    let whole: Vec<_> = s.shards().into_iter().map(|shard| (shard.id.clone(), s.read_all(&shard.id))).collect();
    let newest = whole.iter().flat_map(|(_, all)| all).filter_map(|record| record.position.sequence.as_u64()).max();
    s.advance(RETENTION - ROUNDS as i64 * SECOND + MICROSECOND);
    let mut s = s;
    for step in 0..=ROUNDS {
        for (shard, all) in &whole {
            let kept = s.read_all(shard);
            assert_eq!(kept, all[all.len() - kept.len()..], "step {step}");
            let trimmed = &all[..all.len() - kept.len()];
            for sequence in 0..=newest.unwrap() {
                let lost = trimmed.iter().filter(|record| record.position.sequence > sequence.into()).count() as u64;
                let gap = (lost > 0).then_some(Gap { records: Some(lost) });
                let read = s.read(shard, after(sequence.into()), ReadLimit { records: 1, bytes: 0 });
                assert_eq!(read.gap, gap, "step {step}, shard {shard}, after {sequence}");
                let next = kept.iter().find(|record| record.position.sequence > sequence.into());
                assert_eq!(read.records.first(), next);
            }
            let gap = (!trimmed.is_empty()).then_some(Gap { records: Some(trimmed.len() as u64) });
            assert_eq!(s.read(shard, ReadFrom::Start, ALL).gap, gap);
        }
        s.trim();
        s.advance(SECOND);
        s = s.reopen();
    }
    assert!(whole.iter().all(|(shard, _)| s.read_all(shard).is_empty()));
}

pub fn a_gap_is_told_even_where_nothing_is_left(make: Make) {
    let s = make(1);
    let shard = s.shards()[0].id.clone();
    let receipts = s.put(&[("k", "a"), ("k", "b"), ("k", "c")]);
    s.advance(RETENTION + MICROSECOND);
    assert_eq!(s.trim(), 3);
    for _ in 0..2 {
        let read = s.read(&shard, after(receipts[0].sequence), ALL);
        assert!(read.records.is_empty() && read.at_tip && !read.at_end);
        assert_eq!(read.gap, Some(Gap { records: Some(2) }));
    }
    s.put(&[("k", "d")]);
    let read = s.read(&shard, after(receipts[0].sequence), ALL);
    assert_eq!((texts(&read.records), read.gap), (vec!["d"], Some(Gap { records: Some(2) })));
    assert_eq!(s.read(&shard, ReadFrom::After(s.tip(&shard)), ALL).gap, None);
}

pub fn a_put_trims_once_a_minute(make: Make) {
    let s = make(1);
    let shard = s.shards()[0].id.clone();
    let kept = || texts(&s.read_all(&shard)).join("");
    s.put(&[("k", "a")]);
    s.advance(RETENTION + SECOND);
    s.put(&[("k", "b")]);
    assert_eq!(kept(), "b", "the first put after a minute or more trims");
    s.advance(50 * SECOND);
    s.put(&[("k", "c")]);
    s.advance(RETENTION - 50 * SECOND + MICROSECOND);
    s.put(&[("k", "d")]);
    assert_eq!(kept(), "cd");
    s.advance(50 * SECOND);
    s.put(&[("k", "e")]);
    assert_eq!(kept(), "cde", "c is due, but the minute is not over");
    s.advance(10 * SECOND);
    s.put(&[("k", "f")]);
    assert_eq!(kept(), "def");
    assert_eq!(s.read(&shard, ReadFrom::Start, ALL).gap, Some(Gap { records: Some(3) }));
}

pub fn ends_and_tips_outlive_the_records(make: Make) {
    let s = make(1);
    let parent = s.shards()[0].id.clone();
    let receipts = s.put(&[("k", "a"), ("k", "b")]);
    let tip = s.tip(&parent);
    let children = s.split(&parent, 1 << 127).unwrap();
    s.advance(RETENTION + MICROSECOND);
    s.trim();
    let s = s.reopen();
    assert_eq!(s.shards().len(), 3, "a shard is not forgotten with its records");
    assert_eq!(s.tip(&parent), tip);
    let read = s.read(&parent, after(receipts[0].sequence), ALL);
    assert!(read.at_tip && read.at_end && read.records.is_empty());
    assert_eq!(read.gap, Some(Gap { records: Some(1) }));
    assert_eq!(s.read(&parent, ReadFrom::After(tip), ALL).gap, None);
    assert_eq!(s.tip(&children[0]), Position::START);
    let receipt = s.put(&[("k", "c")]).remove(0);
    assert!(receipt.sequence > tip.sequence, "numbers go on where all records are gone");
}
