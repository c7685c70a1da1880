//! Recognises inputs that are something else than lines of events, by how their unpacked bytes begin.
//!
//! Read as lines, each of them would fill a lake with dead letters. A form that shows in bytes that no text has is refused whatever
//! follows. A form that text may begin with as well is refused only if none of the first lines is an event. (One JSON array is refused even
//! if up to half of the lines look like events: its last element may stand alone on a line.)

mod columns;
mod gate;
mod table;
mod tar;
mod wide;

use super::decode::Decoder;
use super::shell::quoted;
use super::{Format, InputError, ReadProgress, Source};
use authpulse_event::time::MIN_TIME;
use authpulse_event::{Reading, parse_line};
pub(super) use gate::Gate;
use memchr::memchr;
use std::io::{self, Read};
use std::sync::Arc;

/// How many bytes are looked at, unpacked.
pub(super) const SAMPLE_BYTES: usize = 64 * 1024;
/// How many lines of them are looked at, at most.
const SAMPLE_LINES: usize = 1_000;

/// What an input is, and what makes lines of events of it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Form {
    /// As in "it is …".
    what: String,
    next: Next,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    /// A filter from standard input to standard output.
    Filter(String),
    /// A command that takes the file's name, packed as it is, and writes lines to standard output.
    Command(String),
    /// Something else, in words.
    Words(String),
}

impl Form {
    fn refused(self, name: &str, format: Format) -> InputError {
        InputError::NoLines { name: name.to_owned(), what: self.what, advice: self.next.words(name, format) }
    }

    fn new(what: impl Into<String>, next: Next) -> Form {
        Form { what: what.into(), next }
    }
}

/// Looks into a regular file and refuses it if it holds no lines of events. A failure to read is reported with its place when the lines are
/// read.
///
/// # Errors
/// [`InputError::NoLines`] for another form of file, [`InputError::Packed`] for a packing that is not read, [`InputError::Window`] for one
/// that needs too much memory; or the file cannot be opened.
pub(super) fn look_into(source: &Source) -> Result<(), InputError> {
    let Some((file, _)) = source.open()? else { return Ok(()) };
    let name = source.to_string();
    let mut decoder = match Decoder::new(name.clone(), file, Arc::new(ReadProgress::new(None))) {
        Ok(decoder) => decoder,
        Err(error @ (InputError::Packed { .. } | InputError::Window { .. })) => return Err(error),
        Err(_) => return Ok(()),
    };
    let mut sample = vec![0; SAMPLE_BYTES];
    let mut read = 0;
    while read < sample.len() {
        match decoder.read(&mut sample[read..]) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => match decoder.explain(error, 0) {
                error @ InputError::Window { .. } => return Err(error),
                _ => break,
            },
        }
    }
    sample.truncate(read);
    let text = sample.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&sample);
    refuse(&name, decoder.format(), text)
}

/// Refuses an input by its first unpacked bytes, a UTF-8 mark left out.
fn refuse(name: &str, format: Format, sample: &[u8]) -> Result<(), InputError> {
    match of_bytes(sample).or_else(|| of_lines(sample, &Sample::new(sample))) {
        Some(form) => Err(form.refused(name, format)),
        None => Ok(()),
    }
}

/// A form that shows whatever the lines are.
fn of_bytes(sample: &[u8]) -> Option<Form> {
    table::of_bytes(sample).or_else(|| tar::of(sample)).or_else(|| wide::of(sample))
}

fn of_lines(sample: &[u8], lines: &Sample<'_>) -> Option<Form> {
    if let Some(form) = json_array(sample, lines) {
        return Some(form);
    }
    if lines.events > 0 || lines.lines.is_empty() {
        return None;
    }
    table::of_text(sample)
        .or_else(|| json_spread(lines))
        .or_else(|| carriage_returns(sample))
        .or_else(|| columns::of(&lines.lines))
}

/// The first lines.
struct Sample<'a> {
    /// The lines that are records, without their ends; the last only if it is whole, or the only one.
    lines: Vec<&'a [u8]>,
    /// How many of them are events.
    events: usize,
}

impl<'a> Sample<'a> {
    fn new(sample: &'a [u8]) -> Sample<'a> {
        let mut lines = Vec::new();
        let mut rest = sample;
        while !rest.is_empty() && lines.len() < SAMPLE_LINES {
            let (line, taken) = match memchr(b'\n', rest) {
                Some(end) => (&rest[..end], end + 1),
                // What is cut off says nothing.
                None if sample.len() == SAMPLE_BYTES && !lines.is_empty() => break,
                None => (rest, rest.len()),
            };
            rest = &rest[taken..];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.iter().all(|byte| matches!(byte, b' ' | b'\t')) {
                lines.push(line);
            }
        }
        let events = lines.iter().filter(|line| is_event(line)).count();
        Sample { lines, events }
    }
}

/// Whether a line is an event under some `base`.
fn is_event(line: &[u8]) -> bool {
    parse_line(line, Reading::three_fields(MIN_TIME)).is_ok()
}

/// One array over all lines. Its last element may stand on a line of its own and look like an event.
fn json_array(sample: &[u8], lines: &Sample<'_>) -> Option<Form> {
    let within = sample.trim_ascii_start().strip_prefix(b"[")?.trim_ascii_start();
    let is_array = matches!(within.first(), Some(b'{' | b'[' | b']'));
    (is_array && lines.events * 2 <= lines.lines.len())
        .then(|| Form::new("one JSON array", Next::Filter("jq -c '.[]'".to_owned())))
}

/// JSON objects that are written over several lines.
fn json_spread(lines: &Sample<'_>) -> Option<Form> {
    let first = lines.lines.first()?.trim_ascii();
    let second = lines.lines.get(1)?.trim_ascii_start();
    let opens = first.starts_with(b"{") && memchr(b'}', first).is_none() && !second.starts_with(b"{");
    opens.then(|| Form::new("JSON whose objects are written over several lines", Next::Filter("jq -c .".to_owned())))
}

/// Lines that end with CR alone.
fn carriage_returns(sample: &[u8]) -> Option<Form> {
    if memchr(b'\n', sample).is_some() {
        return None;
    }
    let lines: Vec<&[u8]> =
        sample.split(|byte| *byte == b'\r').filter(|line| !line.trim_ascii().is_empty()).take(SAMPLE_LINES).collect();
    let events = lines.iter().filter(|line| is_event(line)).count();
    (lines.len() > 1 && events * 2 > lines.len())
        .then(|| Form::new("text whose lines end with CR alone", Next::Filter(r"tr '\r' '\n'".to_owned())))
}

impl Next {
    fn words(&self, name: &str, format: Format) -> String {
        let stdin = name == Source::Stdin.to_string();
        let quoted = quoted(name);
        let command = match self {
            Next::Words(words) => return words.clone(),
            Next::Filter(filter) if stdin => return format!("put `{filter}` before it in the pipe"),
            Next::Command(_) if stdin => return "save it to a file first, and name that".to_owned(),
            Next::Filter(filter) => match format {
                Format::Plain => match filter.split_once(" | ") {
                    Some((first, rest)) => format!("{first} < {quoted} | {rest}"),
                    None => format!("{filter} < {quoted}"),
                },
                packed => format!("{packed} -dc {quoted} | {filter}"),
            },
            Next::Command(command) => format!("{command} {quoted}"),
        };
        format!("make lines of it: {command} > events.txt")
    }
}

#[cfg(test)]
mod tests;
