//! Shared by the tests of the generator: runs it, and takes apart the lines of everyday traffic.

mod lines;
mod shape;

use super::*;

fn options(events: u64, attacks: u32) -> GenerateOptions {
    GenerateOptions { events: Some(events), attacks, ..GenerateOptions::default() }
}

/// Runs the generator; returns lines, labels and the summary.
fn run(options: &GenerateOptions) -> (String, String, Summary) {
    let (mut out, mut labels) = (Vec::new(), Vec::new());
    let summary = generate(options, &mut out, Some(&mut labels), |_| ()).expect("vectors take all");
    let text = |bytes| String::from_utf8(bytes).expect("it is ASCII");
    (text(out), text(labels), summary)
}

/// One line, by its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Event {
    time: u32,
    user: u32,
    computer: u32,
}

fn parse(text: &str) -> Vec<Event> {
    let line = |line: &str| {
        let (time, rest) = line.split_once(",U").expect("a user");
        let (user, computer) = rest.split_once(",C").expect("a computer");
        let number = |digits: &str| digits.parse().expect("a number");
        Event { time: number(time), user: number(user), computer: number(computer) }
    };
    text.lines().map(line).collect()
}
