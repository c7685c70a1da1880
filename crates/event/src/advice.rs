//! What to do where the system refuses a file: told in the same words by whoever opens any. (It is no matter of events; but this is the
//! one crate that all of them stand on.)

/// The process has as many files open as it may, or the host has.
pub const RAISE: &str =
    "raise the limit on open files of this process (`ulimit -n`, LimitNOFILE in systemd), or that of the host";
/// A right is missing.
pub const RIGHTS: &str = "this user must be able to read and write the file and its directory, and the file system must not be mounted read-only";

/// Numbers of the system's errors, the same on Linux and macOS.
const EPERM: i32 = 1;
const EACCES: i32 = 13;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EROFS: i32 = 30;

/// The numbers by which the system says that too many files are open.
pub const TOO_MANY_FILES: [i32; 2] = [EMFILE, ENFILE];

/// What to do about an error of the system by its number, where that is known.
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
