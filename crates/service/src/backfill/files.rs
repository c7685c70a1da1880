//! The files of a run: their identity, and whether they equal those of another run.

use super::BackfillRequest;
use authpulse_files as input;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::refusal::Refusal;
use authpulse_lake::entry::BackfillFile;

/// Checks the files without reading them, and refuses those that no backfill can load. Commands call this before they make a lake.
///
/// # Errors
/// One is missing, cannot be opened, or is not a regular file.
pub fn check_files(sources: &[input::Source]) -> Result<()> {
    input::check(sources)?;
    for source in sources {
        input::stamp(source)?.ok_or_else(|| not_regular(source))?;
    }
    Ok(())
}

fn not_regular(source: &input::Source) -> ConsumerError {
    Refusal::NotRegular(source.to_string()).into()
}

/// Reads the files once for their sizes and digests, which identify them.
///
/// # Errors
/// A file cannot be read or is not a regular file, or the request was stopped.
pub(super) fn identify(request: &BackfillRequest) -> Result<Vec<BackfillFile>> {
    let mut files = Vec::new();
    for source in &request.files {
        let identity = input::identify(source, &|| request.goes_on())?.ok_or_else(|| not_regular(source))?;
        files.push(BackfillFile { name: identity.name, bytes: identity.size, sha256: identity.sha256 });
    }
    Ok(files)
}

/// Whether both lists have the same bytes in the same order; names do not matter.
pub(super) fn same_content(a: &[BackfillFile], b: &[BackfillFile]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.bytes == b.bytes && a.sha256 == b.sha256)
}

/// Describes files for people, with size and digest: two files may have the same name.
pub(super) fn describe(files: &[BackfillFile]) -> String {
    let each =
        |f: &BackfillFile| format!("{} ({} bytes, SHA-256 {}…)", f.name, f.bytes, &f.sha256[..12.min(f.sha256.len())]);
    files.iter().map(each).collect::<Vec<_>>().join(", ")
}
