//! What the tests of columns share: a lake in memory whose table may gain columns, a clock that the test sets, and another engine.

use super::prepare::Next;
use crate::catalog::SwapOutcome;
use crate::commit::{ColumnIds, EntryFiles};
use crate::encode::LaterGroup;
use crate::error::LakeError;
use crate::fault::{Faults, Step};
use crate::lake::{CommitIds, Lake};
use crate::schema::{Column, Group, Kind, Table};
use crate::shape::Shape;
use crate::{MemoryCatalog, MemoryStore, TablePointers};
use authpulse_event::ShardId;
use futures::executor::block_on;
use iceberg::spec::{NestedField, NestedFieldRef, PrimitiveType, Schema, TableMetadata, Type};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use uuid::Uuid;

pub(super) const TABLE: Table = Table::DAILY;

pub(super) const fn column(name: &'static str, kind: Kind, group: Group) -> Column {
    Column::later(group, name, kind, "what it says")
}

pub(super) const LATER: [Column; 4] = [
    column("outcome", Kind::Text, Group::Attributes),
    column("is_off_hours", Kind::Int, Group::Rule("OFF_HOURS")),
    column("tags", Kind::Texts, Group::Attributes),
    column("port", Kind::Int, Group::Attributes),
];

pub(super) fn shape() -> Shape {
    Shape { daily: vec![LaterGroup::new(LATER.to_vec(), |_| false, |_, _| None)], ..Shape::default() }
}

pub(super) struct SetClock {
    pub(super) now: AtomicI64,
    pub(super) names: AtomicU64,
}

impl CommitIds for SetClock {
    fn now_ms(&self) -> i64 {
        self.now.load(Ordering::Relaxed)
    }
    fn uuid(&self) -> Uuid {
        Uuid::from_u64_pair(self.names.fetch_add(1, Ordering::Relaxed), 0)
    }
}

pub(super) struct World {
    pub(super) lake: Lake,
    pub(super) store: Arc<MemoryStore>,
    pub(super) catalog: Arc<MemoryCatalog>,
    pub(super) clock: Arc<SetClock>,
}

impl World {
    /// A lake whose tables hold one entry.
    pub(super) fn new() -> World {
        let (store, catalog) = (Arc::new(MemoryStore::new()), Arc::new(MemoryCatalog::new()));
        let clock = Arc::new(SetClock { now: AtomicI64::new(1_700_000_000_000), names: AtomicU64::new(1) });
        let lake = Lake::new(store.clone(), catalog.clone()).with_ids(clock.clone()).with_shape(shape());
        block_on(lake.ensure_tables()).unwrap();
        let shard = ShardId::new("s");
        block_on(lake.commit(TABLE, &[EntryFiles { shard: &shard, n: 1, files: &[] }])).unwrap();
        World { lake, store, catalog, clock }
    }

    /// Another process over the same lake.
    pub(super) fn other(&self) -> Lake {
        Lake::new(self.store.clone(), self.catalog.clone()).with_ids(self.clock.clone()).with_shape(shape())
    }

    pub(super) fn metadata(&self) -> TableMetadata {
        block_on(self.lake.load(TABLE)).unwrap().metadata
    }

    /// Changes the schema and properties as another engine would.
    pub(super) fn foreign(&self, edit: impl FnOnce(&mut Vec<NestedFieldRef>, i32), properties: &[(&str, &str)]) {
        let loaded = block_on(self.other().load(TABLE)).unwrap();
        let mut fields = loaded.metadata.current_schema().as_struct().fields().to_vec();
        edit(&mut fields, loaded.metadata.last_column_id() + 1);
        let next = Next {
            schema: Some(Schema::builder().with_fields(fields).build().unwrap()),
            properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            ..Next::default()
        };
        let prepared = block_on(self.lake.write_metadata(&loaded, next, self.clock.now_ms())).unwrap();
        let swap = self.catalog.swap(TABLE.name(), &loaded.location, &prepared.location, &prepared.schema);
        assert_eq!(block_on(swap).unwrap(), SwapOutcome::Swapped);
    }

    pub(super) fn fail(&self, hook: impl Fn(&Step<'_>) -> Result<(), String> + Send + Sync + 'static) {
        let faults = Faults::new(hook);
        self.store.set_faults(faults.clone());
        self.catalog.set_faults(faults);
    }

    pub(super) fn heal(&self) {
        self.store.set_faults(Faults::none());
        self.catalog.set_faults(Faults::none());
    }
}

pub(super) fn ask(lake: &Lake, groups: &[Group]) -> Result<ColumnIds, LakeError> {
    block_on(lake.columns(TABLE, groups))
}

pub(super) fn text(id: i32, name: &str) -> NestedFieldRef {
    NestedField::optional(id, name, Type::Primitive(PrimitiveType::String)).into()
}
