//! The statements in `ddl/` say what the code writes: columns in order, types, partitions, directories, and nothing else.

use authpulse_event::Day;
use authpulse_lake::Table;
use authpulse_lake::schema::{RAW, raw_arrow_schema, raw_path};
use iceberg::arrow::arrow_schema_to_schema;
use iceberg::spec::{PrimitiveType, Schema, Transform, Type};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A `CREATE TABLE` statement, as far as it can drift.
#[derive(Debug, PartialEq, Eq)]
struct Statement {
    external: bool,
    name: String,
    /// Name and type.
    columns: Vec<(String, String)>,
    /// Columns without a comment: there are to be none.
    silent: Vec<String>,
    /// As written between the parentheses of `PARTITIONED BY`, without comments.
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

/// The tokens between the parenthesis at the front and its partner, cut at the commas outside of inner ones.
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

/// An item of a list without its comment, and whether it had one.
fn without_comment(item: &[String]) -> (&[String], bool) {
    let at = item.iter().position(|token| token == "COMMENT");
    (&item[..at.unwrap_or(item.len())], at.is_some_and(|at| item.get(at + 1).is_some_and(|text| text.len() > 2)))
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
    let (mut columns, mut silent) = (Vec::new(), Vec::new());
    for item in list(&mut tokens) {
        let (column, commented) = without_comment(&item);
        let name = name_of(&column[0]);
        if !commented {
            silent.push(name.clone());
        }
        columns.push((name, column[1..].concat()));
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
    Statement { external, name, columns, silent, partition: partition.join(", "), location }
}

/// How Athena's DDL calls a type of ours.
fn type_in_ddl(kind: &Type) -> String {
    match kind {
        Type::Primitive(PrimitiveType::String) => "string".to_owned(),
        Type::Primitive(PrimitiveType::Timestamp) => "timestamp".to_owned(),
        Type::Primitive(PrimitiveType::Date) => "date".to_owned(),
        Type::Primitive(PrimitiveType::Int) => "int".to_owned(),
        Type::Primitive(PrimitiveType::Long) => "bigint".to_owned(),
        Type::Primitive(PrimitiveType::Binary) => "binary".to_owned(),
        Type::List(list) => format!("array<{}>", type_in_ddl(&list.element_field.field_type)),
        other => panic!("no table has a column of type {other}"),
    }
}

fn columns_of(schema: &Schema) -> Vec<(String, String)> {
    schema.as_struct().fields().iter().map(|field| (field.name.clone(), type_in_ddl(&field.field_type))).collect()
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
            silent: Vec::new(),
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
        silent: Vec::new(),
        partition: "ingest_date string".to_owned(),
        location: "LAKE/raw/".to_owned(),
    };
    assert_eq!(read(RAW), statement);
    // What the projection makes of a day is where the files of that day are.
    let sql = std::fs::read_to_string(directory().join(format!("{RAW}.sql"))).unwrap();
    let tokens = tokens(&sql);
    let at = tokens.iter().position(|token| token == "'storage.location.template'").unwrap();
    let template = tokens[at + 2].trim_matches('\'').replace("${ingest_date}", "2015-01-31");
    let day = Day::from_civil(2015, 1, 31);
    assert_eq!(format!("LAKE/{}", raw_path(day, "unique")), format!("{template}/unique.parquet"));
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

#[test]
fn a_drift_is_noticed() {
    let sql = "-- x\nCREATE TABLE t (\n  a string COMMENT 'it''s, (so)',\n  `date` array<string>\n)\n\
               PARTITIONED BY (month(`date`))\nLOCATION 'LAKE/t/'\nTBLPROPERTIES ('table_type' = 'ICEBERG')";
    let statement = parse(sql);
    let column = |name: &str, kind: &str| (name.to_owned(), kind.to_owned());
    assert_eq!(statement.columns, [column("a", "string"), column("date", "array<string>")]);
    assert_eq!((statement.silent, statement.partition), (vec!["date".to_owned()], "month ( date )".to_owned()));
    assert_ne!(parse(&sql.replace("a string", "a int")).columns, statement.columns);
}
