//! Replaces files by others, and merges small manifests.

use super::changed::Changed;
use super::manifests::has_files;
use super::prepare::{Attempt, MERGE_BELOW_BYTES, Next, Prepared, live_totals};
use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use crate::read::partition_of;
use crate::table_file::TableFile;
use iceberg::spec::{
    ManifestContentType, ManifestEntryRef, ManifestFile, ManifestStatus, Operation, Summary, TableMetadata,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most files that a rewritten manifest describes: somewhat more than fit into a small manifest.
const MANIFEST_FILES: usize = 10_000;

/// Files that are replaced by files with the same rows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replacement {
    /// The replaced files: paths, relative to the lake.
    pub gone: BTreeSet<String>,
    /// The files that replace them.
    pub new: Vec<TableFile>,
}

impl Lake {
    /// Prepares the replacement of files, and the merging of manifests if more than `manifests_max` small ones are left. `None` if no
    /// replacement can take place and nothing is to be merged.
    ///
    /// # Errors
    /// A manifest cannot be read, a replacement would change the number of rows, or the store fails.
    pub(super) async fn plan_replacement(
        &self,
        loaded: &LoadedTable,
        replacements: &[Replacement],
        manifests_max: usize,
    ) -> Result<(Option<Prepared>, Changed), LakeError> {
        let mut changed = Changed { taken: vec![false; replacements.len()], ..Changed::default() };
        let Some(parent) = loaded.metadata.current_snapshot() else {
            changed.why_not = Some("the table has no snapshot any more".to_owned());
            return Ok((None, changed));
        };
        let old = self.manifests(loaded, parent.manifest_list()).await?;
        if old.iter().any(|m| m.content == ManifestContentType::Deletes && has_files(m)) {
            changed.why_not = Some("another engine deleted single rows meanwhile".to_owned());
            return Ok((None, changed));
        }
        let merge = old.iter().filter(|m| is_small(m) && has_files(m)).count() > manifests_max.max(1);
        let Looked { read, mut kept, found } = self.look_for(loaded, old, replacements, merge).await?;
        let decided = match decide(replacements, &found) {
            Ok(decided) => decided,
            Err(what) => return Err(LakeError::Encode { table: loaded.table.name().to_owned(), what }),
        };
        (changed.taken, changed.why_not) = (decided.taken, decided.why_not);
        let (new, gone) = (decided.new, decided.gone);
        // A manifest that was read for a replacement that does not take place stays as it is.
        let is_touched = |entries: &[ManifestEntryRef]| {
            let path = |e: &ManifestEntryRef| self.store.relative(e.file_path()).ok();
            entries.iter().filter_map(path).any(|path| gone.contains(path.as_str()))
        };
        let (rewritten, untouched): (Vec<_>, Vec<_>) =
            read.into_iter().partition(|(m, entries)| (merge && is_small(m)) || is_touched(entries));
        kept.extend(untouched.into_iter().map(|(manifest, _)| manifest));
        if new.is_empty() && !merge {
            return Ok((None, changed));
        }
        changed.merged = if merge { rewritten.len() } else { 0 };
        let now = self.ids.now_ms().max(loaded.metadata.last_updated_ms());
        let mut attempt = self.attempt(loaded);
        let mut manifests = attempt.write_added(&new).await?;
        manifests.extend(attempt.rewrite(rewritten, &gone, |uri| self.store.relative(uri).ok()).await?);
        manifests.extend(kept);
        let gone_bytes = gone.iter().filter_map(|path| found.get(*path)).map(|found| found.bytes).sum();
        let summary = summary(&loaded.metadata, &new, (gone.len(), gone_bytes), &manifests);
        let snapshot = attempt.finish(manifests, summary, now).await?;
        let next = Next { snapshot: Some(snapshot), ..Next::default() };
        let prepared = self.write_metadata(loaded, next, now).await?;
        Ok((Some(prepared), changed))
    }

    /// Reads the manifests that may describe a file to replace; also the small ones if they are merged.
    async fn look_for(
        &self,
        loaded: &LoadedTable,
        manifests: Vec<ManifestFile>,
        replacements: &[Replacement],
        merge: bool,
    ) -> Result<Looked, LakeError> {
        let wanted: BTreeSet<&str> = replacements.iter().flat_map(|r| &r.gone).map(String::as_str).collect();
        let mut looked = Looked::default();
        for manifest in manifests {
            if !has_files(&manifest) {
                // Its files were removed by an earlier snapshot, so nobody needs to open it again.
                continue;
            }
            let mut touched = merge && is_small(&manifest);
            if wanted.is_empty() && !touched {
                looked.kept.push(manifest);
                continue;
            }
            let entries = self.alive(loaded, &manifest).await?;
            for entry in &entries {
                let path = self.store.relative(entry.file_path()).ok();
                if let Some(path) = path.filter(|path| wanted.contains(path.as_str())) {
                    let found = Described { rows: entry.record_count(), bytes: entry.file_size_in_bytes() };
                    looked.found.insert(path, found);
                    touched = true;
                }
            }
            if touched { looked.read.push((manifest, entries)) } else { looked.kept.push(manifest) }
        }
        Ok(looked)
    }
}

fn is_small(manifest: &ManifestFile) -> bool {
    manifest.manifest_length < MERGE_BELOW_BYTES
}

/// What manifests were found to describe.
#[derive(Default)]
struct Looked {
    /// Manifests to rewrite, if the replacements for which they were read take place.
    read: Vec<(ManifestFile, Vec<ManifestEntryRef>)>,
    /// Manifests that stay as they are.
    kept: Vec<ManifestFile>,
    /// The files to replace that are still in the table.
    found: BTreeMap<String, Described>,
}

/// A file as a manifest describes it.
#[derive(Clone, Copy, Debug)]
struct Described {
    rows: u64,
    bytes: u64,
}

/// Which replacements take place.
struct Decided<'a> {
    taken: Vec<bool>,
    gone: BTreeSet<&'a str>,
    new: Vec<&'a TableFile>,
    why_not: Option<String>,
}

/// A replacement takes place if all its files are still there. If it would change the number of rows, that is an error.
fn decide<'a>(replacements: &'a [Replacement], found: &BTreeMap<String, Described>) -> Result<Decided<'a>, String> {
    let mut decided = Decided { taken: Vec::new(), gone: BTreeSet::new(), new: Vec::new(), why_not: None };
    for replacement in replacements {
        let is_there = replacement.gone.iter().all(|path| found.contains_key(path));
        decided.taken.push(is_there);
        if !is_there {
            decided.why_not = Some("files to replace are gone from the table: another change was first".to_owned());
            continue;
        }
        let before: u64 = replacement.gone.iter().filter_map(|path| found.get(path)).map(|found| found.rows).sum();
        let after: u64 = replacement.new.iter().map(|file| file.rows).sum();
        if before != after {
            return Err(format!("files of {before} rows were rewritten as {after}: they are left as they are"));
        }
        decided.gone.extend(replacement.gone.iter().map(String::as_str));
        decided.new.extend(&replacement.new);
    }
    Ok(decided)
}

impl Attempt<'_> {
    /// Writes new manifests for the files of some manifests, in order of partition; removed files are described as deleted.
    async fn rewrite(
        &mut self,
        manifests: Vec<(ManifestFile, Vec<ManifestEntryRef>)>,
        gone: &BTreeSet<&str>,
        relative: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<ManifestFile>, LakeError> {
        let mut by_spec: BTreeMap<i32, Vec<(Option<i32>, String, ManifestEntryRef)>> = BTreeMap::new();
        for (manifest, entries) in manifests {
            let files = by_spec.entry(manifest.partition_spec_id).or_default();
            for entry in entries {
                files.push((partition_of(&entry), manifest.manifest_path.clone(), entry));
            }
        }
        let mut written = Vec::new();
        for (spec_id, mut files) in by_spec {
            files.sort_by(|(p, _, a), (q, _, b)| (p, a.file_path()).cmp(&(q, b.file_path())));
            for part in files.chunks(MANIFEST_FILES) {
                let (mut writer, path) = self.manifest(spec_id)?;
                for (_, manifest, entry) in part {
                    let (snapshot, sequence) = self.numbers(manifest, entry)?;
                    debug_assert!(entry.status() != ManifestStatus::Deleted);
                    let file = entry.data_file().clone();
                    let goes = relative(entry.file_path()).is_some_and(|path| gone.contains(path.as_str()));
                    let add = if goes {
                        writer.add_delete_file(file, sequence, entry.file_sequence_number)
                    } else {
                        writer.add_existing_file(file, snapshot, sequence, entry.file_sequence_number)
                    };
                    add.map_err(self.failed(&path))?;
                }
                written.push(writer.write_manifest_file().await.map_err(self.failed(&path))?);
            }
        }
        Ok(written)
    }
}

/// The snapshot's summary: rows moved from file to file, none was added or removed.
fn summary(
    base: &TableMetadata,
    new: &[&TableFile],
    (gone, gone_bytes): (usize, u64),
    manifests: &[ManifestFile],
) -> Summary {
    let rows: u64 = new.iter().map(|file| file.rows).sum();
    let bytes: u64 = new.iter().map(|file| file.bytes).sum();
    let partitions: BTreeSet<_> = new.iter().map(|file| (file.spec_id, file.partition)).collect();
    let (total_files, total_rows) = live_totals(manifests);
    let mut properties = HashMap::from([
        ("added-data-files".to_owned(), new.len().to_string()),
        ("deleted-data-files".to_owned(), gone.to_string()),
        ("added-records".to_owned(), rows.to_string()),
        ("deleted-records".to_owned(), rows.to_string()),
        ("added-files-size".to_owned(), bytes.to_string()),
        ("removed-files-size".to_owned(), gone_bytes.to_string()),
        ("changed-partition-count".to_owned(), partitions.len().to_string()),
        ("total-data-files".to_owned(), total_files.to_string()),
        ("total-records".to_owned(), total_rows.to_string()),
        ("total-delete-files".to_owned(), "0".to_owned()),
        ("total-position-deletes".to_owned(), "0".to_owned()),
        ("total-equality-deletes".to_owned(), "0".to_owned()),
    ]);
    let before = base.current_snapshot().and_then(|parent| {
        parent.summary().additional_properties.get("total-files-size").and_then(|v| v.parse::<u64>().ok())
    });
    if let Some(before) = before {
        properties.insert("total-files-size".to_owned(), (before + bytes).saturating_sub(gone_bytes).to_string());
    }
    Summary { operation: Operation::Replace, additional_properties: properties }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Table;

    fn replacement(gone: &[&str], rows: u64) -> Replacement {
        let file = TableFile {
            table: Table::CURATED,
            path: "new".to_owned(),
            rows,
            bytes: 1,
            spec_id: 0,
            partition: 0,
            times: None,
            data_file: String::new(),
            sha256: String::new(),
            columns: Vec::new(),
        };
        Replacement { gone: gone.iter().map(|path| (*path).to_owned()).collect(), new: vec![file] }
    }

    #[test]
    fn a_replacement_takes_place_whole_or_not_at_all_and_keeps_every_row() {
        let found = ["a", "b", "c"].map(|path| (path.to_owned(), Described { rows: 2, bytes: 10 }));
        let found = BTreeMap::from(found);
        let both = [replacement(&["a", "b"], 4), replacement(&["c", "d"], 4)];
        let decided = decide(&both, &found).unwrap();
        assert_eq!((decided.taken, decided.gone.len(), decided.new.len()), (vec![true, false], 2, 1));
        assert!(decided.why_not.is_some_and(|why| why.contains("another change was first")));
        let fault = decide(&[replacement(&["a", "b"], 3)], &found).err();
        assert!(fault.is_some_and(|words| words.contains("4 rows") && words.contains("as 3")));
        let nothing = decide(&[], &found).unwrap();
        assert!(nothing.taken.is_empty() && nothing.new.is_empty() && nothing.why_not.is_none());
    }
}
