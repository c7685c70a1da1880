//! Commands that messages hand out.

/// A name in quotes, as a shell takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("'{}'", name.replace('\'', r"'\''"))
}
