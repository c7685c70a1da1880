//! Shards that a stream no longer lists, but whose state is still needed.
//!
//! A stream forgets a closed shard once retention has removed its records. If a service was away for that long, the lake may have
//! journals of shards that the stream no longer lists: they were read in part, or to their end, but their children have not begun. Their
//! users' state and their waiting events still belong to those children. Records that were not read are lost.

use authpulse_event::ShardId;
use authpulse_journal::registry::ShardView;
use authpulse_stream::ShardDescription;
use std::collections::BTreeMap;

/// Returns the listed shards. Before them come the shards that are no longer listed but have listed children that have not begun. `own`
/// has the journals of this stream by the stream's names of the shards; `key` gives the name of a shard's journal.
pub(crate) fn with_forgotten(
    mut listed: Vec<ShardDescription>,
    own: &BTreeMap<ShardId, ShardView>,
    key: impl Fn(&ShardId) -> ShardId,
) -> Vec<ShardDescription> {
    let is_listed = |id: &ShardId, listed: &[ShardDescription]| listed.iter().any(|shard| shard.id == *id);
    let gone: Vec<(&ShardId, &ShardView)> = own.iter().filter(|(id, _)| !is_listed(id, &listed)).collect();
    if gone.is_empty() {
        return listed;
    }
    let mut needed: BTreeMap<ShardId, ShardDescription> = BTreeMap::new();
    let mut links: Vec<(usize, ShardId)> = Vec::new();
    for (n, child) in listed.iter().enumerate().filter(|(_, shard)| !own.contains_key(&shard.id)) {
        // If a shard's parents were forgotten before they began, its nearest ancestors that have begun take their place.
        let is_orphan = !child.parents.is_empty()
            && !child.parents.iter().any(|parent| is_listed(parent, &listed) || own.contains_key(parent));
        for (id, view) in &gone {
            let is_parent = child.parents.contains(id);
            let is_succeeded = || {
                own.values()
                    .any(|other| other.inherited.contains(&key(id)) && other.range.intersect(&child.range).is_some())
            };
            let is_ancestor = || is_orphan && view.range.intersect(&child.range).is_some() && !is_succeeded();
            if is_parent || is_ancestor() {
                let shard =
                    ShardDescription { id: (*id).clone(), range: view.range, parents: Vec::new(), closed: true };
                needed.insert((*id).clone(), shard);
                if !is_parent {
                    links.push((n, (*id).clone()));
                }
            }
        }
    }
    for (n, parent) in links {
        listed[n].parents.push(parent);
    }
    needed.into_values().chain(listed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use authpulse_event::{ArrivalTime, HashRange, Position};
    use authpulse_lake::entry::Source;

    fn key(id: &ShardId) -> ShardId {
        ShardId::new(format!("{id}@stream"))
    }

    fn view(range: HashRange, inherited: &[&str], end: bool) -> ShardView {
        ShardView {
            source: Source::Stream {
                name: "stream".to_owned(),
                created: ArrivalTime::default(),
                shard_id: String::new(),
            },
            range,
            inherited: inherited.iter().map(|id| key(&ShardId::new(*id))).collect(),
            last: 1,
            position: Position::START,
            watermark: None,
            newest_accepted: None,
            read_to_end: end,
            flushed: false,
            end,
            sealed: None,
            counts_through: None,
            scores_through: None,
            daily_through: None,
            unscored: 0,
        }
    }

    fn shard(id: &str, range: HashRange, parents: &[&str]) -> ShardDescription {
        let parents = parents.iter().map(|id| ShardId::new(*id)).collect();
        ShardDescription { id: ShardId::new(id), range, parents, closed: false }
    }

    /// Names of the shards and of their parents.
    fn found(listed: Vec<ShardDescription>, own: &[(&str, ShardView)]) -> Vec<(String, Vec<String>)> {
        let own = own.iter().map(|(id, view)| (ShardId::new(*id), view.clone())).collect();
        let shards = with_forgotten(listed, &own, key);
        let parents = |shard: &ShardDescription| shard.parents.iter().map(ShardId::to_string).collect();
        shards.iter().map(|shard| (shard.id.to_string(), parents(shard))).collect()
    }

    fn named(names: &[(&str, &[&str])]) -> Vec<(String, Vec<String>)> {
        names.iter().map(|(id, parents)| (id.to_string(), parents.iter().map(|p| p.to_string()).collect())).collect()
    }

    #[test]
    fn parents_that_are_gone_are_there_until_their_children_have_begun() {
        let [low, high] = HashRange::divide(2).try_into().unwrap();
        let children = || vec![shard("1", low, &["0"]), shard("2", high, &["0"])];
        for end in [false, true] {
            let before = [("0", view(HashRange::FULL, &[], end))];
            assert_eq!(found(children(), &before), named(&[("0", &[]), ("1", &["0"]), ("2", &["0"])]));
        }
        // One of two has begun: the other still needs it.
        let one = [("0", view(HashRange::FULL, &[], true)), ("1", view(low, &["0"], false))];
        assert_eq!(found(children(), &one), named(&[("0", &[]), ("1", &["0"]), ("2", &["0"])]));
        let both = [one[0].clone(), one[1].clone(), ("2", view(high, &["0"], false))];
        assert_eq!(found(children(), &both), named(&[("1", &["0"]), ("2", &["0"])]));
        assert_eq!(found(children(), &[]), named(&[("1", &["0"]), ("2", &["0"])]), "a lake that never saw it");
    }

    #[test]
    fn generations_that_nobody_read_are_passed_over() {
        let [low, high] = HashRange::divide(2).try_into().unwrap();
        // 0 was split into 1 and 2, and these again; only the last are listed.
        let last = || vec![shard("5", low, &["1"]), shard("6", high, &["2"])];
        let own = [("0", view(HashRange::FULL, &[], false))];
        assert_eq!(found(last(), &own), named(&[("0", &[]), ("5", &["1", "0"]), ("6", &["2", "0"])]));
        // 1 had begun and has inherited from 0, so 5 needs only 1. 2 had not begun.
        let own = [("0", view(HashRange::FULL, &[], true)), ("1", view(low, &["0"], false))];
        assert_eq!(found(last(), &own), named(&[("0", &[]), ("1", &[]), ("5", &["1"]), ("6", &["2", "0"])]));
    }

    #[test]
    fn first_shards_have_no_parents() {
        let own = [("9", view(HashRange::FULL, &[], false))];
        assert_eq!(found(vec![shard("10", HashRange::FULL, &[])], &own), named(&[("10", &[])]));
    }
}
