//! Types that Iceberg lets become others.

use iceberg::spec::{PrimitiveType, Type};

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

/// Whether a column of this type may be read as that: the same, or one to which Iceberg promotes it, also within a list.
pub fn becomes(from: &Type, to: &Type) -> bool {
    match (from, to) {
        (Type::Primitive(from), Type::Primitive(to)) => promotes(from, to),
        (Type::List(from), Type::List(to)) => becomes(&from.element_field.field_type, &to.element_field.field_type),
        _ => false,
    }
}
