//! Describes the columns of a table, or of the raw zone, each in one place: its id, name, type, bounds, description, and how a row fills
//! it. Schema, encoder and reader are derived from that.

/// Declares for columns in order: `COLUMNS`, the list; `Building`, all columns under construction, filled row by row in one pass; a batch
/// of the columns as it is read; and a view of a row in a batch.
macro_rules! columns {
    (
        $(#[$about:meta])* $batch:ident, $row:ident<$life:lifetime>, $words:literal,
        filled from $at:ident: $line:ty;
        $($id:literal $(($element:literal))? $column:ident: $cell:ident $bounds:ident $doc:literal = $out:ident => $fill:expr;)+
    ) => {
        /// The columns.
        pub(crate) const COLUMNS: &[$crate::schema::Column] = &[$(
            $crate::schema::Column {
                nullable: <$crate::cells::$cell as $crate::cells::Cell>::NULLABLE,
                ..$crate::schema::Column::new(
                    $crate::schema::ColumnId::Fixed($id, $crate::schema::describe::element!($($element)?)),
                    stringify!($column),
                    <$crate::cells::$cell as $crate::cells::Cell>::KIND,
                    $doc,
                )
                .bounds($crate::schema::Bounds::$bounds)
            },
        )+];

        /// The columns under construction. One pass fills them all: rows lie scattered in memory, and this fetches each only once.
        pub(crate) struct Building {
            $($column: <$crate::cells::$cell as $crate::cells::Cell>::Building,)+
        }

        impl Building {
            /// Empty columns with room for so many rows.
            pub(crate) fn with_capacity(rows: usize) -> Building {
                Building { $($column: $crate::cells::Building::with_capacity(rows),)+ }
            }

            /// Appends a row.
            #[inline]
            pub(crate) fn push(&mut self, $at: &mut $line) {
                $({
                    let $out = &mut self.$column;
                    $fill
                })+
            }

            /// The finished columns in order, with the types of this schema.
            ///
            /// # Errors
            /// The schema lacks a column, or the values do not make a valid one.
            pub(crate) fn finish(
                self,
                schema: &arrow_schema::Schema,
            ) -> Result<Vec<arrow_array::ArrayRef>, arrow_schema::ArrowError> {
                Ok(vec![$($crate::cells::Building::finish(
                    self.$column,
                    schema.field_with_name(stringify!($column))?,
                )?,)+])
            }
        }

        #[doc = concat!("Columns of ", $words, ".")]
        pub struct $batch {
            rows: usize,
            $($column: $crate::cells::$cell,)+
        }

        #[doc = concat!("A row of ", $words, ", as it stands in its file.")]
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the columns of the tables, named and explained in the semantics")]
        pub struct $row<$life> {
            $(pub $column: <$crate::cells::$cell as $crate::cells::Cell>::Value<$life>,)+
        }

        $crate::schema::describe::batch!($batch, $row, COLUMNS, $($column),+);
    };
}

/// The id of a list's element, if the column is a list.
macro_rules! element {
    () => {
        None
    };
    ($element:literal) => {
        Some($element)
    };
}

/// Implements reading a batch of these columns of a list.
macro_rules! batch {
    ($batch:ident, $row:ident, $columns:expr, $($column:ident),+) => {
        impl $crate::schema::batch::RowBatch for $batch {
            fn columns() -> Vec<&'static $crate::schema::Column> {
                let named = [$(stringify!($column)),+];
                let find = |name: &str| $columns.iter().find(|column| column.name == name).expect("it is on the list");
                named.into_iter().map(find).collect()
            }
            fn of(batch: &arrow_array::RecordBatch) -> Result<Self, String> {
                let rows = batch.num_rows();
                Ok($batch { rows, $($column: $crate::schema::batch::take(batch, stringify!($column))?,)+ })
            }
        }

        impl $batch {
            /// Rows in it.
            pub fn len(&self) -> usize {
                self.rows
            }
            /// Whether it has no rows.
            pub fn is_empty(&self) -> bool {
                self.rows == 0
            }
            /// One row; `index` must be below the number of rows.
            pub fn row(&self, index: usize) -> $row<'_> {
                $row { $($column: $crate::cells::Cell::value(&self.$column, index),)+ }
            }
            /// All rows, in order.
            pub fn iter(&self) -> impl ExactSizeIterator<Item = $row<'_>> {
                (0..self.rows).map(|index| self.row(index))
            }
        }
    };
}

pub(crate) use {batch, columns, element};
