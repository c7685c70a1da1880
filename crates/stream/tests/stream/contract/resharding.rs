//! Splits, merges, and the end of a stream.

use super::subject::{ALL, Make, Subject, is_refused, record, texts};
use authpulse_event::ring::hash_key;
use authpulse_event::{HashRange, Position, ShardId};
use authpulse_stream::ReadFrom;

const USERS: [&str; 12] = ["U1", "U2", "U3", "U4", "U5", "U6", "U7", "U8", "U9", "U10", "U11", "U12"];

fn put_everyone(s: &Subject, payload: &str) {
    s.put(&USERS.map(|user| (user, payload)));
}

/// Whether the open shards divide the ring, and every user's next record goes to the one that owns it.
fn assert_whole(s: &Subject) {
    let mut open = s.open_shards();
    open.sort_by_key(|shard| shard.range);
    assert!(HashRange::cover_ring(open.iter().map(|shard| shard.range)));
    assert!(open.windows(2).all(|pair| pair[0].range.last + 1 == pair[1].range.first));
    for user in USERS {
        let receipt = s.put(&[(user, "probe")]).remove(0);
        let owner = open.iter().find(|shard| shard.range.contains(hash_key(user.as_bytes()))).unwrap();
        assert_eq!(receipt.shard, owner.id);
        assert_eq!(s.tip(&owner.id).sequence, receipt.sequence);
    }
}

fn assert_ended(s: &Subject, shard: &ShardId) {
    let tip = s.tip(shard);
    for from in [ReadFrom::Start, ReadFrom::After(tip)] {
        let read = s.read(shard, from, ALL);
        assert!(read.at_tip && read.at_end);
    }
}

pub fn a_split_divides_the_range_and_children_go_on(make: Make) {
    let s = make(2);
    put_everyone(&s, "before");
    let [left, right] = [s.shards()[0].clone(), s.shards()[1].clone()];
    let tip = s.tip(&left.id);
    let at = left.range.last / 2 + 7;
    let children = s.split(&left.id, at).unwrap();
    assert_eq!(children, [ShardId::new("shardId-000000000002"), ShardId::new("shardId-000000000003")]);
    let s = s.reopen();
    let shards = s.shards();
    assert_eq!(shards.len(), 4);
    assert!(shards[0].closed && shards[0].range == left.range && shards[1] == right);
    for (child, range) in shards[2..]
        .iter()
        .zip([HashRange { first: left.range.first, last: at - 1 }, HashRange { first: at, last: left.range.last }])
    {
        assert_eq!((child.range, &child.parents, child.closed), (range, &vec![left.id.clone()], false));
        assert_eq!(s.tip(&child.id), Position::START);
    }
    assert_ended(&s, &left.id);
    assert!(!s.read_all(&left.id).is_empty());
    put_everyone(&s, "after");
    assert_eq!(s.tip(&left.id), tip, "a closed shard takes nothing");
    for child in &children {
        assert!(s.read_all(child).iter().all(|record| record.position > tip && record.payload == "after"));
    }
    assert_whole(&s);
}

pub fn a_merge_unites_neighbours_in_either_order(make: Make) {
    for swapped in [false, true] {
        let s = make(3);
        put_everyone(&s, "before");
        let [a, b, c] = [0, 1, 2].map(|i| s.shards()[i].clone());
        let child = if swapped { s.merge(&c.id, &b.id) } else { s.merge(&b.id, &c.id) }.unwrap();
        let s = s.reopen();
        let shards = s.shards();
        assert_eq!(shards[3].id, child);
        assert_eq!(shards[3].range, HashRange { first: b.range.first, last: c.range.last });
        assert_eq!(shards[3].parents, [b.id.clone(), c.id.clone()]);
        assert!(!shards[0].closed && shards[1].closed && shards[2].closed);
        put_everyone(&s, "after");
        for parent in [&b.id, &c.id] {
            assert_ended(&s, parent);
            assert!(s.read_all(&child).iter().all(|record| record.position > s.tip(parent)));
        }
        assert!(!s.read(&a.id, ReadFrom::Start, ALL).at_end);
        assert_whole(&s);
    }
}

pub fn contradictory_requests_are_refused_and_change_nothing(make: Make) {
    let s = make(3);
    let [a, b, c] = [0, 1, 2].map(|i| s.shards()[i].clone());
    let [a1, a2] = s.split(&a.id, 100).unwrap();
    let before = s.shards();
    assert!(is_refused(s.split(&a.id, 50)), "a is closed");
    assert!(is_refused(s.merge(&a.id, &b.id)), "a is closed");
    assert!(is_refused(s.split(&b.id, b.range.first)), "the left child would be empty");
    assert!(is_refused(s.split(&b.id, b.range.last + 1)), "outside");
    assert!(is_refused(s.split(&b.id, 5)), "outside");
    assert!(is_refused(s.merge(&a1, &b.id)), "not adjacent");
    assert!(is_refused(s.merge(&b.id, &b.id)), "itself");
    assert!(is_refused(s.merge(&c.id, &a1)), "the ring does not wrap around");
    assert_eq!(s.shards(), before);
    // The narrowest ranges are fine.
    let [one, _] = s.split(&a1, 1).unwrap();
    assert!(is_refused(s.split(&one, 0)) && is_refused(s.split(&one, 1)));
    s.split(&b.id, b.range.last).unwrap();
    s.merge(&s.open_shards()[2].id.clone(), &a2).map(drop).unwrap_or_default();
    assert_whole(&s);
}

pub fn closing_ends_every_shard_for_good(make: Make) {
    let s = make(3);
    s.split(&s.shards()[0].id, 100).unwrap();
    put_everyone(&s, "x");
    s.try_put(Vec::new(), Some(("job", "done"))).unwrap();
    s.close();
    s.close();
    let s = s.reopen();
    let mut payloads = 0;
    for shard in s.shards() {
        assert!(shard.closed);
        assert_ended(&s, &shard.id);
        payloads += texts(&s.read_all(&shard.id)).len();
    }
    assert_eq!(payloads, USERS.len());
    assert_eq!(s.progress("job").as_deref(), Some("done"));
    assert!(is_refused(s.try_put(vec![record(b"k", b"x")], None)));
    assert!(is_refused(s.try_put(Vec::new(), Some(("job", "more")))));
    assert!(is_refused(s.split(&s.shards()[1].id, u128::MAX / 2)));
    assert!(is_refused(s.merge(&s.shards()[1].id, &s.shards()[2].id)));
    assert_eq!(s.progress("job").as_deref(), Some("done"));
}

pub fn generations_may_pass_without_a_record(make: Make) {
    let s = make(1);
    let mut whole = s.shards()[0].id.clone();
    for generation in 0..5 {
        let [left, right] = s.split(&whole, 1 << 127).unwrap();
        whole = s.merge(&right, &left).unwrap();
        if generation == 2 {
            put_everyone(&s, "x");
        }
    }
    let shards = s.shards();
    assert_eq!(shards.len(), 16);
    for (index, shard) in shards.iter().enumerate() {
        assert!(
            shard.parents.iter().all(|parent| shards[..index].iter().any(|older| older.id == *parent)),
            "parents first"
        );
        assert_eq!(shard.closed, index != 15);
        assert_eq!(s.read(&shard.id, ReadFrom::Start, ALL).at_end, shard.closed);
    }
    assert_whole(&s);
}
