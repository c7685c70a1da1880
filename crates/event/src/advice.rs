//! Advice for when the operating system refuses a file, so that all crates give it in the same words. (It has nothing to do with
//! events, but all crates that open files depend on this one.)

/// Advice where the process, or the host, has reached its limit on open files.
pub const RAISE: &str =
    "raise the limit on open files of this process (`ulimit -n`, LimitNOFILE in systemd), or that of the host";
/// Advice where this user may not read or write the file.
pub const RIGHTS: &str = "this user must be able to read and write the file and its directory, and the file system must not be mounted read-only";

/// A disk is full.
pub const FREE_SPACE: &str = "free some space";
/// A device failed, or a quota or a limit on the size of files is reached: not every system tells which.
pub const SEE_DISK: &str =
    "see that the disk is not full, no quota and no limit on the size of files is reached, and the device is sound";
/// Another process has a file for itself.
pub const HELD: &str = "another process has held it for 10 s; try again when that is done";

/// Whether an error's words say already what to do.
pub fn is_in(words: &str) -> bool {
    [RAISE, RIGHTS, FREE_SPACE, SEE_DISK, HELD, "ulimit -n", "report this"].iter().any(|advice| words.contains(advice))
}

// Error numbers (errno), the same on Linux and macOS.
const EPERM: i32 = 1;
const EACCES: i32 = 13;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EROFS: i32 = 30;

/// The error numbers (errno) for too many open files: of the process, of the host.
pub const TOO_MANY_FILES: [i32; 2] = [EMFILE, ENFILE];

/// The advice for an error number (errno) of the system; `None` where there is none to give.
pub fn on_refused_file(code: i32) -> Option<&'static str> {
    match code {
        EMFILE | ENFILE => Some(RAISE),
        EPERM | EACCES | EROFS => Some(RIGHTS),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_files_are_no_want_of_rights() {
        assert_eq!([24, 23].map(on_refused_file), [Some(RAISE); 2]);
        assert_eq!([1, 13, 30].map(on_refused_file), [Some(RIGHTS); 3]);
        assert_eq!(on_refused_file(28), None, "a disk that is full is told of by itself");
    }
}
