//! What to do if the system refuses a file.

use authpulse_event::advice::on_refused_file;
use std::io;

fn of(error: &io::Error) -> Option<&'static str> {
    error.raw_os_error().and_then(on_refused_file)
}

/// The system's error text, with advice if there is any for this error.
pub(crate) fn words(error: &io::Error) -> String {
    of(error).map_or_else(|| error.to_string(), |advice| format!("{error}: {advice}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_files_are_no_want_of_rights() {
        for (code, word) in [(24, "LimitNOFILE"), (23, "LimitNOFILE"), (13, "read-only"), (30, "read-only")] {
            let told = words(&io::Error::from_raw_os_error(code));
            assert!(told.contains(word), "{code}: {told}");
        }
        assert_eq!(words(&io::Error::from_raw_os_error(28)), io::Error::from_raw_os_error(28).to_string());
    }
}
