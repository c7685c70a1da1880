//! What to do where the system refuses a file.

use std::io::{self, ErrorKind};

/// As many files as SQLite has open of one database: the file, its log, the log's index, the directory.
const DATABASE_FILES: usize = 4;

/// Words for a file that could not be opened. SQLite says the same where a right is missing and where this process, or the host, may
/// open no more files: which it is shows when some are opened.
pub(crate) fn unopened() -> &'static str {
    let opened: io::Result<Vec<_>> = (0..DATABASE_FILES).map(|_| std::fs::File::open("/dev/null")).collect();
    opened.err().as_ref().and_then(of).unwrap_or(RIGHTS)
}

/// What to do about a failure of the system, where that is known.
fn of(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error() {
        Some(EMFILE | ENFILE) => Some(RAISE),
        _ if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => Some(RIGHTS),
        _ => None,
    }
}

/// What the system says where the process has as many files open as it may, and where the host has. The same on Linux and macOS.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;
const RAISE: &str =
    "raise the limit on open files of this process (`ulimit -n`, LimitNOFILE in systemd), or that of the host";
pub(crate) const RIGHTS: &str = "this user must be able to read and write the file and its directory, and the file system must not be mounted read-only";

/// What the system said, and what to do where that is known.
pub(crate) fn words(error: &io::Error) -> String {
    of(error).map_or_else(|| error.to_string(), |advice| format!("{error}: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_files_are_no_want_of_rights() {
        for (code, word) in [(EMFILE, "LimitNOFILE"), (ENFILE, "LimitNOFILE"), (13, "read-only"), (30, "read-only")] {
            let told = words(&io::Error::from_raw_os_error(code));
            assert!(told.contains(word), "{code}: {told}");
        }
        assert_eq!(words(&io::Error::from_raw_os_error(28)), io::Error::from_raw_os_error(28).to_string());
        assert_eq!(unopened(), RIGHTS, "this process may open more");
    }
}
