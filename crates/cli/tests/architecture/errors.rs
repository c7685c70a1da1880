//! The text of an error does not repeat its cause: the chain of causes prints that.

use crate::{files, shown};

/// What is wrong with the `#[error(…)]` attributes of a source: texts that contain their cause, which the chain prints again.
fn repeated_causes(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for part in text.split("#[error(").skip(1) {
        let (words, rest) = part.split_once(")]").expect("an attribute ends");
        let variant = rest.split("\n}").next().unwrap_or_default();
        let mut beneath = vec!["source".to_owned()];
        for mark in ["#[source]", "#[from]"] {
            for after in variant.split(mark).skip(1) {
                let name: String =
                    after.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                // A field without a name is the first one: no variant has two.
                let named = after.trim_start()[name.len()..].starts_with(':');
                beneath.push(if named { name } else { "0".to_owned() });
            }
        }
        let repeated = beneath.iter().any(|name| words.contains(&format!("{{{name}}}")));
        if repeated {
            faults.push(words.trim().to_owned());
        }
    }
    faults
}

#[test]
fn an_error_leaves_its_cause_to_the_chain() {
    assert_eq!(repeated_causes("#[error(\"a: {source}\")]\n A { source: B },").len(), 1);
    assert_eq!(repeated_causes("#[error(\"a: {cause}\")]\n A {\n #[source]\n cause: B },").len(), 1);
    assert_eq!(repeated_causes("#[error(\"a: {0}\")]\n A(#[from] B),").len(), 1);
    assert_eq!(repeated_causes("#[error(\"{0}\")]\n A(String),\n #[error(transparent)]\n A(#[from] B),").len(), 0);
    let mut faults = Vec::new();
    for file in files() {
        let shown = shown(&file);
        if shown.starts_with("crates/") && shown.contains("/src/") && shown.ends_with(".rs") {
            let text = std::fs::read_to_string(&file).expect("a source is text");
            faults.extend(repeated_causes(&text).iter().map(|words| format!("{shown}: {words}")));
        }
    }
    assert!(faults.is_empty(), "the program prints the chain of causes itself:\n{}", faults.join("\n"));
}
