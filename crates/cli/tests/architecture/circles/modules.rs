//! The modules of a crate: what each declares, imports, and mentions.

use super::words::{Word, words};
use std::collections::{BTreeMap, BTreeSet};

/// A place in a source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceLine {
    pub file: String,
    pub line: usize,
}

/// `use path as name`.
#[derive(Debug)]
pub struct Import {
    /// None for all that the path's module holds (`*`).
    pub name: Option<String>,
    pub path: Vec<String>,
    pub place: SourceLine,
}

/// What a module has outside of tests.
#[derive(Debug, Default)]
pub struct Module {
    /// Names of modules in it.
    pub children: BTreeSet<String>,
    /// Names of types, functions and other items that are declared directly in it.
    pub items: BTreeSet<String>,
    pub imports: Vec<Import>,
    /// Paths in its code, each with its first place.
    pub mentions: BTreeMap<Vec<String>, SourceLine>,
    /// Names of macros that its code calls, each with its first place.
    pub calls: BTreeMap<String, SourceLine>,
    /// Macros that `macro_rules!` declares directly in it.
    pub macros: BTreeSet<String>,
}

/// A crate's modules by their paths; the root's path is empty.
#[derive(Debug, Default)]
pub struct Modules(pub BTreeMap<Vec<String>, Module>);

/// Reads a file: returns its text, or none if there is no such file.
pub type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What declares an item, followed by its name.
const DECLARING: &[&str] = &["struct", "enum", "union", "trait", "type", "fn", "const", "static"];

/// Words that may follow these keywords, but name nothing.
const KEYWORDS: &[&str] = &["fn", "unsafe", "extern", "mut", "_", "impl"];

impl Modules {
    /// Reads all modules that are reached from the crate's first file.
    ///
    /// # Errors
    /// A module's file is missing; the error names the module.
    pub fn of(root: &str, read: Read<'_>) -> Result<Modules, String> {
        let mut modules = Modules::default();
        let dir = directory(root);
        modules.add_file(Vec::new(), root, &dir, read)?;
        Ok(modules)
    }

    fn add_file(&mut self, path: Vec<String>, file: &str, dir: &str, read: Read<'_>) -> Result<(), String> {
        let text = read(file).ok_or_else(|| format!("{file} of the module {path:?} cannot be read"))?;
        let words = words(&text);
        let mut reader = ModuleReader { modules: self, words: &words, at: 0, file, read };
        reader.module(path, dir)
    }
}

fn directory(file: &str) -> String {
    file.rsplit_once('/').map_or(String::new(), |(dir, _)| dir.to_owned())
}

/// Goes through the words of a file.
struct ModuleReader<'a> {
    modules: &'a mut Modules,
    words: &'a [Word<'a>],
    at: usize,
    file: &'a str,
    read: Read<'a>,
}

/// What an attribute says of the item that follows it.
enum Attribute {
    /// It is for tests only.
    Test,
    /// The module's code is in this file.
    Path(String),
    Other,
}

impl<'a> ModuleReader<'a> {
    fn word(&self, ahead: usize) -> &'a str {
        self.words.get(self.at + ahead).map_or("", |word| word.text)
    }

    fn is_name(&self, ahead: usize) -> bool {
        self.words.get(self.at + ahead).is_some_and(Word::is_name)
    }

    fn place(&self) -> SourceLine {
        let line = self.words.get(self.at).map_or(0, |word| word.line);
        SourceLine { file: self.file.to_owned(), line }
    }

    /// Reads to the end of a module: the file's end, or a closing brace. Files of modules in it lie in `dir`.
    fn module(&mut self, path: Vec<String>, dir: &str) -> Result<(), String> {
        let mut module = self.modules.0.remove(&path).unwrap_or_default();
        let (mut depth, mut file) = (0, None);
        while self.at < self.words.len() {
            match self.word(0) {
                "#" if matches!(self.word(1), "[" | "!") => {
                    let begin = self.at;
                    match self.attribute() {
                        Attribute::Test => {
                            self.skip_item();
                            continue;
                        }
                        Attribute::Path(named) => file = Some(named),
                        Attribute::Other => {}
                    }
                    // An attribute may name items, too: read its words as code.
                    self.at = begin;
                }
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" if depth == 0 => break,
                "}" | ")" | "]" => depth -= 1,
                "use" if self.word(1) != "<" => self.import(&mut module),
                "mod" if depth == 0 && self.is_name(1) => {
                    let name = self.word(1).to_owned();
                    module.children.insert(name.clone());
                    let child: Vec<String> = path.iter().cloned().chain([name]).collect();
                    self.child(child, dir, file.take())?;
                }
                "macro_rules" if self.word(1) == "!" => {
                    module.macros.insert(self.word(2).to_owned());
                    self.at += 2;
                }
                word if depth == 0 && DECLARING.contains(&word) => self.declare(&mut module),
                _ if self.is_name(0) => self.mention(&mut module),
                _ => {}
            }
            self.at += 1;
        }
        self.modules.0.insert(path, module);
        Ok(())
    }

    /// Reads `#[…]`, and moves past it.
    fn attribute(&mut self) -> Attribute {
        while !matches!(self.word(0), "[" | "") {
            self.at += 1;
        }
        let begin = self.at;
        self.skip_group();
        let text: Vec<&str> = self.words[begin..self.at].iter().map(|word| word.text).collect();
        match text[..] {
            ["[", "cfg", "(", "test", ")", "]"] | ["[", "test", "]"] => Attribute::Test,
            ["[", "tokio", "::", "test", ..] => Attribute::Test,
            ["[", "path", "=", file, "]"] => Attribute::Path(file.trim_matches('"').to_owned()),
            _ => Attribute::Other,
        }
    }

    /// Moves past the bracket that closes the one at the current word.
    fn skip_group(&mut self) {
        let mut depth = 0;
        while self.at < self.words.len() {
            match self.word(0) {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    /// Moves past an item, a statement, or one of several elements in brackets.
    fn skip_item(&mut self) {
        let is_item = ["pub", "fn", "mod", "use", "impl", "struct", "enum", "const", "static", "type", "trait"];
        let is_one_of_several = !is_item.contains(&self.word(0));
        while self.at < self.words.len() {
            match self.word(0) {
                ";" => return self.at += 1,
                "," if is_one_of_several => return self.at += 1,
                "}" | ")" | "]" => return,
                "{" => return self.skip_group(),
                "(" | "[" => self.skip_group(),
                "#" => _ = self.attribute(),
                _ => self.at += 1,
            }
        }
    }

    /// Reads `mod name;` or `mod name { … }`, and moves to its end.
    fn child(&mut self, path: Vec<String>, dir: &str, file: Option<String>) -> Result<(), String> {
        let name = path.last().cloned().unwrap_or_default();
        self.at += 2;
        let below = format!("{dir}/{name}");
        if self.word(0) == "{" {
            self.at += 1;
            return self.module(path, &below);
        }
        if let Some(file) = file {
            let file = format!("{}/{file}", directory(self.file));
            return self.modules.add_file(path, &file, &directory(&file), self.read);
        }
        let (beside, own) = (format!("{below}.rs"), format!("{below}/mod.rs"));
        let file = if (self.read)(&beside).is_some() { beside } else { own };
        self.modules.add_file(path, &file, &below, self.read)
    }

    /// Reads `use …;`, and moves to its end.
    fn import(&mut self, module: &mut Module) {
        self.at += 1;
        self.branch(&[], module);
    }

    /// Reads one branch of the tree of names after `use`.
    fn branch(&mut self, stem: &[String], module: &mut Module) {
        let (mut path, place, mut name) = (stem.to_vec(), self.place(), None);
        loop {
            match self.word(0) {
                "::" => {}
                "*" => {
                    module.imports.push(Import { name: None, path, place });
                    self.at += 1;
                    return;
                }
                "{" => {
                    self.at += 1;
                    while !matches!(self.word(0), "}" | "") {
                        self.branch(&path, module);
                        if self.word(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "as" => {
                    self.at += 1;
                    name = Some(self.word(0).to_owned());
                }
                // The module itself.
                "self" if !path.is_empty() => {}
                _ if self.is_name(0) => path.push(self.word(0).to_owned()),
                _ => break,
            }
            self.at += 1;
        }
        let name = name.or_else(|| path.last().cloned());
        module.imports.push(Import { name, path, place });
    }

    /// Notes the item that is declared here, and moves to its name; does not move if there is none.
    fn declare(&mut self, module: &mut Module) {
        if self.is_name(1) && !KEYWORDS.contains(&self.word(1)) && !DECLARING.contains(&self.word(1)) {
            module.items.insert(self.word(1).to_owned());
            self.at += 1;
        }
    }

    /// Reads a path in code, and moves to its last word.
    fn mention(&mut self, module: &mut Module) {
        // A field or a method (but two points before a name are a range), or a path that begins outside of the crate.
        let before = |by: usize| self.at.checked_sub(by).map_or("", |at| self.words[at].text);
        let is_inner = before(1) == "::" || before(1) == "." && before(2) != ".";
        let (place, mut path) = (self.place(), vec![self.word(0).to_owned()]);
        while self.word(1) == "::" && self.is_name(2) {
            path.push(self.word(2).to_owned());
            self.at += 2;
        }
        if is_inner {
            return;
        }
        if let ([name], "!") = (&path[..], self.word(1)) {
            module.calls.entry(name.clone()).or_insert_with(|| place.clone());
        }
        module.mentions.entry(path).or_insert(place);
    }
}
