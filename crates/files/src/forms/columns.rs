//! Lines of columns that are not `time,user,computer`: other separators, quotes, LANL's file of nine columns.

use super::{Form, Next, is_event};

const SEPARATORS: [(u8, &str, &str); 4] =
    [(b',', "','", ","), (b';', "';'", ";"), (b'\t', "tabs", r"\t"), (b'|', "'|'", "|")];

/// From this many lines on it is no chance if nearly all have the same number of separators.
const ALIKE_LINES: usize = 3;

/// The form of lines none of which is an event.
pub(super) fn of(lines: &[&[u8]]) -> Option<Form> {
    lanl(lines).or_else(|| converted(lines)).or_else(|| alike(lines))
}

/// LANL's `auth.txt`: time, source user@domain, destination user@domain, source and destination computer, kinds, outcome.
fn lanl(lines: &[&[u8]]) -> Option<Form> {
    let is_lanl = |line: &&&[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b',').collect();
        fields.len() == 9
            && !fields[0].is_empty()
            && fields[0].iter().all(u8::is_ascii_digit)
            && fields[1..3].iter().all(|user| user.contains(&b'@'))
    };
    (lines.iter().filter(is_lanl).count() * 2 > lines.len()).then(|| {
        let filter = r#"awk -F, '$8 == "LogOn" { print $1 "," $3 "," $5 }'"#;
        Form::new(
            "LANL's file of nine columns (auth.txt), of which three are an event here",
            Next::Filter(filter.to_owned()),
        )
    })
}

/// Lines most of which become events once their columns are separated by commas and not in quotes.
fn converted(lines: &[&[u8]]) -> Option<Form> {
    for (separator, named, word) in SEPARATORS {
        for quotes in [false, true] {
            if separator == b',' && !quotes {
                continue;
            }
            let convert = |line: &[u8]| -> Vec<u8> {
                let kept = line.iter().filter(|byte| !quotes || **byte != b'"');
                kept.map(|byte| if *byte == separator { b',' } else { *byte }).collect()
            };
            let events = lines.iter().filter(|line| is_event(&convert(line))).count();
            if events * 2 > lines.len() {
                let separated = (separator != b',').then(|| format!("separated by {named}, not by ','"));
                let between = quotes.then(|| "in quotes".to_owned());
                let what: Vec<String> = separated.into_iter().chain(between).collect();
                let commas = (separator != b',').then(|| format!("tr '{word}' ','"));
                let strip = quotes.then(|| r#"tr -d '"'"#.to_owned());
                let filter: Vec<String> = strip.into_iter().chain(commas).collect();
                let what = format!("text whose columns are {}", what.join(", and "));
                return Some(Form::new(what, Next::Filter(filter.join(" | "))));
            }
        }
    }
    None
}

/// Lines nearly all of which have the same number of another separator, and so more or other columns than an event.
fn alike(lines: &[&[u8]]) -> Option<Form> {
    if lines.len() < ALIKE_LINES || lines.iter().any(|line| line.starts_with(b"{")) {
        return None;
    }
    for (separator, named, word) in SEPARATORS.into_iter().filter(|(separator, ..)| *separator != b',') {
        let count = |line: &[u8]| line.iter().filter(|byte| **byte == separator).count();
        let n = count(lines[lines.len() / 2]);
        let alike = lines.iter().filter(|line| count(line) == n).count();
        if n >= 2 && alike * 10 >= lines.len() * 9 {
            let columns = n + 1;
            let what = format!("text of {columns} columns separated by {named}");
            let choose = format!(
                "choose the columns that are time, user and computer, such as: awk -F'{word}' '{{ print $1 \",\" $2 \",\" $3 }}' FILE > \
                 events.txt"
            );
            return Some(Form::new(what, Next::Words(choose)));
        }
    }
    None
}
