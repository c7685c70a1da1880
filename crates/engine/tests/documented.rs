//! The pages and statements that are written by hand say of the rules what the list says.

use authpulse_engine::rules::{FIRST, LIST, Rule};
use std::path::PathBuf;

fn page(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The cells of the table's rows whose head begins so.
fn table(page: &str, head: &str) -> Vec<Vec<String>> {
    let rows = page.lines().skip_while(|line| !line.starts_with(head)).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Checks the rows of a page's table of rules: name, weight, when it fires, technique. Of the thresholds `unsaid` it says nothing.
fn compare(text: &str, rules: &[Rule], unsaid: &[&str], technique: impl Fn(&Rule) -> String) {
    let rows = table(text, "| flag | weight |");
    let names: Vec<String> = rules.iter().map(|rule| format!("`{}`", rule.name)).collect();
    assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>(), names);
    for (row, rule) in rows.iter().zip(rules) {
        assert_eq!(row[1], rule.weight.to_string(), "{}", rule.name);
        assert_eq!(row[3], technique(rule), "{}", rule.name);
        for threshold in rule.thresholds.iter().filter(|threshold| !unsaid.contains(&threshold.key)) {
            // Beside the row, or where the page explains its key.
            let number = threshold.default.to_string();
            let in_row = row[2].split(|c: char| !c.is_ascii_digit()).any(|word| word == number);
            let by_key = text.contains(&format!("`{}` ({number})", threshold.key));
            assert!(in_row || by_key, "{}: {} is {number}", rule.name, threshold.key);
        }
    }
}

#[test]
fn the_semantics_have_each_rule_with_its_figures() {
    compare(&page("docs/semantics.md"), LIST, &[], |rule| {
        rule.techniques.iter().map(|technique| technique.id).collect::<Vec<_>>().join(", ")
    });
}

#[test]
fn the_readme_has_the_rules_that_are_on_by_default() {
    compare(&page("README.md"), &LIST[..FIRST], &["min_hosts"], |rule| {
        let link = |id: &str, name: &str| {
            format!("[{id}](https://attack.mitre.org/techniques/{}/) {name}", id.replace('.', "/"))
        };
        rule.techniques.iter().map(|technique| link(technique.id, technique.name)).collect::<Vec<_>>().join(", ")
    });
}

#[test]
fn the_statements_have_a_column_for_each_rule() {
    let create = page("ddl/auth_events_curated.sql");
    for rule in &LIST[..FIRST] {
        let column = format!("\n  {} int COMMENT '1 if {} fires, else 0',\n", rule.column, rule.name);
        assert!(create.contains(&column), "{column}");
    }
    for rule in &LIST[FIRST..] {
        let later = page("ddl/columns/auth_events_curated.sql");
        assert!(later.contains(rule.column) && later.contains(rule.name), "{}", rule.name);
    }
}
