//! The statements in `ddl/` agree with what the code writes: columns in order, types, partitions, directories, and nothing else.

use authpulse_engine::rules::{LIST, RuleSet};
use authpulse_event::Day;
use authpulse_lake::schema::{Column, DOC_BYTES_MAX, RAW, raw_arrow_schema, raw_columns, raw_path};
use authpulse_lake::{Shape, Table};
use iceberg::arrow::arrow_schema_to_schema;
use iceberg::spec::{PrimitiveType, Schema, Transform, Type};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The parts of a `CREATE TABLE` statement that could differ from the code.
#[derive(Debug, PartialEq, Eq)]
struct Statement {
    external: bool,
    name: String,
    /// Name and type of each column.
    columns: Vec<(String, String)>,
    /// The comment of each column.
    comments: Vec<String>,
    /// The text between the parentheses of `PARTITIONED BY`, without comments.
    partition: String,
    location: String,
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../ddl")
}

fn read(name: &str) -> Statement {
    let path = directory().join(format!("{name}.sql"));
    parse(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// Cuts SQL into words, quoted strings and single characters. `''` within a string stands for one quote.
fn tokens(sql: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let text: String =
        sql.lines().filter(|line| !line.trim_start().starts_with("--")).flat_map(|l| [l, "\n"]).collect();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '\'' => {
                let mut end = 1;
                loop {
                    end += rest[end..].find('\'').expect("a string has an end") + 1;
                    if !rest[end..].starts_with('\'') {
                        break end;
                    }
                    end += 1;
                }
            }
            '`' => rest[1..].find('`').expect("a quoted name has an end") + 2,
            c if c.is_ascii_alphanumeric() || c == '_' => {
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        tokens.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    tokens
}

fn name_of(token: &str) -> String {
    token.trim_matches('`').to_owned()
}

/// The tokens between the first parenthesis and its partner, split at commas that are not in inner parentheses.
fn list(tokens: &mut std::vec::IntoIter<String>) -> Vec<Vec<String>> {
    assert_eq!(tokens.next().as_deref(), Some("("));
    let (mut items, mut depth) = (vec![Vec::new()], 0);
    for token in tokens.by_ref() {
        match token.as_str() {
            ")" if depth == 0 => return items,
            "," if depth == 0 => items.push(Vec::new()),
            _ => {
                depth += i32::from(token == "(") - i32::from(token == ")");
                items.last_mut().expect("there is always an item").push(token);
            }
        }
    }
    panic!("a list has an end");
}

/// An item of a list without its comment, and the comment.
fn without_comment(item: &[String]) -> (&[String], String) {
    let at = item.iter().position(|token| token == "COMMENT");
    let text = at.and_then(|at| item.get(at + 1)).map_or("", String::as_str);
    (&item[..at.unwrap_or(item.len())], text.trim_matches('\'').replace("''", "'"))
}

fn parse(sql: &str) -> Statement {
    let mut tokens = tokens(sql).into_iter();
    let mut expect = |word: &str| assert_eq!(tokens.next().as_deref(), Some(word));
    expect("CREATE");
    let mut external = false;
    let mut word = tokens.next();
    if word.as_deref() == Some("EXTERNAL") {
        external = true;
        word = tokens.next();
    }
    assert_eq!(word.as_deref(), Some("TABLE"));
    let name = tokens.next().expect("a table has a name");
    let (mut columns, mut comments) = (Vec::new(), Vec::new());
    for item in list(&mut tokens) {
        let (column, comment) = without_comment(&item);
        columns.push((name_of(&column[0]), column[1..].concat()));
        comments.push(comment);
    }
    let rest: Vec<String> = tokens.collect();
    let at = |word: &str| rest.iter().position(|token| token == word).unwrap_or_else(|| panic!("{word} is missing"));
    let mut after = Vec::from(&rest[at("PARTITIONED") + 2..]).into_iter();
    let partition = list(&mut after);
    let partition: Vec<String> =
        partition.iter().map(|item| without_comment(item).0.join(" ").replace('`', "")).collect();
    let location = rest[at("LOCATION") + 1].trim_matches('\'').to_owned();
    let has = |text: &str| rest.iter().any(|token| token.trim_matches('\'') == text);
    assert_eq!(has("ICEBERG"), !external, "{name}: an Iceberg table is not external, plain Parquet is");
    Statement { external, name, columns, comments, partition: partition.join(", "), location }
}

/// The name of our type in Athena's DDL.
fn type_in_ddl(kind: &Type) -> String {
    match kind {
        Type::Primitive(PrimitiveType::String) => "string".to_owned(),
        Type::Primitive(PrimitiveType::Timestamp) => "timestamp".to_owned(),
        Type::Primitive(PrimitiveType::Date) => "date".to_owned(),
        Type::Primitive(PrimitiveType::Int) => "int".to_owned(),
        Type::Primitive(PrimitiveType::Long) => "bigint".to_owned(),
        Type::Primitive(PrimitiveType::Double) => "double".to_owned(),
        Type::Primitive(PrimitiveType::Binary) => "binary".to_owned(),
        Type::List(list) => format!("array<{}>", type_in_ddl(&list.element_field.field_type)),
        other => panic!("no table has a column of type {other}"),
    }
}

fn columns_of(schema: &Schema) -> Vec<(String, String)> {
    schema.as_struct().fields().iter().map(|field| (field.name.clone(), type_in_ddl(&field.field_type))).collect()
}

fn comments_of(columns: &[Column]) -> Vec<String> {
    columns.iter().map(|column| column.doc.to_owned()).collect()
}

fn partition_of(table: Table) -> String {
    let field = |field: &iceberg::spec::PartitionField| {
        let column = &table.schema().field_by_id(field.source_id).expect("the partition column exists").name;
        match field.transform {
            Transform::Identity => column.clone(),
            Transform::Day => format!("day ( {column} )"),
            Transform::Month => format!("month ( {column} )"),
            other => panic!("no table is partitioned by {other}"),
        }
    };
    table.partition_spec().fields().iter().map(field).collect::<Vec<_>>().join(", ")
}

#[test]
fn iceberg_tables_have_the_columns_and_partitions_of_the_code() {
    for table in Table::FIRST {
        let statement = Statement {
            external: false,
            name: table.name().to_owned(),
            columns: columns_of(table.schema()),
            comments: comments_of(table.columns()),
            partition: partition_of(table),
            location: format!("LAKE/{}/", table.location()),
        };
        assert_eq!(read(table.name()), statement);
    }
}

#[test]
fn the_raw_zone_has_the_columns_and_the_layout_of_the_code() {
    let schema = arrow_schema_to_schema(raw_arrow_schema()).unwrap();
    let statement = Statement {
        external: true,
        name: RAW.to_owned(),
        columns: columns_of(&schema),
        comments: comments_of(raw_columns()),
        partition: "ingest_date string".to_owned(),
        location: "LAKE/raw/".to_owned(),
    };
    assert_eq!(read(RAW), statement);
    // The projection maps a day to the directory of that day's files.
    let sql = std::fs::read_to_string(directory().join(format!("{RAW}.sql"))).unwrap();
    let tokens = tokens(&sql);
    let at = tokens.iter().position(|token| token == "'storage.location.template'").unwrap();
    let template = tokens[at + 2].trim_matches('\'').replace("${ingest_date}", "2015-01-31");
    let day = Day::from_civil(2015, 1, 31);
    assert_eq!(format!("LAKE/{}", raw_path(day, "unique")), format!("{template}/unique.parquet"));
}

/// Glue refuses a table with a longer comment, and Hive's shell a comment of two lines.
#[test]
fn words_of_columns_are_one_line_of_few_bytes() {
    let later: Vec<Column> = Table::FIRST.iter().flat_map(|table| Shape::default().later(*table)).collect();
    assert!(!later.is_empty());
    for column in Table::FIRST.iter().flat_map(|table| table.columns()).chain(raw_columns()).chain(&later) {
        let fits = !column.doc.is_empty() && column.doc.len() <= DOC_BYTES_MAX && !column.doc.contains(['\n', '\r']);
        assert!(fits, "{}", column.name);
    }
    // New tables have comments; a table that was created before does not need them.
    for field in Table::CURATED.schema().as_struct().fields() {
        assert!(field.doc.is_some(), "{}", field.name);
    }
}

/// The first version's ids are written out: another column must not change any of them.
#[test]
fn ids_of_the_first_version_are_what_they_were() {
    for (table, columns) in Table::FIRST.iter().zip([20, 8, 5, 10]) {
        let schema = table.schema();
        let ids: Vec<i32> = schema.as_struct().fields().iter().map(|field| field.id).collect();
        assert_eq!(ids, (1..=columns).collect::<Vec<i32>>(), "{table}");
    }
    assert_eq!(Table::CURATED.schema().name_by_field_id(21), Some("risk_flags.element"));
    let raw = arrow_schema_to_schema(raw_arrow_schema()).unwrap();
    assert_eq!(
        raw.as_struct().fields().iter().map(|field| field.id).collect::<Vec<_>>(),
        (1..=7).collect::<Vec<i32>>()
    );
}

/// The list itself; and the form of decisions, which are not rows of a table and have their own form.
const ALLOWED: [&str; 2] = ["lake/src/schema/tables.rs", "journal/src/sink.rs"];

/// Columns are described in one place. Any other source that names many of them is a second list, which would be forgotten.
#[test]
fn no_source_lists_columns_a_second_time() {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(&crates).unwrap().map(|e| e.unwrap().path().join("src")).collect();
    let mut found = Vec::new();
    let mut seen = 0;
    folders.retain(|folder| folder.is_dir());
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !ALLOWED.iter().any(|known| path.ends_with(known))
            {
                seen += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                found.extend(second_list(&text).map(|names| format!("{}: {names}", path.display())));
            }
        }
    }
    assert!(seen > 100, "{seen}");
    assert_eq!(found, [""; 0]);
    assert!(second_list("x\n\"window_start\", \"window_end\",\n\"user_id\", \"total_logins\"").is_some());
}

/// Finds four names of one table's columns, each as a string of its own, within so few lines that they belong together.
fn second_list(text: &str) -> Option<String> {
    const TOGETHER: usize = 12;
    // Every second piece between quotation marks is a string.
    let strings: Vec<(usize, &str)> = text
        .lines()
        .enumerate()
        .flat_map(|(at, line)| line.split('"').skip(1).step_by(2).map(move |text| (at, text)))
        .collect();
    let lists = Table::FIRST.iter().map(|table| table.columns()).chain([raw_columns()]);
    for columns in lists {
        let named: Vec<(usize, &str)> =
            strings.iter().filter(|(_, text)| columns.iter().any(|column| column.name == *text)).copied().collect();
        for (at, _) in &named {
            let together = named.iter().filter(|(line, _)| (*at..at + TOGETHER).contains(line));
            let names: BTreeSet<&str> = together.map(|(_, name)| *name).collect();
            if names.len() >= 4 {
                return Some(names.into_iter().collect::<Vec<_>>().join(", "));
            }
        }
    }
    None
}

#[test]
fn every_table_has_a_statement_and_every_statement_a_table() {
    let files = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path());
    let found: BTreeSet<String> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let expected: BTreeSet<String> = Table::FIRST.iter().map(|t| t.name()).chain([RAW]).map(str::to_owned).collect();
    assert_eq!(found, expected);
}

/// Athena's `ALTER TABLE … ADD COLUMNS` takes no comments, so the descriptions precede the statement.
#[test]
fn columns_that_a_table_may_gain_have_a_statement_as_well() {
    // Of each rule, whether it is on by default or not: an operator may enable any.
    let mut all = RuleSet::default();
    let names: Vec<&str> = LIST.iter().map(|rule| rule.name).collect();
    all.turn_on(&names).unwrap();
    let shape = Shape::default().with_rules(&all);
    for table in Table::FIRST {
        let path = directory().join("columns").join(format!("{table}.sql"));
        let later = shape.later(table);
        if later.is_empty() {
            assert!(!path.exists(), "{table} gains no columns");
            continue;
        }
        let sql = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut words = tokens(&sql).into_iter();
        let begin: Vec<String> = words.by_ref().take(5).collect();
        assert_eq!(begin.join(" "), format!("ALTER TABLE {table} ADD COLUMNS"));
        let columns = list(&mut words);
        assert_eq!(words.next(), None, "one statement");
        let stated: Vec<(String, String)> =
            columns.iter().map(|item| (name_of(&item[0]), item[1..].concat())).collect();
        let kind = |column: &Column| type_in_ddl(&column.kind.iceberg(0));
        let expected: Vec<(String, String)> = later.iter().map(|c| (c.name.to_owned(), kind(c))).collect();
        assert_eq!(stated, expected);
        let said = sql.lines().filter_map(|line| line.strip_prefix("-- ")?.split_once(": "));
        let expected: Vec<(&str, &str)> = later.iter().map(|column| (column.name, column.doc)).collect();
        assert_eq!(said.collect::<Vec<_>>(), expected);
    }
    let files = std::fs::read_dir(directory().join("columns")).unwrap();
    let tables: BTreeSet<&str> = Table::FIRST.iter().map(|table| table.name()).collect();
    for path in files.map(|entry| entry.unwrap().path()) {
        assert!(tables.contains(path.file_stem().unwrap().to_str().unwrap()), "{}", path.display());
    }
}

#[test]
fn a_drift_is_noticed() {
    let sql = "-- x\nCREATE TABLE t (\n  a string COMMENT 'it''s, (so)',\n  `date` array<string>\n)\n\
               PARTITIONED BY (month(`date`))\nLOCATION 'LAKE/t/'\nTBLPROPERTIES ('table_type' = 'ICEBERG')";
    let statement = parse(sql);
    let column = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    assert_eq!(statement.columns, [column("a", "string"), column("date", "array<string>")]);
    assert_eq!(statement.comments, ["it's, (so)", ""]);
    assert_eq!(statement.partition, "month ( date )");
    assert_ne!(parse(&sql.replace("a string", "a int")).columns, statement.columns);
}
