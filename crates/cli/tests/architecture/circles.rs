//! Files of a crate depend on each other in one direction: modules that use each other's items never form a circle.
//!
//! A module and the modules in it count as one among their siblings; within it, they may use each other's items. Code under `#[cfg(test)]`
//! or `#[test]` does not count. An item belongs to the module that declares it, whatever name it is imported under. Methods are not seen:
//! their names alone do not say where they are declared.

mod modules;
mod paths;
pub mod words;

use crate::root;
use modules::{Module, Modules, SourceLine};
use paths::Resolution;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Each crate's directory, and the file where its modules begin.
const ROOTS: &[(&str, &str)] = &[
    ("audit", "src/lib.rs"),
    ("aws", "src/lib.rs"),
    ("aws-client", "src/lib.rs"),
    ("cli", "src/main.rs"),
    ("engine", "src/lib.rs"),
    ("event", "src/lib.rs"),
    ("files", "src/lib.rs"),
    ("journal", "src/lib.rs"),
    ("kinesis", "src/lib.rs"),
    ("kpl", "src/lib.rs"),
    ("lake", "src/lib.rs"),
    ("lease", "src/lib.rs"),
    ("oracle", "src/lib.rs"),
    ("producer", "src/lib.rs"),
    ("service", "src/lib.rs"),
    ("settings", "src/lib.rs"),
    ("simulation", "tests/simulation/main.rs"),
    ("sqlite", "src/lib.rs"),
    ("stream", "src/lib.rs"),
    ("worker", "src/lib.rs"),
];

/// One module uses an item of a sibling.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Use {
    place: SourceLine,
    item: String,
}

/// What siblings use of each other: by the module that they lie in, by the module that uses, by the module that declares the item.
type Uses = BTreeMap<Vec<String>, BTreeMap<String, BTreeMap<String, Use>>>;

/// All uses of a sibling's item in a crate, each at its first place.
fn uses(modules: &Modules) -> Uses {
    let mut uses = Uses::new();
    for (path, module) in &modules.0 {
        for (named, place, declared) in declared(modules, path, module) {
            let common = path.iter().zip(&declared).take_while(|(a, b)| a == b).count();
            let (Some(user), Some(used)) = (path.get(common), declared.get(common)) else { continue };
            let here = Use { place: place.clone(), item: named.join("::") };
            let siblings = uses.entry(path[..common].to_vec()).or_default().entry(user.clone()).or_default();
            let first =
                siblings.entry(used.clone()).or_insert_with(|| Use { place: place.clone(), item: here.item.clone() });
            if here < *first {
                *first = here;
            }
        }
    }
    uses
}

/// The items that a module names, where it does, and the module that declares each.
fn declared<'a>(
    modules: &Modules,
    path: &[String],
    module: &'a Module,
) -> Vec<(Vec<String>, &'a SourceLine, Vec<String>)> {
    let mut declared = Vec::new();
    let imports = module.imports.iter().filter(|import| import.name.is_some());
    let imports = imports.map(|import| (&import.path, &import.place));
    for (named, place) in imports.chain(&module.mentions) {
        if let Some(Resolution::ItemOf(of)) = modules.resolve(path, named) {
            declared.push((named.clone(), place, of));
        }
    }
    for (name, place) in &module.calls {
        if let Some(of) = modules.declaring_macro(name) {
            declared.push((vec![format!("{name}!")], place, of.clone()));
        }
    }
    declared
}

/// The circles among siblings, shortest first. Each lists its members in order, beginning with the first by name. Each use gives one
/// circle: the use and the shortest way back.
fn circles(uses: &BTreeMap<String, BTreeMap<String, Use>>) -> Vec<Vec<&str>> {
    let pairs = uses.iter().flat_map(|(user, of)| of.keys().map(move |used| (user.as_str(), used.as_str())));
    let ways = pairs.filter_map(|(user, used)| shortest(uses, used, user));
    let circles: BTreeSet<Vec<&str>> = ways
        .map(|mut way| {
            let first = (0..way.len()).min_by_key(|at| way[*at]).unwrap_or_default();
            way.rotate_left(first);
            way
        })
        .collect();
    let mut circles: Vec<Vec<&str>> = circles.into_iter().collect();
    circles.sort_by_key(Vec::len);
    circles
}

/// The shortest way from one module to another along uses.
fn shortest<'a>(uses: &'a BTreeMap<String, BTreeMap<String, Use>>, from: &'a str, to: &str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, Option<&str>> = BTreeMap::from([(from, None)]);
    let mut next = VecDeque::from([from]);
    while let Some(at) = next.pop_front() {
        if at == to {
            let mut way: Vec<&str> = std::iter::successors(Some(at), |at| before[at]).collect();
            way.reverse();
            return Some(way);
        }
        for used in uses.get(at).into_iter().flat_map(BTreeMap::keys) {
            if !before.contains_key(used.as_str()) {
                before.insert(used, Some(at));
                next.push_back(used);
            }
        }
    }
    None
}

/// A circle, and a line for each use in it.
fn told(within: &[String], circle: &[&str], uses: &BTreeMap<String, BTreeMap<String, Use>>) -> String {
    let within = if within.is_empty() { String::new() } else { format!(" in {}", within.join("::")) };
    let mut told = format!("{} -> {}{within}", circle.join(" -> "), circle[0]);
    for (user, used) in circle.iter().zip(circle.iter().cycle().skip(1)) {
        let Use { place, item } = &uses[*user][*used];
        told += &format!("\n    {}:{}: {user} uses {item} of {used}", place.file, place.line);
    }
    told
}

/// The circles of a crate, each with its lines.
fn circles_of(root: &str, read: modules::Read<'_>) -> Vec<String> {
    let modules = Modules::of(root, read).unwrap_or_else(|fault| panic!("{fault}"));
    let uses = uses(&modules);
    let mut faults = Vec::new();
    for (within, uses) in &uses {
        faults.extend(circles(uses).iter().map(|circle| told(within, circle, uses)));
    }
    faults
}

#[test]
fn files_know_each_other_one_way() {
    let dirs = std::fs::read_dir(root().join("crates")).expect("the crates lie there");
    let dirs: BTreeSet<String> =
        dirs.map(|dir| dir.expect("a directory").file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(dirs, ROOTS.iter().map(|(dir, _)| (*dir).to_owned()).collect(), "each crate has its place in ROOTS");
    let read = |file: &str| std::fs::read_to_string(root().join(file)).ok();
    let faults: Vec<String> =
        ROOTS.iter().flat_map(|(dir, first)| circles_of(&format!("crates/{dir}/{first}"), &read)).collect();
    assert!(
        faults.is_empty(),
        "{} circles; move an item to the file that it belongs to, or to a lower one with a subject of its own:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// The circles among the files of a made-up crate.
fn found(files: &[(&str, &str)]) -> Vec<String> {
    let read =
        |file: &str| files.iter().find(|(name, _)| format!("src/{name}") == file).map(|(_, text)| (*text).to_owned());
    circles_of("src/lib.rs", &read).iter().map(|told| told.lines().next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_circle_is_seen_by_whatever_name_its_items_are_taken() {
    let declared = "pub mod a;\nmod b;\npub use b::{B, c::{self, C as D}};";
    let below = ("b.rs", "pub mod c; pub struct B(pub crate::a::A);");
    let c = ("b/c.rs", "pub struct C; pub fn made() {}");
    for a in [
        "use crate::b::B; pub struct A;",
        "use crate::{b::{self, B}}; pub struct A;",
        "use super::b::c::*; pub struct A; fn f() -> C { made() }",
        "pub struct A; fn f() { crate::b::c::made() }",
        "use crate::b::c; pub struct A; fn f() { c::made() }",
        // Through the crate's root.
        "use crate::D; pub struct A;",
        "pub struct A; fn f() { let _ = crate::c::C; }",
        "pub struct A; mod inner { use super::super::B; }",
        "#[serde(with = crate::b::B)] pub struct A;",
    ] {
        let found = found(&[("lib.rs", declared), ("a.rs", a), below, c]);
        assert_eq!(found, ["a -> b -> a"], "{a}");
    }
    for a in [
        "pub struct A; // crate::b::B",
        "pub struct A; const B: &str = \"crate::b::B\";",
        "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }",
        "#[cfg(test)] use crate::b::{c, B}; pub struct A; #[cfg(test)] fn f(b: B) -> Vec<B> { b }",
        "use crate::b; pub struct A;",
        "pub struct A; fn f(b: &str) { b.c(); ::b::c::made() }",
    ] {
        let found = found(&[("lib.rs", declared), ("a.rs", a), below, c]);
        assert_eq!(found, Vec::<String>::new(), "{a}");
    }
}

#[test]
fn a_module_and_those_in_it_count_as_one() {
    let parent = ("a/mod.rs", "mod x; mod y; pub struct A(x::X);");
    let root = ("lib.rs", "mod a; mod b; pub struct Root;");
    let x = ("a/x.rs", "use super::A; use crate::Root; pub struct X;");
    let y = ("a/y.rs", "pub struct Y(crate::b::B);");
    let b = ("b.rs", "pub struct B;");
    assert_eq!(found(&[root, parent, x, y, b]), Vec::<String>::new());
    let x = ("a/x.rs", "pub struct X(super::y::Y);");
    assert_eq!(found(&[root, parent, x, ("a/y.rs", "pub type Y = super::x::X;"), b]), ["x -> y -> x in a"]);
    let b = ("b.rs", "pub struct B; fn f(_: crate::a::A) {}");
    assert_eq!(found(&[root, parent, x, y, b]), ["a -> b -> a"]);
}

#[test]
fn a_circle_may_be_long_and_go_through_a_macro() {
    let root = ("lib.rs", "#[macro_use] mod a; mod b; mod c;");
    let a = ("a.rs", "macro_rules! say { () => {} } fn f() { crate::c::f() }");
    let files = [root, a, ("b.rs", "pub fn f() { say!() }"), ("c.rs", "use crate::b; pub fn f() { b::f() }")];
    assert_eq!(found(&files), ["a -> c -> b -> a"]);
}
