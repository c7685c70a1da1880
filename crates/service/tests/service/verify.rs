//! The audit of a lake: a sound lake passes, and everything that is taken from it, added to it or changed in it is named.

use crate::small_lake::audit::{Uncommitted, expect, first_file, report};
use crate::small_lake::{SmallLake, edit};
use authpulse_event::time::MICROSECOND;
use authpulse_event::{ArrivalTime, ShardId};
use authpulse_lake::entry::Entry;
use authpulse_lake::{EntryFiles, Table, TableFile, TablePointers};

#[tokio::test]
async fn a_sound_lake_passes_and_its_totals_add_up() {
    let lake = SmallLake::backfilled(true).await;
    let report = report(&lake.env).await;
    assert_eq!(report.difference, None, "{report}");
    let totals = report.totals();
    assert!(totals.adds_up(), "{report}");
    assert!(totals.entries > 8 && totals.received > 6_000 && totals.curated > 5_900, "{report}");
    for reason in ["invalid", "late", "duplicate"] {
        assert!(totals.rejected.contains_key(reason), "{reason}: {report}");
    }
    assert_eq!((totals.waiting, totals.unscored), (0, 0));
    assert_eq!(report.raw.records, totals.received);
    assert!(report.tables.iter().all(|t| t.entries_behind == 0 && t.files > 0), "{report}");
    assert_eq!(report.notes, Vec::<String>::new());
}

#[tokio::test]
async fn entries_that_the_tables_lack_are_audited_and_no_difference() {
    let lake = SmallLake::backfilled(false).await;
    let report = report(&lake.env).await;
    assert_eq!(report.difference, None, "{report}");
    assert!(report.tables.iter().all(|t| t.entries_behind > 8 && t.rows == 0 && t.rows_behind > 0), "{report}");
}

#[tokio::test]
async fn a_missing_cut_off_or_edited_file_is_named() {
    for committed in [true, false] {
        let lake = SmallLake::backfilled(committed).await;
        for table in Table::FIRST {
            let files = lake.files(&format!("{}/data/", table.location())).await;
            let file = files.last().unwrap();
            let path = lake.path(file);
            let whole = std::fs::read(&path).unwrap();
            edit(&path, |bytes| bytes.truncate(bytes.len() - 9));
            expect(&lake.env, &[table.name(), file, "of shard file", "bytes"]).await;
            let at = whole.len() / 3;
            std::fs::write(&path, &whole).unwrap();
            edit(&path, |bytes| bytes[at] ^= 1);
            expect(&lake.env, &["edited", file, "of shard file", "SHA-256"]).await;
            std::fs::remove_file(&path).unwrap();
            expect(&lake.env, &["missing", file, "of shard file"]).await;
            std::fs::write(&path, &whole).unwrap();
        }
    }
}

async fn commit(lake: &SmallLake, shard: &str, n: u64, file: TableFile) {
    let shard = ShardId::new(shard);
    let table = file.table;
    let files = [file];
    lake.env.lake.commit(table, &[EntryFiles { shard: &shard, n, files: &files }]).await.unwrap();
}

/// Makes the table forget who committed last, as an engine would that does not know of journals.
async fn forget(lake: &SmallLake, table: Table, shard: &str, n: Option<u64>) {
    let loaded = lake.env.lake.load(table).await.unwrap();
    let file = lake.env.store.relative(&loaded.location).unwrap();
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(lake.path(&file)).unwrap()).unwrap();
    let applied = &mut json["properties"]["authpulse.applied"];
    let mut numbers: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(applied.as_str().unwrap()).unwrap();
    match n {
        Some(n) => numbers.insert(shard.to_owned(), n.into()),
        None => numbers.remove(shard),
    };
    *applied = serde_json::to_string(&numbers).unwrap().into();
    let location = loaded.location.replace(".metadata.json", "-x.metadata.json");
    std::fs::write(lake.path(&lake.env.store.relative(&location).unwrap()), json.to_string()).unwrap();
    lake.catalog().swap(table.name(), &loaded.location, &location, table.schema()).await.unwrap();
}

#[tokio::test]
async fn a_doubled_file_is_named() {
    let lake = SmallLake::backfilled(true).await;
    let entries = lake.entries("file").await;
    for table in Table::FIRST {
        let before = lake.catalog().load(table.name()).await.unwrap().unwrap();
        let file = first_file(&entries, table);
        // Appended under another name, by a program with a journal of its own.
        let copy = TableFile { path: file.path.replace(".parquet", "-again.parquet"), ..file.clone() };
        lake.env.store.copy_new(&file.path, &copy.path).await.unwrap();
        commit(&lake, "fake", 1, copy.clone()).await;
        expect(&lake.env, &[table.name(), "no journal has", "fake"]).await;
        // Appended by an engine that does not know of journals.
        forget(&lake, table, "fake", None).await;
        expect(&lake.env, &["no entry names", table.name(), &copy.path]).await;

        // The same file again.
        let now = lake.catalog().load(table.name()).await.unwrap().unwrap();
        lake.catalog().swap(table.name(), &now, &before, table.schema()).await.unwrap();
        assert_eq!(report(&lake.env).await.difference, None);
        commit(&lake, "fake", 1, file.clone()).await;
        forget(&lake, table, "fake", None).await;
        expect(&lake.env, &["twice", table.name(), &file.path]).await;
        let now = lake.catalog().load(table.name()).await.unwrap().unwrap();
        lake.catalog().swap(table.name(), &now, &before, table.schema()).await.unwrap();
    }
}

#[tokio::test]
async fn a_table_that_holds_more_or_less_than_it_says_is_named() {
    let lake = SmallLake::backfilled(true).await;
    let last = lake.entries("file").await.len() as u64;
    forget(&lake, Table::CURATED, "file", Some(2)).await;
    expect(&lake.env, &["auth_events_curated", "before its entry is applied"]).await;
    forget(&lake, Table::CURATED, "file", Some(last + 1)).await;
    expect(&lake.env, &["auth_events_curated", "no journal has", &format!("entry {}", last + 1)]).await;

    let lake = SmallLake::backfilled(false).await;
    for table in Table::FIRST {
        forget(&lake, table, "file", Some(last)).await;
    }
    expect(&lake.env, &["not in the table", "auth_events_curated", "entry"]).await;
}

#[tokio::test]
async fn a_lost_entry_is_named() {
    let lake = SmallLake::backfilled(true).await;
    let entries = lake.entries("file").await;
    let without = |n: u64| entries.iter().filter(|e| e.n != n).cloned().collect::<Vec<_>>();
    for (n, words) in [
        (1, ["missing from the journal", "entry 1"]),
        (4, ["missing from the journal", "entry 4"]),
        (entries.len() as u64, ["no journal has", "auth_events_curated"]),
    ] {
        expect(&lake.with_entries(&without(n)).await, &words).await;
    }
    expect(&lake.with_entries(&[]).await, &["no journal has"]).await;
}

#[tokio::test]
async fn a_changed_entry_is_named() {
    let lake = Uncommitted::new().await;
    lake.changed(|e| e[3].counts.curated += 1, &["do not add up", "entry 4 of shard file"]).await;
    lake.changed(|e| e[3].counts.received += 1, &["do not add up", "entry 4"]).await;
    lake.changed(
        |e| (e[3].counts.received, e[3].counts.curated) = (e[3].counts.received + 1, e[3].counts.curated + 1),
        &["rows in the entry's curated files", "entry 4"],
    )
    .await;
    lake.changed(|e| e[3].from.sequence = "1".to_owned(), &["not contiguous", "entry 4"]).await;
    lake.changed(|e| e[3].to.sequence = "99999999".to_owned(), &["not contiguous", "entry 5"]).await;
    lake.changed(|e| e[3].epoch = 0, &["the epoch falls", "entry 4"]).await;
    lake.changed(|e| e[3].epoch = 2, &["without a take-over", "entry 4"]).await;
    lake.changed(|e| e[3].takes_over = true, &["under an old epoch", "entry 4"]).await;
    lake.changed(|e| (e[3].takes_over, e[3].epoch) = (true, 9), &["a take-over adds", "entry 4"]).await;
    lake.changed(|e| e[4].watermark = e[0].watermark, &["watermark", "entry 5"]).await;
    lake.changed(|e| e[3].counts.waiting_before += 1, &["add up", "entry 4"]).await;
    lake.changed(
        |e| (e[3].counts.waiting_before, e[3].counts.waiting) = (1, 1),
        &["the one before left open", "entry 4"],
    )
    .await;
    lake.changed(
        |e| (e[3].counts.unscored, e[3].counts.received) = (e[3].counts.unscored + 1, e[3].counts.received + 1),
        &["the list of events not scored", "entry 4"],
    )
    .await;
    lake.changed(|e| e[3].commit_id = e[2].commit_id.clone(), &["one commit id", "entry 4"]).await;
    lake.changed(|e| e[3].time_rules.settle += MICROSECOND, &["settings", "entry 4"]).await;
    lake.changed(|e| e[3].files.retain(|f| f.table != Table::HOURLY), &["an hour is not the sum", "no row"]).await;
    lake.changed(|e| e.iter_mut().for_each(|e| e.files.retain(|f| f.table != Table::DAILY)), &["a day is not the sum"])
        .await;
}

#[tokio::test]
async fn counts_that_are_not_the_sum_of_their_rows_are_named() {
    let lake = Uncommitted::new().await;
    let publishes =
        |e: &&mut Entry| e.spill.daily_counts.iter().any(|s| s.days.iter().any(|d| !d.computers.is_empty()));
    let first_day = |e: &mut [Entry], change: &dyn Fn(&mut (String, u64, u64))| {
        let entry = e.iter_mut().find(publishes).unwrap();
        let day = entry.spill.daily_counts.iter_mut().flat_map(|s| &mut s.days).next().unwrap();
        change(&mut day.computers[0]);
    };
    lake.changed(|e| first_day(e, &|host| host.1 += 1), &["what shards published of a day", "2015-01-01"]).await;
    lake.changed(|e| first_day(e, &|host| host.0.push('x')), &["divided otherwise among computers"]).await;
    lake.changed(
        |e| {
            let at = e.iter().rposition(|e| !e.spill.daily_counts.is_empty()).unwrap();
            let counts = &mut e[at].spill.daily_counts[0];
            (counts.after, counts.through) = (counts.after.map(|d| d + 1), counts.through + 1);
            counts.days.clear();
            e[at..].iter_mut().for_each(|e| e.counts_through = e.counts_through.map(|d| d + 1));
        },
        &["left out"],
    )
    .await;
    lake.changed(
        |e| {
            let daily_counts = e.iter().find(|e| !e.spill.daily_counts.is_empty()).unwrap().spill.daily_counts.clone();
            let last = e.iter_mut().rfind(|e| !e.spill.daily_counts.is_empty()).unwrap();
            last.spill.daily_counts.extend(daily_counts);
        },
        &["published twice"],
    )
    .await;
}

#[tokio::test]
async fn dead_letters_are_counted_by_reason_and_place() {
    let rename = |e: &mut [Entry]| {
        let entry = e.iter_mut().find(|e| e.counts.rejected.contains_key("late")).unwrap();
        let n = entry.counts.rejected.remove("late").unwrap();
        *entry.counts.rejected.entry("future".to_owned()).or_default() += n;
    };
    let lake = Uncommitted::new().await;
    lake.changed(rename, &["dead letters are not as many", "auth_events_rejected"]).await;

    // The dead letters of an entry once more, under another file name, and counted by an entry.
    let Uncommitted { lake, mut entries } = lake;
    let at = entries.iter().position(|e| e.files.iter().any(|f| f.table == Table::REJECTED)).unwrap();
    let file = first_file(&entries[at..], Table::REJECTED);
    let copy = TableFile { path: file.path.replace(".parquet", "-again.parquet"), ..file.clone() };
    lake.env.store.copy_new(&file.path, &copy.path).await.unwrap();
    let entry = &mut entries[at];
    entry.files.push(copy);
    let rejected = entry.counts.rejected.clone();
    for (reason, n) in rejected {
        entry.counts.received += n;
        *entry.counts.rejected.entry(reason).or_default() += n;
    }
    entry.raw.clear();
    expect(&lake.with_entries(&entries).await, &["lines"]).await;
    entries[at].source = authpulse_lake::entry::Source::Stream {
        name: "s".to_owned(),
        created: ArrivalTime::default(),
        shard_id: "file".to_owned(),
    };
    let source = entries[at].source.clone();
    entries.iter_mut().for_each(|e| e.source = source.clone());
    expect(&lake.with_entries(&entries).await, &["rejected twice", "auth_events_rejected"]).await;
}

#[tokio::test]
async fn the_raw_zone_holds_each_record_once() {
    let lake = SmallLake::backfilled(true).await;
    let files = lake.files("raw/").await;
    let (file, path) = (&files[3], lake.path(&files[3]));
    let extra = file.replace(".parquet", "-again.parquet");
    lake.env.store.copy_new(file, &extra).await.unwrap();
    expect(&lake.env, &["file too many", &extra]).await;
    std::fs::remove_file(lake.path(&extra)).unwrap();
    assert_eq!(report(&lake.env).await.difference, None);
    edit(&path, |bytes| bytes.truncate(bytes.len() / 2));
    expect(&lake.env, &["auth_events_raw", "cut off", file, "entry"]).await;
    // The records of another entry, under this entry's file name.
    let other = std::fs::read(lake.path(&files[4])).unwrap();
    std::fs::write(&path, &other).unwrap();
    expect(&lake.env, &["auth_events_raw", file]).await;
    let mut entries = lake.entries("file").await;
    entries.iter_mut().flat_map(|e| &mut e.raw).filter(|f| f.path == *file).for_each(|f| f.bytes = other.len() as u64);
    expect(&lake.with_entries(&entries).await, &["not of its entry", file]).await;
    std::fs::remove_file(&path).unwrap();
    expect(&lake.env, &["missing", "auth_events_raw", file, "entry"]).await;
}
