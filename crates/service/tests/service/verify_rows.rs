//! The audit of rows: files that were edited together with everything that vouches for them, and files that others replaced.

use crate::small_lake::SmallLake;
use crate::small_lake::audit::{Uncommitted, expect, first_file, report};
use crate::small_lake::rows::EditedRows;
use authpulse_engine::flags::Flag;
use authpulse_engine::rows::ScoredEvent;
use authpulse_event::time::SECOND;
use authpulse_event::{ArrivalTime, ShardId};
use authpulse_journal::Env;
use authpulse_lake::encode::LaterGroup;
use authpulse_lake::read::Value;
use authpulse_lake::schema::{Column, Group, Kind};
use authpulse_lake::{CommitSettings, EntryFiles, Lake, MemoryCatalog, Shape, Table, TableFile};
use std::sync::Arc;

/// The lake after the rows of one file were changed, together with the file's entry and checksum.
async fn edited(Uncommitted { lake, entries }: &Uncommitted, change: impl FnOnce(&mut EditedRows)) -> Env {
    let mut entries = entries.clone();
    // Not the first entries: these rows must have days and pairs behind them.
    let at = entries.iter().rposition(|e| e.files.iter().any(|f| f.table == Table::CURATED)).unwrap();
    let at_file = entries[at].files.iter().position(|f| f.table == Table::CURATED).unwrap();
    let mut rows = EditedRows::read(lake, &entries[at].files[at_file]).await;
    change(&mut rows);
    let files = rows.write(lake, 1_000_000).await;
    entries[at].files.splice(at_file..=at_file, files);
    lake.with_entries(&entries).await
}

#[tokio::test]
async fn an_edited_row_is_named_whatever_its_checksum_says() {
    let lake = Uncommitted::new().await;
    let untouched = edited(&lake, |_| ()).await;
    assert_eq!(report(&untouched).await.difference, None);
    let row = |change: fn(&mut ScoredEvent)| edited(&lake, move |e| change(&mut e.rows[5]));
    let curated = "auth_events_curated";
    expect(&row(|r| r.score += 1).await, &["risk_score is not the sum", curated, "row of user"]).await;
    expect(&row(|r| r.event.windows.logons_1h = 51).await, &["windows contradict", curated]).await;
    let burst = row(|r| (r.event.windows.logons_1h, r.event.windows.logons_24h) = (51, 5_000)).await;
    expect(&burst, &["is_burst_login does not follow", curated]).await;
    expect(&row(|r| r.popularity = r.popularity.map(|p| p + 1)).await, &["host_popularity", curated, "row of user"])
        .await;
    expect(&row(|r| r.popularity = None).await, &["host_popularity", curated, "null"]).await;
    let rare = |r: &mut ScoredEvent| {
        let is_rare = r.flags.has(Flag::RARE_HOST);
        r.flags.set(Flag::RARE_HOST, !is_rare);
        r.score = if is_rare { r.score - 10 } else { r.score + 10 };
    };
    expect(&row(rare).await, &["is_rare_host does not follow", curated]).await;
    let new_device = |r: &mut ScoredEvent| {
        let is_new = r.flags.has(Flag::NEW_DEVICE);
        r.flags.set(Flag::NEW_DEVICE, !is_new);
        r.score = if is_new { r.score - 30 } else { r.score + 30 };
    };
    expect(&row(new_device).await, &["is_new_device is not 1", curated]).await;
    expect(
        &row(|r| r.event.ingestion_time = ArrivalTime::from_micros((r.event.event_time - 301 * SECOND).micros())).await,
        &["ahead of its arrival"],
    )
    .await;
    let other_user = edited(&lake, |e| {
        e.rows[5].event.user = e.rows.iter().map(|r| r.event.user).find(|u| *u != e.rows[5].event.user).unwrap();
        e.rows[5].event.new_device = false;
    });
    expect(&other_user.await, &[curated]).await;
    expect(
        &edited(&lake, |e| e.rows[5] = e.rows[6].clone()).await,
        &["an event is in the table twice", curated, "user"],
    )
    .await;
    // A change on which nothing else depends is at least reported.
    let moved = report(&row(|r| r.event.event_time += SECOND / 1_000).await).await;
    assert!(moved.notes.iter().any(|note| note.contains("1 rows have an event_id")), "{moved}");
}

/// The tables of a lake whose first curated file somebody replaced.
async fn replaced(Uncommitted { lake, entries }: &Uncommitted, files: &[TableFile]) -> Env {
    let tables = Lake::new(lake.env.store.clone(), Arc::new(MemoryCatalog::new()));
    tables.ensure_tables().await.unwrap();
    let shard = ShardId::file();
    let gone = first_file(entries, Table::CURATED);
    for entry in entries {
        let mut now: Vec<TableFile> = entry.files.iter().filter(|f| **f != gone).cloned().collect();
        if now.len() < entry.files.len() {
            now.extend(files.iter().cloned());
        }
        for table in Table::FIRST {
            tables.commit(table, &[EntryFiles { shard: &shard, n: entry.n, files: &now }]).await.unwrap();
        }
    }
    Env { lake: Arc::new(tables), ..lake.env.clone() }
}

#[tokio::test]
async fn files_may_be_replaced_by_others_with_the_same_rows() {
    let lake = Uncommitted::new().await;
    let gone = first_file(&lake.entries, Table::CURATED);
    let rows = EditedRows::read(&lake.lake, &gone).await;
    let same = replaced(&lake, &rows.write(&lake.lake, 100).await).await;
    let found = report(&same).await;
    assert_eq!(found.difference, None, "{found}");
    assert_eq!(found.tables[0].replaced, 1, "{found}");
    assert!(
        found.tables[0].files
            > lake.entries.iter().flat_map(|e| &e.files).filter(|f| f.table == Table::CURATED).count() as u64
    );

    // A figure on which nothing else depends.
    let mut other = EditedRows::read(&lake.lake, &gone).await;
    other.rows[5].event.windows.logons_24h += 1;
    let other = replaced(&lake, &other.write(&lake.lake, 1_000_000).await).await;
    expect(&other, &["rows were changed when files were replaced", "auth_events_curated", "2015-01-01"]).await;
    let mut fewer = EditedRows::read(&lake.lake, &gone).await;
    fewer.rows.pop();
    let fewer = replaced(&lake, &fewer.write(&lake.lake, 1_000_000).await).await;
    expect(&fewer, &["not in the table", &gone.path, "came for them"]).await;
    let mut more = EditedRows::read(&lake.lake, &gone).await;
    more.rows.push(more.rows[0].clone());
    let more = replaced(&lake, &more.write(&lake.lake, 1_000_000).await).await;
    expect(&more, &["no entry names", "auth_events_curated"]).await;
    expect(&replaced(&lake, &[]).await, &["not in the table", &gone.path, "entry"]).await;

    // Replaced files are not kept for ever.
    std::fs::remove_file(lake.lake.path(&gone.path)).unwrap();
    let found = report(&same).await;
    assert_eq!(found.difference, None, "{found}");
    assert!(found.notes[0].contains("auth_events_curated: 1 of 1 files"), "{found}");
}

/// What is noted of a row, by its time, so that rows that change places are noticed.
fn noted() -> Shape {
    let columns = vec![
        Column::later(Group::Named("notes"), "note", Kind::Text, "what is noted"),
        Column::later(Group::Named("notes"), "times", Kind::Int, "how often").counting(),
    ];
    let notes = LaterGroup::new(
        columns,
        |_: &ScoredEvent| true,
        |row, nth| match nth {
            0 => Some(Value::Text(["by day", "by night"][usize::from(row.score) % 2])),
            _ => Some(Value::Int((row.event.event_time.micros() / SECOND.micros() % 3) as i32)),
        },
    );
    Shape { curated: vec![notes], ..Shape::default() }
}

#[tokio::test]
async fn files_that_were_replaced_had_later_columns_which_are_compared_as_well() {
    let lake = SmallLake::backfilled_by(noted(), false).await;
    let lake = Uncommitted { entries: lake.entries("file").await, lake };
    let gone = first_file(&lake.entries, Table::CURATED);
    assert_eq!(gone.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), ["note", "times"]);
    // A commit gathers small files of entries into one, with all values, in a program that does not know the columns.
    let gather = CommitSettings { gather_below: 1 << 20, ..CommitSettings::default() };
    let tables = Lake::new(lake.lake.env.store.clone(), Arc::new(MemoryCatalog::new())).with_settings(gather);
    tables.ensure_tables().await.unwrap();
    let shard = ShardId::file();
    let views: Vec<_> =
        lake.entries.iter().map(|entry| EntryFiles { shard: &shard, n: entry.n, files: &entry.files }).collect();
    for table in Table::FIRST {
        let done = tables.commit(table, &views).await.unwrap();
        assert_eq!(done.notes, [""; 0]);
    }
    let gathered = Env { lake: Arc::new(tables), ..lake.lake.env.clone() };
    let found = report(&gathered).await;
    assert_eq!(found.difference, None, "{found}");
    assert!(found.tables[0].replaced > 3, "{found}");
    // The same rows without those values are other rows.
    let rows = EditedRows::read(&lake.lake, &gone).await;
    let bare = replaced(&lake, &rows.write(&lake.lake, 1_000_000).await).await;
    expect(&bare, &["rows were changed when files were replaced", "auth_events_curated"]).await;
}
