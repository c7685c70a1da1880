//! Checks what holds between shards: children begin where their parents ended, take over what these left open, and publish the counts
//! that these had not published.

use super::entry::moment;
use super::journal::{Journals, Shard};
use super::spans;
use super::stop::{Check, RESTORE_JOURNAL, differ};
use authpulse_event::ring::hash_key;
use authpulse_event::{EventTime, HashRange, ShardId};
use std::collections::BTreeMap;

/// Checks all shards of a lake against each other.
pub(super) fn check(journals: &Journals) -> Check<()> {
    for (key, shard) in &journals.shards {
        check_parents(journals, key, shard)?;
    }
    let children = children(journals);
    for family in families(journals, &children) {
        check_family(journals, &children, &family)?;
    }
    let spans =
        |pick: fn(&Shard) -> &Vec<spans::Span>| journals.shards.values().flat_map(pick).cloned().collect::<Vec<_>>();
    spans::check(&spans(|s| &s.daily_counts), "logins")?;
    spans::check(&spans(|s| &s.scores), "high-risk counts")
}

fn check_parents(journals: &Journals, key: &ShardId, shard: &Shard) -> Check<()> {
    let place = || format!("entry 1 of shard {key}");
    let bad =
        |what: &str, expected: String, found: String| Err(differ(what, place(), expected, found, RESTORE_JOURNAL));
    for parent in &shard.inherits {
        let Some(found) = journals.shards.get(&ShardId::new(&parent.shard)) else {
            return bad("a parent has no journal", format!("a journal of shard {}", parent.shard), "none".to_owned());
        };
        if found.tail.n != parent.n {
            let what = if found.tail.n > parent.n {
                "a shard goes on although its heirs have begun"
            } else {
                "the last entries of a parent are missing"
            };
            let expected = format!("shard {} ends with entry {}", parent.shard, parent.n);
            return bad(what, expected, format!("its last entry is {}", found.tail.n));
        }
        if shard.first_watermark < found.tail.watermark && found.range.intersect(&shard.range).is_some() {
            let expected = format!("{} or later", moment(found.tail.watermark));
            return bad("an heir's watermark lies below its parent's", expected, moment(shard.first_watermark));
        }
    }
    Ok(())
}

/// The children of each shard.
fn children(journals: &Journals) -> BTreeMap<ShardId, Vec<&ShardId>> {
    let mut children: BTreeMap<ShardId, Vec<&ShardId>> = BTreeMap::new();
    for (key, shard) in &journals.shards {
        for parent in &shard.inherits {
            children.entry(ShardId::new(&parent.shard)).or_default().push(key);
        }
    }
    children
}

/// Groups of parents that have common children.
fn families(journals: &Journals, children: &BTreeMap<ShardId, Vec<&ShardId>>) -> Vec<Vec<ShardId>> {
    let mut families: Vec<Vec<ShardId>> = Vec::new();
    for parent in children.keys() {
        if families.iter().any(|family| family.contains(parent)) {
            continue;
        }
        let mut family = vec![parent.clone()];
        let mut next = 0;
        while let Some(member) = family.get(next).cloned() {
            next += 1;
            for child in children.get(&member).into_iter().flatten() {
                for parent in journals.shards.get(*child).into_iter().flat_map(|s| &s.inherits) {
                    let parent = ShardId::new(&parent.shard);
                    if !family.contains(&parent) {
                        family.push(parent);
                    }
                }
            }
        }
        families.push(family);
    }
    families
}

/// Checks that the children begin with what their parents left open.
fn check_family(journals: &Journals, children: &BTreeMap<ShardId, Vec<&ShardId>>, parents: &[ShardId]) -> Check<()> {
    let mut all_children: Vec<&ShardId> = parents.iter().filter_map(|p| children.get(p)).flatten().copied().collect();
    all_children.sort_unstable();
    all_children.dedup();
    let ranges: Vec<HashRange> =
        all_children.iter().filter_map(|key| journals.shards.get(*key)).map(|s| s.range).collect();
    let place = || {
        let name =
            |keys: &mut dyn Iterator<Item = &ShardId>| keys.map(ToString::to_string).collect::<Vec<_>>().join(", ");
        format!("shards {} and their heirs {}", name(&mut parents.iter()), name(&mut all_children.iter().copied()))
    };
    for (i, range) in ranges.iter().enumerate() {
        if let Some(other) = ranges[..i].iter().find(|other| other.intersect(range).is_some()) {
            let (expected, found) = ("heirs with ranges of their own", format!("{other} and {range}"));
            return Err(differ("two heirs own the same users", place(), expected, found, RESTORE_JOURNAL));
        }
    }
    let tails = || parents.iter().filter_map(|p| journals.shards.get(p));
    let complete = tails()
        .all(|parent| spans::covers(ranges.iter().filter_map(|r| r.intersect(&parent.range)).collect(), parent.range));
    let sum = |counts: &mut dyn Iterator<Item = (u64, u64)>| {
        counts.fold((0u128, 0u128), |(w, u), (waiting, unscored)| (w + u128::from(waiting), u + u128::from(unscored)))
    };
    let left = sum(&mut tails().map(|p| (p.tail.counts.waiting, p.tail.counts.unscored)));
    let taken = sum(&mut all_children.iter().filter_map(|key| journals.shards.get(*key)).map(|s| s.inherited));
    let agrees = if complete { taken == left } else { taken.0 <= left.0 && taken.1 <= left.1 };
    if !agrees {
        let words = |(waiting, unscored): (u128, u128)| format!("{waiting} waiting, {unscored} not scored");
        let expected = format!("{}{}", if complete { "" } else { "at most " }, words(left));
        return Err(differ(
            "heirs do not begin with what their parents left open",
            place(),
            expected,
            words(taken),
            RESTORE_JOURNAL,
        ));
    }
    Ok(())
}

/// The shard that owns each part of the ring now. A part has at most one owner.
pub(super) struct Owners<'a> {
    parts: Vec<(HashRange, &'a Shard)>,
}

impl<'a> Owners<'a> {
    /// Finds the owners: a shard owns what is left of its range without those of its children.
    pub fn of(journals: &'a Journals) -> Owners<'a> {
        let children = children(journals);
        let mut parts = Vec::new();
        for (key, shard) in &journals.shards {
            let taken = children
                .get(key)
                .into_iter()
                .flatten()
                .filter_map(|child| journals.shards.get(*child))
                .map(|s| s.range);
            parts.extend(without(shard.range, taken.collect()).into_iter().map(|range| (range, shard)));
        }
        parts.sort_unstable_by_key(|(range, _)| *range);
        Owners { parts }
    }

    /// The owner of a position on the ring.
    fn at(&self, hash: u128) -> Option<&'a Shard> {
        let at = self.parts.partition_point(|(range, _)| range.first <= hash).checked_sub(1)?;
        let (range, shard) = &self.parts[at];
        range.contains(hash).then_some(*shard)
    }

    /// Whether a shard owns a user now.
    pub fn speaks_for(&self, shard: &Shard, user: &str) -> bool {
        self.at(hash_key(user.as_bytes())).is_some_and(|owner| std::ptr::eq(owner, shard))
    }

    /// The end of the hours that the owner of a user has written.
    pub fn hours_through(&self, user: &str) -> Option<EventTime> {
        self.at(hash_key(user.as_bytes()))?.tail.hours_through
    }

    /// The last day whose rows are written, by the owner of ring position 0.
    pub fn daily_through(&self) -> Option<i32> {
        self.at(0)?.tail.daily_through
    }
}

/// What is left of a range without the parts in `taken`.
fn without(range: HashRange, mut taken: Vec<HashRange>) -> Vec<HashRange> {
    taken.sort_unstable();
    let mut rest = Vec::new();
    let mut next = Some(range.first);
    for part in taken.into_iter().filter_map(|t| t.intersect(&range)) {
        let Some(first) = next else { break };
        if part.first > first {
            rest.push(HashRange { first, last: part.first - 1 });
        }
        if part.last >= first {
            next = part.last.checked_add(1).filter(|next| *next <= range.last);
        }
    }
    rest.extend(next.map(|first| HashRange { first, last: range.last }));
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_children_have_taken_is_not_the_parents_any_more() {
        let [a, b, c] = HashRange::divide(3)[..] else { panic!("three parts") };
        assert_eq!(without(HashRange::FULL, vec![]), [HashRange::FULL]);
        assert_eq!(without(HashRange::FULL, vec![c, a]), [b]);
        assert_eq!(without(HashRange::FULL, vec![b]), [a, c]);
        assert_eq!(without(a, vec![HashRange::FULL]), []);
        assert_eq!(without(b, vec![a, c]), [b]);
    }
}
