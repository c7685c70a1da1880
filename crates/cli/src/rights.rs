//! Who may read what this program writes: its user alone, or its group as well (`[store] group_read`).
//!
//! A lake, a stream, decisions and dead letters tell who logs on where. The file creation mask of the process is the one place that
//! holds for all of it: also for what SQLite makes (`-wal` and `-shm` files), for temporary and lock files, and for files that a later
//! change adds. It is set here and not in the crates, because it is the whole process' own: a program that uses a crate decides
//! for itself. What exists keeps its rights; where they let others in, a warning names the command that changes them.

use rustix::fs::Mode;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The permission bits of others, and of the group.
const OTHERS: u32 = 0o007;
const GROUP: u32 = 0o070;
/// The group's permission to write, which a group that may read does not get.
const GROUP_WRITE: u32 = 0o020;

/// The permission bits that nothing written here may have.
fn mask(group_read: bool) -> u32 {
    OTHERS | if group_read { GROUP_WRITE } else { GROUP }
}

/// From now on, what this process creates can be read by its user alone, or by its group as well. The mask that the process was started
/// with does not count: one that lets others in is often nobody's decision, and this one is.
pub fn set(group_read: bool) {
    rustix::process::umask(Mode::RWXO | if group_read { Mode::WGRP } else { Mode::RWXG });
}

/// The command that gives a place the rights it would get if it were created now; none if it has them. A place lacks them if others can
/// read it, or if the group cannot although `is_to_read` says that it should. Of a directory, it and its direct entries are checked.
fn needed(place: &Path, group_read: bool, is_to_read: bool) -> Option<String> {
    let place_itself = std::fs::metadata(place).ok().filter(|found| found.is_dir() || found.is_file())?;
    let rights = |found: &std::fs::Metadata| (found.is_dir(), found.permissions().mode());
    let (is_dir, own) = rights(&place_itself);
    // A file in a closed directory cannot be reached, so it counts as closed.
    let inner: Vec<(bool, u32)> = match std::fs::read_dir(place) {
        Ok(entries) if is_dir => {
            let found = entries.filter_map(|entry| entry.ok()?.metadata().ok());
            found.filter(|found| !found.is_symlink()).map(|found| rights(&found)).collect()
        }
        _ => vec![(false, own)],
    };
    let read = |is_dir: bool| if is_dir { 0o050 } else { 0o040 };
    let is_open = own & mask(group_read) != 0 && inner.iter().any(|(_, mode)| mode & mask(group_read) != 0);
    let is_closed = is_to_read && {
        let lacks = |is_dir: bool, mode: u32| mode & read(is_dir) != read(is_dir);
        lacks(is_dir, own) || inner.iter().any(|(is_dir, mode)| lacks(*is_dir, *mode))
    };
    let group = if group_read { "g=rX" } else { "g=" };
    let recursive = if is_dir { "-R " } else { "" };
    (is_open || is_closed).then(|| format!("chmod {recursive}{group},o= {}", quoted(place)))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+=:@,".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Warns of existing places whose rights differ from those of new files: a lake, which the group is meant to read, and others, which it is
/// not. One warning, whatever their number.
pub fn tell<'a>(lake: Option<&'a Path>, others: impl IntoIterator<Item = &'a Path>, group_read: bool) {
    let lake = lake.and_then(|lake| needed(lake, group_read, group_read));
    let others = others.into_iter().filter_map(|place| needed(place, group_read, false));
    let commands: Vec<String> = lake.into_iter().chain(others).collect();
    if !commands.is_empty() {
        let (who, or) = match group_read {
            true => ("its user and its group can read", ""),
            false => ("its user alone can read", "; or, if a group is to read it, set `[store] group_read = true`"),
        };
        tracing::warn!(
            "what is there keeps its rights, and {who} what is written from now on; to make both the same: {}{or}",
            commands.join(" && ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions, write};

    #[test]
    fn rights_that_differ_are_told_with_the_command_that_mends_them() {
        let place = tempfile::tempdir().unwrap();
        let dir = place.path().join("lake");
        create_dir(&dir).unwrap();
        write(dir.join("lake.json"), "").unwrap();
        let set = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
        for (directory, file, group_read, word) in [
            (0o700, 0o600, false, None),
            (0o755, 0o644, false, Some("-R g=,o=")),
            (0o750, 0o640, false, Some("-R g=,o=")),
            // First nobody reaches the file, then nothing in the directory can be read.
            (0o700, 0o644, false, None),
            (0o755, 0o600, false, None),
            (0o755, 0o644, true, Some("-R g=rX,o=")),
            (0o750, 0o640, true, None),
            (0o750, 0o600, true, Some("-R g=rX,o=")),
            (0o700, 0o640, true, Some("-R g=rX,o=")),
        ] {
            set(&dir.join("lake.json"), file);
            set(&dir, directory);
            let told = needed(&dir, group_read, group_read);
            let expected = word.map(|word| format!("chmod {word} {}", dir.display()));
            assert_eq!(told, expected, "{directory:o} {file:o} {group_read}");
        }
        let file = place.path().join("it's decisions");
        write(&file, "").unwrap();
        set(&file, 0o644);
        let told = needed(&file, false, false).unwrap();
        assert!(told.starts_with("chmod g=,o= '") && told.ends_with("it'\\''s decisions'"), "{told}");
        set(&dir, 0o700);
        assert_eq!(needed(&dir, true, false), None, "a stream, which nobody else is there to read");
        assert_eq!(needed(&place.path().join("nowhere"), true, true), None);
        assert_eq!(needed(Path::new("/dev/null"), false, false), None, "not the operator's own");
    }
}
