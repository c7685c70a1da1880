//! What a table means to a program that knows it, and to one that does not.

use authpulse_event::Day;
use authpulse_lake::schema::{
    Closing, Column, ColumnId, Kind, Order, Partition, Partitioning, Table, TableDef, UNKNOWN_TABLES_MAX,
};

static ALERTS: TableDef = TableDef {
    name: "alerts_to_come",
    columns: &[
        Column::new(ColumnId::Fixed(1, None), "alert_time", Kind::Time, "when"),
        Column::new(ColumnId::Fixed(2, None), "user_id", Kind::Text, "who"),
    ],
    time_column: "alert_time",
    partitioning: Partitioning::Month { column: "alert_time", field: "alert_time_month" },
    order: Order::Time("user_id"),
    closing: Closing::Events,
    fill: None,
};

#[test]
fn a_table_is_its_name_whether_it_is_known_or_not_and_few_are_not() {
    let read: Table = serde_json::from_str("\"alerts_to_come\"").unwrap();
    assert!(!read.is_known() && Table::known("alerts_to_come").is_none());
    assert_eq!((read.time_column(), read.schema().as_struct().fields().len()), ("", 0));
    let table = Table::new(&ALERTS).unwrap();
    // A handle that was read before now means that table as well.
    assert!(read == table && read.is_known() && Table::known("alerts_to_come") == Some(table));
    assert_eq!((read.time_column(), read.partition_of_day(Day(0))), ("alert_time", Partition::Month(0)));
    assert_eq!(serde_json::to_string(&read).unwrap(), "\"alerts_to_come\"");
    assert!(Table::REJECTED < table && Table::CURATED < Table::HOURLY);
    assert_eq!(serde_json::from_str::<Table>("\"auth_events_curated\"").unwrap(), Table::CURATED);
    assert!(Table::new(Table::CURATED.def()).is_err());
    for none in ["", "Auth", "a b", "a/../b", &"x".repeat(256)] {
        assert!(Table::named(none).is_err(), "{none}");
    }
    // Only so many unknown names: otherwise entries of another version could fill the memory.
    let names: Vec<String> = (0..=UNKNOWN_TABLES_MAX).map(|k| format!("unknown_{k}")).collect();
    let taken = names.iter().filter(|name| Table::named(name).is_ok()).count();
    assert_eq!(taken, UNKNOWN_TABLES_MAX);
    let refused = Table::named(&names[UNKNOWN_TABLES_MAX]).unwrap_err();
    assert!(refused.contains("run a newer version"), "{refused}");
    assert!(Table::named(&names[0]).is_ok() && Table::named("alerts_to_come").is_ok(), "what was taken in stays");
    let entry = serde_json::from_str::<Table>(&format!("{:?}", names[UNKNOWN_TABLES_MAX])).unwrap_err();
    assert!(entry.to_string().contains("run a newer version"), "{entry}");
}
