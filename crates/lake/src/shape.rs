//! What a program knows of what is stored (docs/shape.md): handed in, so that programs of two versions can run beside each other
//! in one test.

use crate::schema::{Column, Table};

/// The lists that a program goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The tables, in the order in which a commit visits them.
    pub tables: Vec<Table>,
    /// Columns that come into their tables when a row has a value of them, in the order in which they do.
    pub columns: Vec<(Table, Column)>,
}

impl Default for Shape {
    /// The four tables of 0.1, as they were.
    fn default() -> Shape {
        Shape { tables: Table::FIRST.to_vec(), columns: Vec::new() }
    }
}

impl Shape {
    /// The columns that a table may gain, in the order in which they come.
    pub fn later_columns(&self, table: Table) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(move |(of, _)| *of == table).map(|(_, column)| column)
    }
}
