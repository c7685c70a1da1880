//! A table that no program has yet, for the tests of several crates: logons per user and hour, made from what an entry stores.

use authpulse_engine::rows::HourRow;
use authpulse_lake::encode::{EntryRows, LaterRow};
use authpulse_lake::read::Value;
use authpulse_lake::schema::{Closing, Column, ColumnId, Kind, Order, Partitioning, TableDef};

pub static LOGONS: TableDef = TableDef {
    name: "logons_to_come",
    columns: &[
        Column::new(ColumnId::Fixed(1, None), "hour", Kind::Time, "when it begins"),
        Column::new(ColumnId::Fixed(2, None), "user_id", Kind::Text, "who"),
        Column::new(ColumnId::Fixed(3, None), "logons", Kind::Long, "how many"),
    ],
    time_column: "hour",
    partitioning: Partitioning::Day { column: "hour", field: "hour_day" },
    order: Order::Time("user_id"),
    closing: Closing::Hours,
    fill: Some(logons),
};

fn logons<'a>(rows: &'a EntryRows<'a>) -> Vec<LaterRow<'a>> {
    let row = |hour: &HourRow| {
        let logons = Value::Long(hour.total_logins as i64);
        vec![Some(Value::time(hour.window_start)), Some(Value::Text(rows.users.get(hour.user))), Some(logons)]
    };
    // Unsorted, because files are sorted by the table's definition.
    rows.hours.iter().rev().map(row).collect()
}
