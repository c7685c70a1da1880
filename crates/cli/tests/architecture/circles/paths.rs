//! Finds the module that declares what a path names.

use super::modules::Modules;
use std::collections::BTreeSet;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resolution {
    Module(Vec<String>),
    /// An item, given by the module that declares it.
    ItemOf(Vec<String>),
}

/// Pairs of a module and a name that are being looked up: modules may import a name from each other, in a circle.
type Asked = BTreeSet<(Vec<String>, String)>;

impl Modules {
    /// What a path means in a module; none if it leads out of the crate.
    pub fn resolve(&self, from: &[String], path: &[String]) -> Option<Resolution> {
        self.walk(from, path, &mut Asked::new())
    }

    /// The module that declares a macro, which code after it may call by its name alone.
    pub fn declaring_macro(&self, name: &str) -> Option<&Vec<String>> {
        self.0.iter().find(|(_, module)| module.macros.contains(name)).map(|(path, _)| path)
    }

    fn walk(&self, from: &[String], path: &[String], asked: &mut Asked) -> Option<Resolution> {
        let (mut at, mut rest) = (from.to_vec(), path);
        while let [first, behind @ ..] = rest {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => {
                    at.pop()?;
                }
                _ => break,
            }
            rest = behind;
        }
        while let [name, behind @ ..] = rest {
            match self.named(&at, name, behind.is_empty(), asked)? {
                Resolution::Module(module) => at = module,
                // The rest of the path is a variant or an associated function.
                item => return Some(item),
            }
            rest = behind;
        }
        Some(Resolution::Module(at))
    }

    /// What a name means in a module. A module and a function may have the same name: at the end of a path it is the function.
    fn named(&self, at: &[String], name: &str, is_last: bool, asked: &mut Asked) -> Option<Resolution> {
        if !asked.insert((at.to_vec(), name.to_owned())) {
            return None;
        }
        let module = self.0.get(at)?;
        let child = module.children.contains(name).then(|| {
            let path = at.iter().cloned().chain([name.to_owned()]);
            Resolution::Module(path.collect())
        });
        if !is_last && child.is_some() {
            return child;
        }
        if module.items.contains(name) || module.macros.contains(name) {
            return Some(Resolution::ItemOf(at.to_vec()));
        }
        let mut imports = module.imports.iter().filter(|import| import.name.as_deref() == Some(name));
        if let Some(found) = imports.find_map(|import| self.walk(at, &import.path, asked)) {
            return Some(found);
        }
        child.or_else(|| {
            let mut globs = module.imports.iter().filter(|import| import.name.is_none());
            globs.find_map(|import| match self.walk(at, &import.path, asked)? {
                Resolution::Module(module) => self.named(&module, name, is_last, asked),
                Resolution::ItemOf(_) => None,
            })
        })
    }
}
