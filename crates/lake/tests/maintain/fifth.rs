//! A table behind the first four: made, followed, merged and folded by whoever knows it, and left alone by others.

use crate::common::{Entry, entry, put, stored};
use crate::world::{TIDY, World, journal_entry};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use authpulse_event::time::{DAY, DEFAULT_BASE, SECOND};
use authpulse_event::{Micros, ShardId};
use authpulse_lake::encode::encode_batches;
use authpulse_lake::maintain::{MaintainReport, Memory};
use authpulse_lake::schema::{Closing, Column, ColumnId, Kind, Order, Partitioning, TableDef};
use authpulse_lake::{EncodeOptions, Journal, Lake, Shape, Table, TableFile, maintain};
use futures::executor::block_on;
use std::sync::Arc;

static SERVICES: TableDef = TableDef {
    name: "services_to_come",
    columns: &[
        Column::new(ColumnId::Fixed(1, None), "window_start", Kind::Time, "first instant of the hour"),
        Column::new(ColumnId::Fixed(2, None), "service", Kind::Text, "which"),
        Column::new(ColumnId::Fixed(3, None), "logons", Kind::Long, "how many"),
    ],
    time_column: "window_start",
    partitioning: Partitioning::Day { column: "window_start", field: "window_start_day" },
    order: Order::Time("service"),
    closing: Closing::Hours,
};

/// A file of the fifth table, as an entry names it.
fn services(lake: &Lake, table: Table, n: u64) -> TableFile {
    let times = TimestampMicrosecondArray::from(vec![0i64, 0]);
    let names = StringArray::from(vec!["vpn", "web"]);
    let counts = Int64Array::from(vec![n as i64, 1]);
    let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(names), Arc::new(counts)];
    let batch = RecordBatch::try_new(table.arrow_schema().clone(), columns).unwrap();
    let partition = table.partition_of(0);
    let file = encode_batches(table, partition, vec![batch], &EncodeOptions::default()).unwrap();
    put(lake, vec![file], &format!("s-{n}")).unwrap().remove(0)
}

#[test]
fn a_fifth_table_is_followed_and_maintained_by_whoever_knows_it_and_left_alone_by_others() {
    let table = Table::new(&SERVICES).unwrap();
    let world = World::new();
    let old = &world.lake;
    let mut shape = Shape::default();
    shape.tables.push(table);
    let new = &old.clone().with_shape(shape);
    assert!(new.knows(table) && !old.knows(table) && old.tables() == Table::FIRST);
    assert_eq!(block_on(new.ensure_tables()).unwrap(), [table]);
    assert_eq!(block_on(new.ensure_tables()).unwrap(), []);
    let put_entry = |found: &Entry| {
        let watermark = DEFAULT_BASE + (found.n * 1000) as Micros * 7 * SECOND;
        let stored = journal_entry("a", found.n, found.files.clone(), watermark, world.now());
        block_on(world.journal.put(&found.shard, found.n, stored.encode())).unwrap();
    };
    let mut entries = Vec::new();
    for n in 1..=12 {
        let mut found = entry(new, "a", n, 2);
        // The first ones are from before there was such a table.
        if n > 4 {
            found.files.push(services(new, table, n));
        }
        put_entry(&found);
        entries.push(found);
    }
    let views: Vec<_> = entries.iter().map(Entry::view).collect();
    for table in Table::FIRST {
        assert_eq!(block_on(old.commit(table, &views)).unwrap().entries, 12);
    }
    let tidy = |lake: &Lake| -> MaintainReport {
        let report = block_on(maintain(lake, &world.journal, &TIDY, false, &mut Memory::default()));
        assert!(report.is_complete(), "{report:?}");
        report
    };
    let base = || block_on(world.journal.base(&ShardId::new("a"))).unwrap().map(|(through, _)| through);
    world.pass(3 * DAY);
    // A program that does not know it folds no entry that names a file of it, and removes none of its files.
    let data = format!("{}/data", table.location());
    let files = stored(world.store.as_ref(), &data);
    tidy(old);
    assert_eq!(base(), Some(4));
    assert_eq!((stored(world.store.as_ref(), &data), files.len()), (files.clone(), 8));
    // One that knows it brings it up, merges its files, and folds on.
    let report = block_on(new.commit(table, &views)).unwrap();
    assert_eq!((report.entries, report.files, report.rows), (12, 8, 16));
    let report = tidy(new);
    assert_eq!(report.tables[4].compacted.before.files, 8, "{report:?}");
    assert_eq!(base(), Some(11));
    let live = block_on(new.live_files(table)).unwrap().files;
    let mut found = Vec::new();
    for batch in live.iter().flat_map(|file| block_on(new.read_values(file, &["service", "logons"], None)).unwrap()) {
        let batch = batch.unwrap();
        let text = |row, nth| format!("{:?}", batch.value(row, nth).unwrap());
        found.extend((0..batch.len()).map(|row| (text(row, 0), text(row, 1))));
    }
    assert_eq!((live.len(), found.len()), (1, 16));
    assert!(found.iter().map(|(service, _)| service).is_sorted(), "by time, then service: {found:?}");
    // Nor does one that does not know it fold on where a base stands for files of it.
    for n in 13..=17 {
        let found = entry(new, "a", n, 2);
        put_entry(&found);
        for table in new.tables() {
            block_on(new.commit(*table, &[found.view()])).unwrap();
        }
    }
    tidy(old);
    assert_eq!(base(), Some(11));
    tidy(new);
    assert_eq!(base(), Some(16));
}
