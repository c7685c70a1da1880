//! Words that names no longer use, and the field's words that replaced them. docs/GLOSSARY.md lists both.
//!
//! Only what code declares is checked: types, functions, modules, constants, fields, variants, parameters and locals. Comments, string
//! literals and names that others declare are not: `pop_front` is the standard library's, and `heirs` stays the name in stored JSON.

use crate::circles::words::{Word, words};
use crate::{files, shown};

/// A word that no name has any more, and what to say instead.
const RETIRED: &[(&str, &str)] = &[
    ("beat", "stagger"),
    ("board", "popularity index"),
    ("crew", "shard tasks"),
    ("draft", "entry builder"),
    ("front", "high water"),
    ("heir", "child"),
    ("judge", "admit; of rules evaluate, of answers classify, of rows check"),
    ("judged", "admitted, evaluated, checked"),
    ("judging", "admission"),
    ("land", "await stored"),
    ("landed", "stored"),
    ("landing", "stored"),
    ("parted", "released"),
    ("parting", "order to a keeper of leases"),
    ("rise", "advance"),
    ("risen", "advanced"),
    ("trouble", "disturbance"),
    ("troubled", "disturbed"),
];

/// Names of types that say too little: several crates had one each.
const TOO_WIDE: &[&str] = &["Base", "Found", "Held", "Opened", "Place", "Progress", "Reader", "Side", "Told"];

/// Names that may hold a retired word: file, name, why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Keywords that declare a type, and keywords that declare anything else with a name.
const TYPES: &[&str] = &["struct", "enum", "union", "trait", "type"];
const OTHERS: &[&str] = &["fn", "mod", "const", "static"];

/// A name that a source declares.
#[derive(Debug, PartialEq, Eq)]
struct Declared<'a> {
    name: &'a str,
    line: usize,
    is_type: bool,
}

/// The names that a source declares, in order. A field that a struct literal sets counts as well: it is declared somewhere.
fn declared(source: &str) -> Vec<Declared<'_>> {
    let words = words(source);
    let text = |at: usize| words.get(at).map_or("", |word| word.text);
    let before = |at: usize, back: usize| at.checked_sub(back).map_or("", text);
    let variants = variants(&words);
    let mut declared = Vec::new();
    // From `let` up to its value or type, from `for` up to `in`.
    let (mut pattern_ends, mut depth) = (None, 0);
    for (at, word) in words.iter().enumerate() {
        match word.text {
            "let" => (pattern_ends, depth) = (Some("="), 0),
            "for" if binds(&words[at + 1..]) => (pattern_ends, depth) = (Some("in"), 0),
            "(" | "{" | "[" => depth += 1,
            ")" | "}" | "]" => depth -= 1,
            ";" => pattern_ends = None,
            ":" if depth == 0 => pattern_ends = None,
            end if pattern_ends == Some(end) => pattern_ends = None,
            _ => {}
        }
        if !word.is_name() {
            continue;
        }
        let last = before(at, 1);
        let is_type = TYPES.contains(&last);
        let is_field = text(at + 1) == ":" && matches!(last, "{" | "(" | "," | "|" | "]" | ")" | "pub" | "mut" | "ref");
        let is_bound = pattern_ends.is_some() && !matches!(text(at + 1), "(" | "{" | "::" | ":") && last != "::";
        let is_macro = last == "!" && before(at, 2) == "macro_rules";
        if is_type || OTHERS.contains(&last) || is_field || is_bound || is_macro || variants.contains(&at) {
            declared.push(Declared { name: word.text, line: word.line, is_type });
        }
    }
    declared
}

/// Whether the `for` before these words begins a loop; it may also belong to an `impl`, or to lifetimes.
fn binds(behind: &[Word<'_>]) -> bool {
    let mut words = behind.iter().map(|word| word.text);
    words.find(|text| matches!(*text, "in" | "{" | ";" | "<")) == Some("in")
}

/// The positions of names of variants.
fn variants(words: &[Word<'_>]) -> Vec<usize> {
    let mut variants = Vec::new();
    for begin in (0..words.len()).filter(|at| words[*at].text == "enum") {
        let mut depth = 0;
        for at in begin + 1..words.len() {
            match words[at].text {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ if depth == 1 && matches!(words[at - 1].text, "{" | "," | "]") => variants.push(at),
                _ => {}
            }
            if depth == 0 && matches!(words[at].text, "}" | ";") {
                break;
            }
        }
    }
    variants
}

/// The parts of a name, in lower case: of `CamelCase`, `snake_case` and `SHOUTED`.
fn parts(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for piece in name.split('_') {
        let shouts = !piece.chars().any(char::is_lowercase);
        let mut begins = true;
        for c in piece.chars() {
            if begins || c.is_uppercase() && !shouts {
                parts.push(String::new());
            }
            begins = false;
            parts.last_mut().expect("it has begun").extend(c.to_lowercase());
        }
    }
    parts
}

/// What is wrong with a name, if anything is.
fn fault(declared: &Declared<'_>) -> Option<String> {
    let name = declared.name;
    let is = |part: &str, word: &str| part == word || part.strip_prefix(word).is_some_and(|rest| rest == "s");
    let parts = parts(name);
    if let Some((word, instead)) = RETIRED.iter().find(|(word, _)| parts.iter().any(|part| is(part, word))) {
        return Some(format!("{name}: '{word}' is no word of this code any more; say {instead}"));
    }
    (declared.is_type && TOO_WIDE.contains(&name)).then(|| format!("{name}: several things are; say which one it is"))
}

#[test]
fn no_name_has_a_retired_word() {
    let (mut faults, mut met) = (Vec::new(), Vec::new());
    for file in files() {
        let shown = shown(&file);
        if !shown.starts_with("crates/") || !shown.ends_with(".rs") {
            continue;
        }
        let source = std::fs::read_to_string(&file).expect("a source is text");
        for declared in declared(&source) {
            let Some(fault) = fault(&declared) else { continue };
            match EXCEPTIONS.iter().find(|(of, name, _)| *of == shown && *name == declared.name) {
                Some(exception) => met.push(exception),
                None => faults.push(format!("{shown}:{}: {fault}", declared.line)),
            }
        }
    }
    assert!(faults.is_empty(), "these names have better words (docs/GLOSSARY.md):\n{}", faults.join("\n"));
    let unmet: Vec<_> = EXCEPTIONS.iter().filter(|exception| !met.contains(exception)).collect();
    assert!(unmet.is_empty(), "nothing has these names any more: {unmet:?}");
}

#[test]
fn what_is_declared_is_seen_and_nothing_else() {
    let seen = |source: &str| -> Vec<String> { declared(source).iter().filter_map(fault).collect() };
    for source in [
        "struct Board;",
        "pub trait Judges {}",
        "type DraftOf = u8;",
        "fn is_heir() {}",
        "mod crew;",
        "const HEIRS_MAX: u8 = 1;",
        "struct A { pub(crate) heir: u8 }",
        "struct A { #[serde(default)] rises: u8 }",
        "enum A { B(u8), #[doc(hidden)] Risen { at: u8 } }",
        "enum A { Landed }",
        "fn f(front: &str) {}",
        "fn f() { let (mut draft, _) = g(); }",
        "fn f() { if let Some(heir) = g() {} }",
        "fn f() { for (heir, n) in g() {} }",
        "fn f() { g(|board: u8| board) }",
        "macro_rules! judge { () => {} }",
        "struct Place(u8);",
    ] {
        assert_eq!(seen(source).len(), 1, "{source}");
    }
    for source in [
        "struct Dashboard; fn aside() {} fn their() {}",
        "// struct Board\nconst A: &str = \"heir\";",
        "fn f() { queue.pop_front(); let first = queue.front(); }",
        "#[serde(rename = \"heirs\")] struct A;",
        "impl From<Heir> for Child { }",
        "enum A { Place, Reader(u8) }",
        "use bytes::buf::Reader;",
    ] {
        assert_eq!(seen(source), Vec::<String>::new(), "{source}");
    }
    assert_eq!(parts("BURST_LOGIN"), ["burst", "login"]);
    assert_eq!(parts("PopularityIndex_of"), ["popularity", "index", "of"]);
}
