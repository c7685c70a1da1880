//! Metadata files: their names, their bytes, and whether this crate can use the table.

use crate::error::LakeError;
use crate::schema::{Table, becomes};
use bytes::Bytes;
use iceberg::spec::{FormatVersion, TableMetadata, TableMetadataBuilder};
use std::collections::HashMap;
use uuid::Uuid;

/// The value of `current-snapshot-id` in a table that has never had a snapshot.
const NO_SNAPSHOT: i64 = -1;

/// The next metadata file of a table: `<location>/metadata/<version>-<uuid>.metadata.json`.
pub(crate) fn next_location(table_location: &str, previous: Option<&str>, uuid: Uuid) -> String {
    let version = previous.and_then(|location| {
        let name = location.rsplit('/').next()?;
        name.split('-').next()?.parse::<u32>().ok()
    });
    let version = version.map_or(0, |v| v.saturating_add(1));
    format!("{table_location}/metadata/{version:05}-{uuid}.metadata.json")
}

/// The metadata of a new table at this location.
///
/// # Errors
/// The iceberg crate refuses it.
pub(crate) fn first(
    table: Table,
    location: String,
    properties: HashMap<String, String>,
) -> iceberg::Result<TableMetadataBuilder> {
    let (schema, spec, order) = (table.schema().as_ref(), table.partition_spec(), table.sort_order());
    TableMetadataBuilder::new(schema.clone(), spec.clone(), order.clone(), location, FormatVersion::V2, properties)
}

/// The bytes of a metadata file. Equal metadata give equal bytes: lists whose order Iceberg leaves open are sorted. The iceberg crate takes
/// the time of a change that adds no snapshot from the computer's clock; `updated_ms` replaces it.
///
/// # Errors
/// [`LakeError::Encode`] if the metadata cannot be written as JSON.
pub(crate) fn encode(table: Table, metadata: &TableMetadata, updated_ms: Option<i64>) -> Result<Bytes, LakeError> {
    let failed =
        |e: serde_json::Error| LakeError::Encode { table: table.name().to_owned(), what: format!("metadata: {e}") };
    let mut json = serde_json::to_value(metadata).map_err(failed)?;
    if let Some(ms) = updated_ms {
        json["last-updated-ms"] = ms.into();
    }
    if metadata.current_snapshot_id().is_none() {
        // Both are optional and every reader understands them; but Iceberg's Java library of 2022, and engines on it, refuse a table
        // without them.
        json["current-snapshot-id"] = NO_SNAPSHOT.into();
        json["snapshots"] = serde_json::json!([]);
    }
    for (list, key) in [
        ("snapshots", "sequence-number"),
        ("schemas", "schema-id"),
        ("partition-specs", "spec-id"),
        ("sort-orders", "order-id"),
        ("statistics", "snapshot-id"),
        ("partition-statistics", "snapshot-id"),
    ] {
        if let Some(items) = json.get_mut(list).and_then(serde_json::Value::as_array_mut) {
            items.sort_by_key(|item| item.get(key).and_then(serde_json::Value::as_i64));
        }
    }
    serde_json::to_vec(&json).map(Bytes::from).map_err(failed)
}

/// Checks that a table has the columns and partitions for which files are written. Additional columns do no harm. Neither does a type to
/// which Iceberg promotes ours: files keep ours until they are merged.
///
/// # Errors
/// [`LakeError::Unsuitable`] says what differs: the format version, a column's id, type or requiredness, a missing column, or the partition
/// spec.
pub(crate) fn check(table: Table, metadata: &TableMetadata) -> Result<(), LakeError> {
    let refuse = |what: String| Err(LakeError::Unsuitable { table: table.name().to_owned(), what });
    if metadata.format_version() != FormatVersion::V2 {
        return refuse(format!("it has Iceberg format {}, and only version 2 can be used", metadata.format_version()));
    }
    for ours in table.schema().as_struct().fields() {
        match metadata.current_schema().field_by_name(&ours.name) {
            Some(theirs)
                if theirs.id == ours.id && becomes(&ours.field_type, &theirs.field_type) && !theirs.required => {}
            Some(theirs) => {
                return refuse(format!(
                    "column {} has id {} and type {}{}, and id {} and an optional {} are needed",
                    ours.name,
                    theirs.id,
                    if theirs.required { "required " } else { "" },
                    theirs.field_type,
                    ours.id,
                    ours.field_type
                ));
            }
            None => return refuse(format!("column {} is missing", ours.name)),
        }
    }
    let spec = table.partition_spec();
    match metadata.partition_spec_by_id(spec.spec_id()) {
        Some(theirs) if theirs.is_compatible_with(spec) => Ok(()),
        _ => refuse(format!("its partition spec {} is not the one of a new lake", spec.spec_id())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
    use std::sync::Arc;

    fn new(table: Table) -> TableMetadata {
        let builder = first(table, "memory:///t".to_owned(), table.properties());
        builder.and_then(|builder| builder.build()).unwrap().metadata
    }

    #[test]
    fn a_new_table_keeps_the_field_ids() {
        for table in Table::FIRST {
            let metadata = new(table);
            assert_eq!(metadata.current_schema(), table.schema(), "{table}");
            assert_eq!(metadata.default_partition_spec().as_ref(), table.partition_spec(), "{table}");
            assert_eq!(metadata.default_sort_order().as_ref(), table.sort_order(), "{table}");
        }
    }

    #[test]
    fn a_table_without_a_snapshot_says_so() {
        let table = Table::REJECTED;
        let metadata = new(table);
        let bytes = encode(table, &metadata, None).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!((&json["current-snapshot-id"], &json["snapshots"]), (&(-1).into(), &serde_json::json!([])));
        let back: TableMetadata = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(back.current_snapshot_id(), None);
        assert_eq!(encode(table, &back, None).unwrap(), bytes);
    }

    /// The metadata of a table with one column changed.
    fn with(table: Table, name: &str, edit: impl FnOnce(&mut NestedField)) -> TableMetadata {
        let mut fields = table.schema().as_struct().fields().to_vec();
        edit(Arc::make_mut(fields.iter_mut().find(|field| field.name == name).unwrap()));
        let schema = Schema::builder().with_fields(fields).build().unwrap();
        let (spec, order, at) = (table.partition_spec().clone(), table.sort_order().clone(), "memory:///t".to_owned());
        let builder = TableMetadataBuilder::new(schema, spec, order, at, FormatVersion::V2, table.properties());
        builder.unwrap().build().unwrap().metadata
    }

    #[test]
    fn a_column_may_have_a_type_to_which_iceberg_promotes_ours_and_no_other() {
        let of = |kind: PrimitiveType| {
            let other = with(Table::CURATED, "risk_score", |field| *field.field_type = Type::Primitive(kind));
            check(Table::CURATED, &other)
        };
        assert!(of(PrimitiveType::Int).is_ok() && of(PrimitiveType::Long).is_ok());
        for kind in [PrimitiveType::String, PrimitiveType::Double, PrimitiveType::Float] {
            let words = of(kind.clone()).unwrap_err().to_string();
            assert!(
                words.contains("column risk_score has id 15 and type") && words.contains("optional int"),
                "{words}"
            );
        }
        let narrower = with(Table::CURATED, "login_count_1h", |field| {
            *field.field_type = Type::Primitive(PrimitiveType::Int);
        });
        assert!(check(Table::CURATED, &narrower).unwrap_err().to_string().contains("column login_count_1h"));
        let required = with(Table::CURATED, "user_id", |field| field.required = true);
        assert!(check(Table::CURATED, &required).unwrap_err().to_string().contains("column user_id"));
    }

    #[test]
    fn metadata_files_count_up() {
        let uuid = Uuid::from_u128(7);
        let first = next_location("memory:///t", None, uuid);
        assert_eq!(first, "memory:///t/metadata/00000-00000000-0000-0000-0000-000000000007.metadata.json");
        assert!(next_location("memory:///t", Some(&first), uuid).contains("/metadata/00001-"));
        assert!(next_location("t", Some("t/metadata/00041-x.gz.metadata.json"), uuid).contains("/00042-"));
    }
}
