//! The later columns of each table as they were last seen, for callers that would otherwise ask every second.

use crate::schema::{ColumnIds, Table};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// By the table's name: when they were seen (milliseconds since 1970), and the ids.
#[derive(Clone, Default)]
pub(crate) struct KnownColumns(Arc<Mutex<BTreeMap<&'static str, (i64, ColumnIds)>>>);

impl KnownColumns {
    /// When the table's columns were last seen (milliseconds since 1970), and their ids.
    pub(crate) fn get(&self, table: Table) -> Option<(i64, ColumnIds)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(table.name()).cloned()
    }

    /// Notes what was seen of a table's columns at this time (milliseconds since 1970).
    pub(crate) fn set(&self, table: Table, at_ms: i64, ids: ColumnIds) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(table.name(), (at_ms, ids));
    }

    /// Forgets a table, so that the next caller looks at it again.
    pub(crate) fn forget(&self, table: Table) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(table.name());
    }
}
