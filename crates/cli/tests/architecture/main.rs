//! House rules that the compiler does not check: which crate may depend on which, what pure means, what no file may hold.

mod circles;
mod contents;
mod dependencies;
mod errors;
mod log_targets;
mod pure;
mod retired_words;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace is above this crate").to_owned()
}

/// The output of a program that is run in the workspace's root.
fn output(program: &str, words: &[&str]) -> String {
    let ran = Command::new(program).args(words).current_dir(root()).output();
    let ran = ran.unwrap_or_else(|e| panic!("{program} cannot be run: {e}"));
    assert!(ran.status.success(), "{program} {words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).expect("text")
}

/// The workspace's crates: name, and (dependency, kind), where the kind of a normal one is empty.
fn crates() -> BTreeMap<String, Vec<(String, String)>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let text = output(&cargo, &["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&text).expect("cargo metadata is JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&metadata["packages"])
        .iter()
        .map(|package| {
            let dependencies = list(&package["dependencies"]);
            (text(&package["name"]), dependencies.iter().map(|d| (text(&d["name"]), text(&d["kind"]))).collect())
        })
        .collect()
}

/// The repository's own files: tracked by git or not yet added, and not ignored.
fn files() -> Vec<PathBuf> {
    let listed = output("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let root = root();
    let files: Vec<PathBuf> = listed.split('\0').filter(|f| !f.is_empty()).map(|f| root.join(f)).collect();
    files.into_iter().filter(|f| f.is_file()).collect()
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).display().to_string()
}
