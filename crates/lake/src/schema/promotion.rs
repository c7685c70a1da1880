//! Types that Iceberg can promote to others.

use iceberg::spec::{PrimitiveType, Type};

/// Whether files with the first type may belong to a column of the second: both are the same, or Iceberg's format promotes the first.
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

/// Whether a column of type `from` may be read as `to`: both are the same, or Iceberg promotes `from`, also within a list.
pub fn becomes(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Primitive(from), Type::Primitive(to)) => promotes(from, to),
        (Type::List(from), Type::List(to)) => becomes(&from.element_field.field_type, &to.element_field.field_type),
        _ => false,
    }
}
