//! What a table is: its entry in a list.

use super::Column;
use super::fill::Fill;

/// What a table is.
#[derive(Debug)]
pub struct TableDef {
    /// The name in the catalog: lower-case letters, digits and `_`.
    pub name: &'static str,
    /// The columns with which it is made. Their ids are written out: see [`super::ColumnId`].
    pub columns: &'static [Column],
    /// The column that holds a row's time: what `times` of a file and a time filter are about.
    pub time_column: &'static str,
    /// How files are divided among partitions.
    pub partitioning: Partitioning,
    /// How the rows of each file are sorted.
    pub order: Order,
    /// What tells that a partition is not written to any more.
    pub closing: Closing,
    /// How a worker makes its rows of what an entry stores; none of the first four, whose rows have encoders of their own, and of one
    /// that nobody fills.
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

/// What tells that nothing is written any more below some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The watermarks, and events that are accepted and not scored.
    Events,
    /// The last hour of which rows are written.
    Hours,
    /// The last day of which rows are written.
    Days,
    /// Arrival, and what waits.
    Arrivals,
}
