//! Types that Iceberg lets become others.

use iceberg::spec::PrimitiveType;

/// Whether files with the first type may lie in a column of the second: it is the same, or Iceberg's format promotes it.
pub fn promotes(from: &PrimitiveType, to: &PrimitiveType) -> bool {
    use PrimitiveType::{Decimal, Double, Float, Int, Long};
    match (from, to) {
        (Int, Long) | (Float, Double) => true,
        (Decimal { precision, scale }, Decimal { precision: wider, scale: same }) => {
            scale == same && precision <= wider
        }
        _ => from == to,
    }
}
