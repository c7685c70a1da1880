//! Who may read what this program writes: its user alone, or its group as well (`[store] group_read`).
//!
//! A lake, a stream, decisions and dead letters tell who logs on where. The file creation mask of the process is the one place that
//! holds for all of it: also for what SQLite makes (`-wal` and `-shm` files), for temporary and lock files, and for files that a later
//! change adds. It is set here and not in the crates, because it is the whole process' own: a program that uses a crate decides
//! for itself. What exists keeps its rights; where they let others in, a warning names the command that changes them.

use rustix::fs::Mode;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What is taken from others, and from the group.
const OTHERS: u32 = 0o007;
const GROUP: u32 = 0o070;
/// What a group that reads must not do.
const GROUP_WRITE: u32 = 0o020;

/// What whoever else has is too much.
fn mask(group_read: bool) -> u32 {
    OTHERS | if group_read { GROUP_WRITE } else { GROUP }
}

/// From now on, whatever this process makes is its user's own, or may be read by its group. Whatever mask it was started with: one that
/// lets others in is often nobody's decision, and this one is.
pub fn set(group_read: bool) {
    rustix::process::umask(Mode::RWXO | if group_read { Mode::WGRP } else { Mode::RWXG });
}

/// The command that gives a place the rights that it would have if it were made now, if it lacks them: where others can read, or
/// the group that `is_to_read` cannot. Of a directory it and what lies in it directly are looked at.
fn needed(place: &Path, group_read: bool, is_to_read: bool) -> Option<String> {
    let place_itself = std::fs::metadata(place).ok().filter(|found| found.is_dir() || found.is_file())?;
    let rights = |found: &std::fs::Metadata| (found.is_dir(), found.permissions().mode());
    let (is_dir, own) = rights(&place_itself);
    // What can be read only by way of a directory that is closed is closed as well.
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

/// Says which of the places that exist have other rights than what is made there from now on: a lake, which a group is there to read, and
/// others. One warning, whatever their number.
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
            // Nobody comes to the file; nothing in the directory can be read.
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
