//! What a program knows of what is stored (docs/shape.md): handed in, so that programs of two versions can run beside each other
//! in one test.

use crate::schema::Table;

/// The lists that a program goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// The tables, in the order in which a commit visits them.
    pub tables: Vec<Table>,
}

impl Default for Shape {
    /// The four tables of 0.1.
    fn default() -> Shape {
        Shape { tables: Table::FIRST.to_vec() }
    }
}
