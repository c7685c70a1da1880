//! The types of the values in columns.

use iceberg::spec::{ListType, NestedField, PrimitiveType, Type};

/// The type of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8 text.
    Text,
    /// A list of texts. In what is written here neither the list nor an element is null.
    Texts,
    /// Microseconds since 1970, UTC, without a zone.
    Time,
    /// Days since 1970.
    Date,
    /// A signed integer of 32 bits.
    Int,
    /// A signed integer of 64 bits.
    Long,
    /// A floating-point number of 64 bits (IEEE 754).
    Double,
    /// Bytes of any kind.
    Binary,
}

impl Kind {
    /// The Iceberg type. The element of a list gets the id `element_id`.
    pub fn iceberg(self, element_id: i32) -> Type {
        Type::Primitive(match self {
            Kind::Text => PrimitiveType::String,
            Kind::Time => PrimitiveType::Timestamp,
            Kind::Date => PrimitiveType::Date,
            Kind::Int => PrimitiveType::Int,
            Kind::Long => PrimitiveType::Long,
            Kind::Double => PrimitiveType::Double,
            Kind::Binary => PrimitiveType::Binary,
            Kind::Texts => {
                let element = NestedField::list_element(element_id, Type::Primitive(PrimitiveType::String), false);
                return Type::List(ListType::new(element.into()));
            }
        })
    }
}
