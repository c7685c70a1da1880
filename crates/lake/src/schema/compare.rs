//! Compares later columns with a table's current schema: which the table has, which it lacks, and whose names somebody else has taken.
//! Pure: no table is loaded or written here.
//!
//! Names are compared exactly. Two names that differ only in letter case are one column to Glue and Athena but two to Iceberg, so nothing
//! may be added beside such a name. Ids come from the table, types from the writer of the rows: where the table has a wider type (`long`
//! for our `int`), files keep ours, and every engine promotes the values as it reads.

use super::{Column, FileColumn, promotes};
use iceberg::spec::{ListType, MapType, NestedField, NestedFieldRef, PrimitiveType, Schema, StructType, Type};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The later columns of a table with the ids that the table gave them: what encoders and readers need to know of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnIds {
    ours: BTreeMap<String, FileColumn>,
    taken: BTreeMap<String, String>,
}

impl ColumnIds {
    /// The column with the id that the table gave it, and the type in which its values are written (its parts have the table's ids as
    /// well); `None` if it cannot be written.
    pub fn get(&self, name: &str) -> Option<&FileColumn> {
        self.ours.get(name)
    }

    /// Columns whose names somebody else has taken, each with the reason. Their values are left out.
    pub fn taken(&self) -> impl Iterator<Item = (&str, &str)> {
        self.taken.iter().map(|(name, why)| (name.as_str(), why.as_str()))
    }

    /// Whether each of these is either there or taken, so that asking the table again would bring nothing new.
    pub(crate) fn settles<'a>(&self, mut names: impl Iterator<Item = &'a str>) -> bool {
        names.all(|name| self.ours.contains_key(name) || self.taken.contains_key(name))
    }

    /// Looks these columns up in a schema.
    pub fn in_schema<'a>(schema: &Schema, columns: impl IntoIterator<Item = &'a Column>) -> ColumnIds {
        let wanted: Vec<Wanted> = columns.into_iter().map(Wanted::from).collect();
        ColumnIds::of(schema, &wanted)
    }

    /// Looks these columns up in a schema.
    pub(crate) fn of<'a>(schema: &Schema, wanted: impl IntoIterator<Item = &'a Wanted>) -> ColumnIds {
        let mut ids = ColumnIds::default();
        for column in wanted {
            match find(schema, column) {
                ColumnMatch::Ours(found) => drop(ids.ours.insert(found.name.clone(), found)),
                ColumnMatch::Taken(why) => drop(ids.taken.insert(column.name.clone(), why)),
                ColumnMatch::Lacking => {}
            }
        }
        ids
    }
}

/// A later column that a table should have. The ids in its type mean nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its name.
    pub(crate) name: String,
    /// The type of its values.
    pub(crate) kind: Type,
    /// Its description, if this program has one.
    pub(crate) doc: Option<String>,
}

impl From<&Column> for Wanted {
    fn from(column: &Column) -> Wanted {
        Wanted { name: column.name.to_owned(), kind: column.kind.iceberg(0), doc: Some(column.doc.to_owned()) }
    }
}

impl From<&FileColumn> for Wanted {
    fn from(column: &FileColumn) -> Wanted {
        Wanted { name: column.name.clone(), kind: column.kind.clone(), doc: None }
    }
}

/// What a schema has under the name of a later column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ColumnMatch {
    /// The column, in the type asked for, with the table's ids.
    Ours(FileColumn),
    /// The column, or a part of it, is missing.
    Lacking,
    /// Another column has the name; says why ours cannot be written to it.
    Taken(String),
}

/// Looks a later column up in a schema.
pub(crate) fn find(schema: &Schema, wanted: &Wanted) -> ColumnMatch {
    let theirs = match field(schema.as_struct().fields(), &wanted.name) {
        Ok(Some(theirs)) => theirs,
        Ok(None) => return ColumnMatch::Lacking,
        Err(why) => return ColumnMatch::Taken(why),
    };
    if theirs.required {
        return ColumnMatch::Taken("it is required there".to_owned());
    }
    match fit(&theirs.field_type, &wanted.kind) {
        Ok(Some(kind)) => ColumnMatch::Ours(FileColumn { name: wanted.name.clone(), id: theirs.id, kind }),
        Ok(None) => ColumnMatch::Lacking,
        Err(why) => ColumnMatch::Taken(why),
    }
}

/// The field of this name, if there is one; an error if a name differs only in letter case.
fn field<'a>(fields: &'a [NestedFieldRef], name: &str) -> Result<Option<&'a NestedFieldRef>, String> {
    if let Some(found) = fields.iter().find(|field| field.name == name) {
        return Ok(Some(found));
    }
    match fields.iter().find(|field| field.name.to_lowercase() == name.to_lowercase()) {
        Some(other) => Err(format!("it is there in other letter case, as {}", other.name)),
        None => Ok(None),
    }
}

/// Our type with the table's ids; `None` if the table lacks a part of it; an error if the table has another type.
fn fit(theirs: &Type, ours: &Type) -> Result<Option<Type>, String> {
    match (theirs, ours) {
        (Type::Primitive(theirs), Type::Primitive(ours)) if promotes(ours, theirs) => {
            Ok(Some(Type::Primitive(ours.clone())))
        }
        (Type::List(theirs), Type::List(ours)) => {
            let element = fit_part(&theirs.element_field, &ours.element_field)?;
            Ok(element.map(|element| Type::List(ListType::new(element))))
        }
        (Type::Map(theirs), Type::Map(ours)) => {
            let key = fit_part(&theirs.key_field, &ours.key_field)?;
            let value = fit_part(&theirs.value_field, &ours.value_field)?;
            Ok(key.zip(value).map(|(key, value)| Type::Map(MapType::new(key, value))))
        }
        (Type::Struct(theirs), Type::Struct(ours)) => {
            let mut parts = Vec::new();
            for part in ours.fields() {
                let fitted = match field(theirs.fields(), &part.name)? {
                    Some(their_part) => fit_part(their_part, part)?,
                    None => None,
                };
                parts.push(fitted);
            }
            let others = theirs.fields().iter().filter(|their| ours.fields().iter().all(|our| our.name != their.name));
            if let Some(required) = others.into_iter().find(|field| field.required) {
                return Err(format!("its field {} is required, and is not written here", required.name));
            }
            let parts: Option<Vec<NestedFieldRef>> = parts.into_iter().collect();
            Ok(parts.map(|parts| Type::Struct(StructType::new(parts))))
        }
        _ => Err(format!("it has type {theirs}, and {ours} is needed")),
    }
}

fn fit_part(theirs: &NestedFieldRef, ours: &NestedFieldRef) -> Result<Option<NestedFieldRef>, String> {
    if theirs.required && !ours.required {
        return Err(format!("its part {} is required there", theirs.name));
    }
    let kind = fit(&theirs.field_type, &ours.field_type)?;
    Ok(kind.map(|kind| {
        let mut part = NestedField::clone(ours);
        (part.id, part.field_type) = (theirs.id, Box::new(kind));
        Arc::new(part)
    }))
}

/// The fields of a schema followed by the wanted ones that it lacks, in the order of `wanted`; and the names of the columns that were added
/// or completed. Ids continue after `last_id`, a column's own before those of its parts. Columns whose names are taken are left alone.
/// `None` if nothing is missing.
pub(crate) fn with_lacking(
    schema: &Schema,
    last_id: i32,
    wanted: &[Wanted],
) -> Option<(Vec<NestedFieldRef>, BTreeSet<String>)> {
    let mut next = Next(last_id.max(schema.highest_field_id()));
    let mut fields = schema.as_struct().fields().to_vec();
    let mut added = BTreeSet::new();
    for column in wanted {
        if find(schema, column) != ColumnMatch::Lacking || !added.insert(column.name.clone()) {
            continue;
        }
        match fields.iter_mut().find(|field| field.name == column.name) {
            // A part of the column is missing.
            Some(theirs) => *theirs = next.completed(theirs, &column.kind),
            None => {
                let mut field = NestedField::optional(next.id(), &column.name, Type::Primitive(PrimitiveType::String));
                field.field_type = Box::new(next.fresh(&column.kind));
                field.doc.clone_from(&column.doc);
                fields.push(field.into());
            }
        }
    }
    (!added.is_empty()).then_some((fields, added))
}

/// Assigns field ids.
struct Next(i32);

impl Next {
    fn id(&mut self) -> i32 {
        self.0 += 1;
        self.0
    }

    /// A type with new ids throughout: all of one level before those of the next, as Iceberg assigns them.
    fn fresh(&mut self, kind: &Type) -> Type {
        match kind {
            Type::Primitive(_) => kind.clone(),
            Type::List(list) => {
                Type::List(ListType::new(self.fresh_parts(std::slice::from_ref(&list.element_field)).remove(0)))
            }
            Type::Map(map) => {
                let mut parts = self.fresh_parts(&[map.key_field.clone(), map.value_field.clone()]);
                let value = parts.remove(1);
                Type::Map(MapType::new(parts.remove(0), value))
            }
            Type::Struct(fields) => Type::Struct(StructType::new(self.fresh_parts(fields.fields()))),
        }
    }

    fn fresh_parts(&mut self, parts: &[NestedFieldRef]) -> Vec<NestedFieldRef> {
        let ids: Vec<i32> = parts.iter().map(|_| self.id()).collect();
        let with_id = |(part, id): (&NestedFieldRef, i32)| {
            let mut part = NestedField::clone(part);
            part.id = id;
            part.field_type = Box::new(self.fresh(&part.field_type));
            Arc::new(part)
        };
        parts.iter().zip(ids).map(with_id).collect()
    }

    /// The table's field with those parts of our type that it lacks. Only called if nothing of it is taken.
    fn completed(&mut self, theirs: &NestedFieldRef, ours: &Type) -> NestedFieldRef {
        let mut field = NestedField::clone(theirs);
        let kind = match (theirs.field_type.as_ref(), ours) {
            (Type::List(theirs), Type::List(ours)) => {
                Type::List(ListType::new(self.completed(&theirs.element_field, &ours.element_field.field_type)))
            }
            (Type::Map(theirs), Type::Map(ours)) => {
                let key = self.completed(&theirs.key_field, &ours.key_field.field_type);
                let value = self.completed(&theirs.value_field, &ours.value_field.field_type);
                Type::Map(MapType::new(key, value))
            }
            (Type::Struct(theirs), Type::Struct(ours)) => {
                let mut parts = theirs.fields().to_vec();
                for part in ours.fields() {
                    match parts.iter_mut().find(|their| their.name == part.name) {
                        Some(their) => *their = self.completed(their, &part.field_type),
                        None => {
                            // Existing rows have no value for it.
                            let mut new = NestedField::clone(&self.fresh_parts(std::slice::from_ref(part)).remove(0));
                            new.required = false;
                            parts.push(new.into());
                        }
                    }
                }
                Type::Struct(StructType::new(parts))
            }
            (theirs, _) => theirs.clone(),
        };
        field.field_type = Box::new(kind);
        field.into()
    }
}

#[cfg(test)]
mod tests;
