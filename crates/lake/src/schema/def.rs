//! The definition of a table: its entry in the list of tables.

use super::Column;
use super::fill::Fill;

/// The definition of a table.
#[derive(Debug)]
pub struct TableDef {
    /// The name in the catalog: lower-case letters, digits and `_`.
    pub name: &'static str,
    /// The columns with which it is created. Their ids are written out: see [`super::ColumnId`].
    pub columns: &'static [Column],
    /// The column that holds a row's time; a file's `times` and time filters refer to it.
    pub time_column: &'static str,
    /// How files are divided among partitions.
    pub partitioning: Partitioning,
    /// How the rows of each file are sorted.
    pub order: Order,
    /// What shows that a partition gets no more rows.
    pub closing: Closing,
    /// How a worker makes its rows from what an entry stores. `None` for the first four, whose rows have their own encoders, and for a
    /// table that nobody fills.
    pub fill: Option<Fill>,
}

/// How files are divided among partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partitioning {
    /// A partition a day, by this column of dates.
    Date(&'static str),
    /// A partition a day, by a column of times or dates.
    Day {
        /// The column.
        column: &'static str,
        /// The name of the partition's field.
        field: &'static str,
    },
    /// A partition a month.
    Month {
        /// The column.
        column: &'static str,
        /// The name of the partition's field.
        field: &'static str,
    },
}

impl Partitioning {
    /// The partition's field.
    pub(super) fn field(self) -> &'static str {
        match self {
            Partitioning::Date(field) | Partitioning::Day { field, .. } | Partitioning::Month { field, .. } => field,
        }
    }
}

/// How the rows of a file are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Not at all: they stay in order of arrival.
    Arrival,
    /// By the table's time, then by this column of texts.
    Time(&'static str),
    /// By the hour of the table's time, then by this column of texts, then by time.
    Hour(&'static str),
}

/// What shows that nothing more is written below some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The watermarks, and the events that are accepted but not scored.
    Events,
    /// The last hour whose rows are written.
    Hours,
    /// The last day whose rows are written.
    Days,
    /// The time of arrival, and the events that wait.
    Arrivals,
}
