//! Which snapshots a table keeps.

use iceberg::spec::{MAIN_BRANCH, TableMetadata};
use std::collections::HashSet;

/// The snapshots to drop so that, with the new one, main keeps `keep`. What another branch or a tag reaches stays.
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
