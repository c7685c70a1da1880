//! Pages and SQL statements written by hand agree with the lists of rules and attributes.

use authpulse_engine::flags::FIRST;
use authpulse_engine::rules::{LIST, Rule, RuleSet};
use authpulse_event::attributes::{ATTRIBUTES, AttributeKind, Form};
use std::path::PathBuf;

fn page(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The cells, by row, of the table in a page whose header line begins with `head`.
fn table(page: &str, head: &str) -> Vec<Vec<String>> {
    let rows = page.lines().skip_while(|line| !line.starts_with(head)).skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect()).collect()
}

/// Checks the rows of a page's table of rules: name, weight, when it fires, technique. The thresholds in `unsaid` need not be there.
fn compare(text: &str, rules: &[Rule], unsaid: &[&str], technique: impl Fn(&Rule) -> String) {
    let rows = table(text, "| flag | weight |");
    let names: Vec<String> = rules.iter().map(|rule| format!("`{}`", rule.name)).collect();
    assert_eq!(rows.iter().map(|row| row[0].clone()).collect::<Vec<_>>(), names);
    for (row, rule) in rows.iter().zip(rules) {
        assert_eq!(row[1], rule.weight.to_string(), "{}", rule.name);
        assert_eq!(row[3], technique(rule), "{}", rule.name);
        for threshold in rule.thresholds.iter().filter(|threshold| !unsaid.contains(&threshold.key)) {
            // The number stands in the row, or where the page explains the key.
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
        assert!(later.contains(&format!("\n  {} int", rule.column)), "{}", rule.name);
    }
}

/// What is wrong with a view: words or columns of `rules` that it lacks, and columns with words that belong to no rule.
fn missed(view: &str, rules: &[Rule]) -> Vec<String> {
    let statement: String =
        view.lines().filter(|line| !line.starts_with("--")).map(|line| format!("{line}\n")).collect();
    let (reasons, columns) = statement.split_once(") AS why").expect("a list of reasons, then the columns");
    let mut missed = Vec::new();
    for rule in rules {
        if !reasons.contains(&format!("WHEN {} = 1", rule.column)) {
            missed.push(format!("no words for {}", rule.name));
        }
        if !columns.contains(&format!("\n  {},", rule.column)) {
            missed.push(format!("no column {}", rule.column));
        }
    }
    let told = reasons.split("WHEN ").skip(1).map(|reason| reason.split(' ').next().unwrap_or_default());
    missed.extend(
        told.filter(|column| rules.iter().all(|rule| rule.column != *column)).map(|c| format!("{c} is no rule")),
    );
    missed
}

#[test]
fn the_views_have_each_rule_that_is_on_by_default() {
    let mut checked = Vec::new();
    let views = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../ddl/views");
    for entry in std::fs::read_dir(views).unwrap() {
        let path = entry.unwrap().path();
        let (name, text) =
            (path.file_stem().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap());
        // A view that names the column of one rule must name those of all rules that are on.
        if LIST.iter().any(|rule| text.contains(rule.column)) {
            let on = RuleSet::default();
            let on: Vec<Rule> = on.on().iter().map(|flag| *on.rule(flag)).collect();
            assert_eq!(missed(&text, &on), Vec::<String>::new(), "ddl/views/{name}.sql");
            checked.push(name);
        }
    }
    assert_eq!(checked, ["auth_events_explained"]);
    // The check notices a rule that the view does not have.
    let text = page("ddl/views/auth_events_explained.sql");
    let invented = Rule { name: "INVENTED_HERE", column: "is_invented_here", ..LIST[0] };
    let found = missed(&text, &[&LIST[..FIRST], &[invented]].concat());
    assert_eq!(found, ["no words for INVENTED_HERE", "no column is_invented_here"]);
    assert_eq!(missed(&text, &LIST[1..FIRST]), ["is_new_device is no rule"]);
}

/// The texts between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_semantics_have_each_attribute_with_its_column_and_form() {
    let mut documented = Vec::new();
    for row in table(&page("docs/semantics.md"), "| key | column |") {
        let (columns, kind) = row[1].rsplit_once(' ').expect("a column has a type");
        let columns = columns.trim_end_matches(',');
        let keys = quoted(&row[0]);
        let columns: Vec<&str> = if columns == "the same" { keys.clone() } else { columns.split(", ").collect() };
        assert_eq!(keys.len(), columns.len(), "{row:?}");
        for (key, column) in keys.iter().zip(columns) {
            documented.push(((*key).to_owned(), column.to_owned(), kind.to_owned(), row[2].clone()));
        }
    }
    assert_eq!(documented.len(), ATTRIBUTES.len());
    for ((key, column, kind, form), attribute) in documented.iter().zip(ATTRIBUTES) {
        assert_eq!((key.as_str(), column.as_str()), (attribute.key, attribute.column));
        let name = match attribute.kind() {
            AttributeKind::Text => "STRING",
            AttributeKind::Int => "INT",
            AttributeKind::Double => "DOUBLE",
        };
        assert_eq!(kind, name, "{key}");
        let degrees = |hundredths: i32| (hundredths / 100).to_string();
        match attribute.form {
            Form::Words(words) => assert_eq!(quoted(form), words, "{key}"),
            Form::Text(most) | Form::LowerText(most) => assert!(form.contains(&format!("{most} bytes")), "{key}"),
            Form::Beginning(_) => assert!(form.contains("first 1,024 bytes"), "{key}"),
            Form::Name => assert_eq!(form, "name", "{key}"),
            Form::Address => assert_eq!(form, "address", "{key}"),
            Form::Flag => assert_eq!(quoted(form), ["true", "false"], "{key}"),
            Form::Hundredths(_, most) => assert!(form.contains(&degrees(most)), "{key}"),
        }
    }
}
