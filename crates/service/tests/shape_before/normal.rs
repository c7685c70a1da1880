//! What two versions of the program write alike once the program's own name in Parquet files is left out. The lengths and checksums of
//! these files depend on that name, so they are left out wherever they are stored.

use crate::archive::Dump;
use crate::created_by::without_created_by;
use serde_json::Value;
use std::collections::BTreeMap;

/// Everything of a lake that can be compared, by kind.
pub fn normal(dump: &Dump) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for (path, modified, body) in &dump.files {
        let body = match path {
            path if path.ends_with(".parquet") => without_created_by(body),
            path if path.ends_with(".metadata.json") => metadata(body),
            // Avro has a random mark in each file.
            path if path.ends_with(".avro") => Vec::new(),
            _ => body.to_vec(),
        };
        all.insert(format!("{path}, written at {modified}"), body);
    }
    for (shard, n, body) in &dump.entries {
        all.insert(format!("entry {n} of {shard}"), without_lengths(&unpacked(body)));
    }
    for (shard, n, body) in &dump.checkpoints {
        all.insert(format!("base {n} of {shard}"), without_lengths(&unpacked(body)));
    }
    for (table, location) in &dump.pointers {
        all.insert(format!("pointer to {table}"), location.clone().into_bytes());
    }
    all
}

/// The JSON of an entry, a checkpoint or a spill.
pub fn unpacked(body: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(body).unwrap()
}

/// A text without the lengths and checksums of files. Snapshot pieces and spill files, which have them as well, are compared whole.
fn without_lengths(json: &[u8]) -> Vec<u8> {
    let mut text = String::from_utf8(json.to_vec()).unwrap();
    for key in ["\"bytes\":", "\\\"file_size_in_bytes\\\":", "\"sha256\":\""] {
        let mut parts = text.split(key);
        let mut kept = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            kept.push_str(key);
            kept.push_str(part.trim_start_matches(|c: char| c.is_ascii_hexdigit()));
        }
        text = kept;
    }
    text.into_bytes()
}

/// Metadata of a table, without the bytes that a snapshot added, and without the descriptions of columns, which newer tables have.
fn metadata(json: &[u8]) -> Vec<u8> {
    let mut value: Value = serde_json::from_slice(json).unwrap();
    for snapshot in value["snapshots"].as_array_mut().into_iter().flatten() {
        let summary = snapshot["summary"].as_object_mut().unwrap();
        summary.retain(|key, _| !key.ends_with("-files-size"));
    }
    for schema in value["schemas"].as_array_mut().into_iter().flatten() {
        for field in schema["fields"].as_array_mut().into_iter().flatten() {
            field.as_object_mut().unwrap().remove("doc");
        }
    }
    value.to_string().into_bytes()
}
