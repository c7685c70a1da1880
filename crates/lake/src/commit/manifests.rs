//! Reads what manifests describe.

use crate::error::LakeError;
use crate::lake::{Lake, LoadedTable};
use iceberg::spec::{ManifestEntryRef, ManifestFile};

impl Lake {
    /// The files that a manifest describes as live.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub(crate) async fn alive(
        &self,
        loaded: &LoadedTable,
        manifest: &ManifestFile,
    ) -> Result<Vec<ManifestEntryRef>, LakeError> {
        let entries = self.entries(loaded, manifest).await?;
        Ok(entries.into_iter().filter(|entry| entry.is_alive()).collect())
    }

    /// All files that a manifest describes, including deleted ones.
    ///
    /// # Errors
    /// The manifest cannot be read.
    pub(super) async fn entries(
        &self,
        loaded: &LoadedTable,
        manifest: &ManifestFile,
    ) -> Result<Vec<ManifestEntryRef>, LakeError> {
        let read = manifest.load_manifest(&self.io).await;
        let read = read.map_err(|e| LakeError::from_iceberg(loaded.table.name(), &manifest.manifest_path, &e))?;
        Ok(read.entries().to_vec())
    }
}

/// Whether a manifest describes files that are live.
pub(super) fn has_files(manifest: &ManifestFile) -> bool {
    manifest.added_files_count != Some(0) || manifest.existing_files_count != Some(0)
}
