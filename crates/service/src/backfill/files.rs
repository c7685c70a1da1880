//! The files of a run: which they are, and whether they are those of another.

use super::BackfillRequest;
use authpulse_files as input;
use authpulse_journal::error::{ConsumerError, Result};
use authpulse_journal::refusal::Refusal;
use authpulse_lake::entry::BackfillFile;

/// Looks at the files without reading them, and refuses what no backfill can load; a command does this before it makes a lake.
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

/// Reads them once, to tell them from others.
pub(super) fn identify(request: &BackfillRequest) -> Result<Vec<BackfillFile>> {
    let mut files = Vec::new();
    for source in &request.files {
        let identity = input::identify(source, &|| request.goes_on())?.ok_or_else(|| not_regular(source))?;
        files.push(BackfillFile { name: identity.name, bytes: identity.size, sha256: identity.sha256 });
    }
    Ok(files)
}

/// Whether these are the same bytes, by whatever names.
pub(super) fn same_content(a: &[BackfillFile], b: &[BackfillFile]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.bytes == b.bytes && a.sha256 == b.sha256)
}

/// Files for people, so that one is told from another of its name.
pub(super) fn describe(files: &[BackfillFile]) -> String {
    let each =
        |f: &BackfillFile| format!("{} ({} bytes, SHA-256 {}…)", f.name, f.bytes, &f.sha256[..12.min(f.sha256.len())]);
    files.iter().map(each).collect::<Vec<_>>().join(", ")
}
