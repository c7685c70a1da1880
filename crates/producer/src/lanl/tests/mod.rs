//! Shared by the tests: runs the generator, and takes lines apart.

mod lines;
mod shape;

use super::*;
use crate::labels::{self, Label};

/// A network of 300 of the nine months' users: some 80,000 events a day.
fn small() -> LanlOptions {
    LanlOptions { users: Some(300), days: Some(2), seed: 1, attack_seed: 1, ..LanlOptions::default() }
}

/// Runs the generator; returns lines, labels and the summary.
fn run(options: &LanlOptions) -> (String, Vec<Label>, Written) {
    let (mut out, mut csv) = (Vec::new(), Vec::new());
    let written = write(options, &mut out, Some(&mut csv), |_| ()).expect("vectors take all");
    (String::from_utf8(out).expect("it is ASCII"), labels::read(csv.as_slice()).expect("own file"), written)
}

/// The values in the lines above the labels' header.
fn counts(options: &LanlOptions) -> std::collections::HashMap<String, String> {
    let mut csv = Vec::new();
    write(options, std::io::sink(), Some(&mut csv), |_| ()).expect("vectors take all");
    let text = String::from_utf8(csv).expect("it is ASCII");
    let count =
        |line: &str| line.strip_prefix("# ")?.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.lines().map_while(count).collect()
}

fn parse(line: &str) -> (u64, &str, &str) {
    let mut fields = line.splitn(3, ',');
    let mut field = || fields.next().expect("three fields");
    (field().parse().expect("a time"), field(), field())
}

fn line(label: &Label) -> String {
    format!("{},{},{}", label.time, label.user, label.computer)
}

/// The figures of a text.
fn figures(text: &str, options: &LanlOptions) -> Vec<Figure> {
    let mut figures = Figures::new();
    text.lines().for_each(|line| figures.line(line.as_bytes()));
    figures.figures(options).expect("options that were run")
}
