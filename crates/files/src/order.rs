//! Whether files are named in order of time: the shell gives `d1 d10 d11 d2`.

use std::fmt;

use authpulse_event::time::format_rfc3339;
use authpulse_event::{EventTime, Reading, Span, parse_line};

use super::{InputError, InputOptions, LineBlocks, Source};

/// A file that begins below one that is named before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disorder {
    file: String,
    begins: EventTime,
    before: String,
    before_begins: EventTime,
}

impl fmt::Display for Disorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Disorder { file, begins, before, before_begins } = self;
        write!(
            f,
            "{file} begins at {}, but {before}, named before it, begins at {}: its events would be late",
            format_rfc3339(*begins),
            format_rfc3339(*before_begins)
        )
    }
}

/// Finds the first file that begins before the newest beginning of the files named before it, by more than the tolerance. Files that only
/// overlap are not reported. An event later than `at_most` (from a clock years ahead) says nothing about where its file begins. `go_on` is
/// asked for each block of lines.
///
/// # Errors
/// One of the files cannot be read. They are read from their beginnings, so none may be a pipe. [`InputError::ToldToEnd`] where `go_on`
/// says no.
pub fn find_disorder(
    files: &[Source],
    base: EventTime,
    tolerance: Span,
    at_most: EventTime,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<Disorder>, InputError> {
    let mut newest: Option<(EventTime, &Source)> = None;
    for file in files {
        let Some(begins) = first_event(std::slice::from_ref(file), base, at_most, go_on)? else { continue };
        if let Some((before_begins, before)) = newest
            && begins < before_begins - tolerance
        {
            let (file, before) = (file.to_string(), before.to_string());
            return Ok(Some(Disorder { file, begins, before, before_begins }));
        }
        if newest.is_none_or(|(before_begins, _)| begins > before_begins) {
            newest = Some((begins, file));
        }
    }
    Ok(None)
}

/// The time of the first event in some files that is not later than `at_most`; `None` if they hold no such event. `go_on` is asked for each
/// block of lines.
///
/// # Errors
/// A file cannot be read; [`InputError::ToldToEnd`] where `go_on` says no.
pub fn first_event(
    files: &[Source],
    base: EventTime,
    at_most: EventTime,
    go_on: &dyn Fn() -> bool,
) -> Result<Option<EventTime>, InputError> {
    for block in LineBlocks::open(files.to_vec(), InputOptions::default())? {
        if !go_on() {
            return Err(InputError::ToldToEnd);
        }
        let block = block?;
        let events = block.lines().filter(|line| !line.is_overlong());
        let mut times =
            events.filter_map(|line| parse_line(line.bytes, Reading::three_fields(base)).ok().map(|event| event.time));
        if let Some(time) = times.find(|time| *time <= at_most) {
            return Ok(Some(time));
        }
    }
    Ok(None)
}
