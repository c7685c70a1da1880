//! The types of values.

use iceberg::spec::{ListType, NestedField, PrimitiveType, Type};

/// The types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UTF-8.
    Text,
    /// A list of texts; neither the list nor an element is null in what is written here.
    Texts,
    /// Microseconds since 1970, UTC, without a zone.
    Time,
    /// Days since 1970.
    Date,
    /// 32 bits.
    Int,
    /// 64 bits.
    Long,
    /// IEEE 754, 64 bits.
    Double,
    /// Bytes.
    Binary,
}

impl Kind {
    /// Iceberg's type; the element of a list gets this id.
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
