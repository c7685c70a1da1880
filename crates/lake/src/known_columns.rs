//! What was last seen of each table's later columns, for those who would ask for them every second.

use crate::schema::{ColumnIds, Table};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// When, and what: one for each table of the lake.
#[derive(Clone, Default)]
pub(crate) struct KnownColumns(Arc<Mutex<BTreeMap<&'static str, (i64, ColumnIds)>>>);

impl KnownColumns {
    pub(crate) fn get(&self, table: Table) -> Option<(i64, ColumnIds)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(table.name()).cloned()
    }

    pub(crate) fn set(&self, table: Table, at_ms: i64, ids: ColumnIds) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(table.name(), (at_ms, ids));
    }

    pub(crate) fn forget(&self, table: Table) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(table.name());
    }
}
