//! Which snapshots a table keeps.

use iceberg::spec::{MAIN_BRANCH, SnapshotRef, TableMetadata};
use std::collections::HashSet;

/// A table's snapshots, oldest first. (In the iceberg crate their order differs from run to run.)
pub(crate) fn in_order(metadata: &TableMetadata) -> Vec<&SnapshotRef> {
    let mut snapshots: Vec<_> = metadata.snapshots().collect();
    snapshots.sort_unstable_by_key(|snapshot| (snapshot.sequence_number(), snapshot.snapshot_id()));
    snapshots
}

/// The snapshots to drop so that main, with the new one, has `keep`. What another branch or a tag reaches stays.
pub(super) fn to_drop(metadata: &TableMetadata, keep: usize) -> Vec<i64> {
    let old = keep.saturating_sub(1).max(1);
    if metadata.snapshots().len() <= old {
        return Vec::new();
    }
    let mut main = ancestors(metadata, metadata.current_snapshot_id());
    let mut protected: HashSet<i64> = HashSet::new();
    for name in ref_names(metadata).into_iter().filter(|name| name != MAIN_BRANCH) {
        let head = metadata.snapshot_for_ref(&name).map(|s| s.snapshot_id());
        protected.extend(ancestors(metadata, head));
    }
    let dropped = if main.len() > old { main.split_off(old) } else { Vec::new() };
    dropped.into_iter().filter(|id| !protected.contains(id)).collect()
}

/// The snapshots to drop so that main has at most `keep` and none from before `before_ms`. The current one stays, and so does what another
/// branch or a tag reaches.
pub(super) fn to_expire(metadata: &TableMetadata, keep: usize, before_ms: i64) -> Vec<i64> {
    let main = ancestors(metadata, metadata.current_snapshot_id());
    let mut protected: HashSet<i64> = metadata.current_snapshot_id().into_iter().collect();
    for name in ref_names(metadata).into_iter().filter(|name| name != MAIN_BRANCH) {
        protected.extend(ancestors(metadata, metadata.snapshot_for_ref(&name).map(|s| s.snapshot_id())));
    }
    let within: HashSet<i64> = main.iter().take(keep.max(1)).copied().collect();
    let beyond: HashSet<i64> = main.into_iter().filter(|id| !within.contains(id)).collect();
    let goes = |id: i64, at: i64| !protected.contains(&id) && (beyond.contains(&id) || at < before_ms);
    let mut gone: Vec<i64> =
        metadata.snapshots().filter(|s| goes(s.snapshot_id(), s.timestamp_ms())).map(|s| s.snapshot_id()).collect();
    gone.sort_unstable();
    gone
}

/// A snapshot and those it follows, newest first.
fn ancestors(metadata: &TableMetadata, head: Option<i64>) -> Vec<i64> {
    let mut line = Vec::new();
    let mut next = head.and_then(|id| metadata.snapshot_by_id(id));
    while let Some(snapshot) = next {
        line.push(snapshot.snapshot_id());
        next = snapshot.parent_snapshot_id().and_then(|id| metadata.snapshot_by_id(id));
    }
    line
}

/// The names of branches and tags. The iceberg crate shows them only in the metadata's JSON.
fn ref_names(metadata: &TableMetadata) -> Vec<String> {
    let json = serde_json::to_value(metadata).unwrap_or_default();
    let refs = json.get("refs").and_then(serde_json::Value::as_object);
    refs.map(|refs| refs.keys().cloned().collect()).unwrap_or_default()
}
