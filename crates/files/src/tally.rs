//! What became of the lines of an input, file by file. At its end a command warns if most of a file is rejected.
//!
//! Counting does not change what is admitted. A run that continues another counts its own part only.

use crate::LineBlock;
use crate::own_ids::OwnIds;
use authpulse_event::{EventTime, ParsedEvent};
use std::collections::BTreeMap;

/// How many different reasons in words are counted per file; further ones are not counted.
const WORDS: usize = 32;
/// How many files are named in warnings; of the rest only the number is given.
const FILES_LISTED: usize = 20;

/// What is counted, and where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Of {
    /// Lines of files that are loaded into a lake.
    #[default]
    Files,
    /// Lines that are sent on, to be admitted by a consumer.
    Sent,
    /// Records of a stream.
    Stream,
}

/// Lines of a run, by file.
#[derive(Debug, Default)]
pub struct Tally {
    names: Vec<String>,
    of: Of,
    /// Where files begin: the number of a line and the file, in order of lines. If the lines of files are mixed (in order of time), all
    /// count as one file, which has no name.
    begins: Vec<(u64, usize)>,
    mixed: bool,
    /// By the number of the file.
    files: Vec<FileTally>,
    /// The newest event time of the files before the one that is read.
    newest: Option<EventTime>,
    ids: OwnIds,
}

/// What became of one file.
#[derive(Debug, Default)]
struct FileTally {
    records: u64,
    rejected: BTreeMap<String, u64>,
    /// Why lines are invalid: the words without figures, the words as they first occurred, and how often.
    words: Vec<(String, String, u64)>,
    newest: Option<EventTime>,
    /// Whether it begins below the newest event of the files before it.
    overlaps: bool,
}

impl Tally {
    /// A tally of files with these names that are loaded into a lake.
    pub fn new(names: Vec<String>) -> Tally {
        Tally { names, ..Tally::default() }
    }

    /// A tally of files with these names whose lines are sent on.
    pub fn of_sent(names: Vec<String>) -> Tally {
        Tally { of: Of::Sent, ..Tally::new(names) }
    }

    /// Notes that these lines follow, and how many of them are records.
    pub fn lines(&mut self, block: &LineBlock, records: u64) {
        let last = self.begins.last().map(|(_, file)| *file);
        if !self.mixed && last != Some(block.source) {
            if last.is_some_and(|last| block.source < last) {
                self.mix();
            } else {
                let before = last.and_then(|last| self.files[last].newest);
                self.newest = self.newest.max(before);
                self.begins.push((block.first_line, block.source));
                self.files.resize_with(block.source + 1, FileTally::default);
            }
        }
        if let Some(file) = self.files.last_mut() {
            file.records += records;
        }
    }

    /// From now on all files count as one.
    fn mix(&mut self) {
        let mut all = FileTally::default();
        for file in self.files.drain(..) {
            all.records += file.records;
            file.rejected.into_iter().for_each(|(reason, n)| *all.rejected.entry(reason).or_default() += n);
            file.words.into_iter().for_each(|(kind, words, n)| all.say(kind, &words, n));
        }
        (self.files, self.begins, self.mixed) = (vec![all], vec![(0, 0)], true);
    }

    /// Counts one more of the lines noted last as a record.
    #[inline]
    pub fn record(&mut self) {
        if let Some(file) = self.files.last_mut() {
            file.records += 1;
        }
    }

    /// Looks at an event of the lines that were noted last.
    #[inline]
    pub fn event(&mut self, event: &ParsedEvent<'_>) {
        self.ids.see(event);
        if self.names.len() > 1
            && let Some(file) = self.files.last_mut()
        {
            if file.newest.is_none() && !self.mixed {
                file.overlaps = self.newest.is_some_and(|newest| event.time < newest);
            }
            file.newest = file.newest.max(Some(event.time));
        }
    }

    /// Counts a rejected line: its number, the reason, and why in words.
    pub fn rejected(&mut self, line: u64, reason: &str, words: &str) {
        let at = self.begins.partition_point(|(first, _)| *first <= line);
        // A line of an earlier run, whose event had waited, belongs to none of these files.
        let Some((_, file)) = at.checked_sub(1).and_then(|at| self.begins.get(at)) else { return };
        let Some(file) = self.files.get_mut(*file) else { return };
        match file.rejected.get_mut(reason) {
            Some(n) => *n += 1,
            None => drop(file.rejected.insert(reason.to_owned(), 1)),
        }
        if reason == "invalid" {
            file.say(without_figures(words), words, 1);
        }
    }

    /// Warnings, a line each: for each file most of which is rejected for one reason, for each file that overlaps those before it and was
    /// late, and for ids that repeat.
    pub fn warnings(&self) -> Vec<String> {
        let name = |file: usize| match self.names.as_slice() {
            _ if self.mixed => "the files of this run",
            names => names.get(file).map_or("the input", String::as_str),
        };
        let files = self.files.iter().enumerate();
        let mut lines: Vec<String> = files.filter_map(|(at, file)| file.warning(name(at), self.of)).collect();
        if lines.len() > FILES_LISTED {
            let more = lines.len() - FILES_LISTED;
            lines.truncate(FILES_LISTED);
            lines.push(format!("likewise {more} more of {} files", self.files.len()));
        }
        lines.extend(self.ids.warning());
        lines
    }
}

impl FileTally {
    fn say(&mut self, kind: String, words: &str, n: u64) {
        if let Some((.., count)) = self.words.iter_mut().find(|(known, ..)| *known == kind) {
            *count += n;
        } else if self.words.len() < WORDS {
            self.words.push((kind, words.to_owned(), n));
        }
    }

    fn warning(&self, name: &str, of: Of) -> Option<String> {
        let words = self.words.iter().max_by_key(|(.., n)| *n).map(|(_, words, _)| words.as_str());
        if let Some(most) = most_rejected(of, name, self.records, &self.rejected, words) {
            return Some(most);
        }
        let late = self.rejected.get("late").copied().filter(|_| self.overlaps)?;
        let share = share(late, self.records);
        Some(format!("{name}: {share} are late, because the files of this run overlap in time; {}", LATE_IN_FILES))
    }
}

/// The warning if most records of something are rejected for one reason. `words` say why most of the invalid ones are.
pub fn most_rejected(
    of: Of,
    name: &str,
    records: u64,
    rejected: &BTreeMap<String, u64>,
    words: Option<&str>,
) -> Option<String> {
    let (reason, n) = rejected.iter().max_by_key(|(_, n)| **n).filter(|(_, n)| **n * 2 > records)?;
    let end = if of == Of::Sent { "do not parse, and will be rejected" } else { "are rejected" };
    Some(format!("{name}: {} {end} as {reason}; {}", share(*n, records), remedy(of, reason, words)))
}

/// `4000 of 5500 records (72 %)`.
fn share(n: u64, of: u64) -> String {
    format!("{n} of {of} records ({} %)", u128::from(n) * 100 / u128::from(of.max(1)))
}

const LATE_IN_FILES: &str = "lines lie behind others that are newer by more than the tolerance: load the files into another lake with \
                             `authpulse backfill --sort`, which puts them in order of time";

/// What to do about a reason.
fn remedy(of: Of, reason: &str, words: Option<&str>) -> String {
    match (reason, words) {
        ("invalid", Some(words)) => format!(
            "most often: {words}; an event is a line `time,user,computer`, or a JSON object with the keys time, user and computer"
        ),
        ("invalid", None) => {
            "an event is a line `time,user,computer`, or a JSON object with the keys time, user and computer".to_owned()
        }
        ("late", _) if of == Of::Stream => {
            "they came behind events that are newer by more than the tolerance: send events in order of time, or use a new lake with a \
             larger `tolerance`"
                .to_owned()
        }
        ("late", _) => LATE_IN_FILES.to_owned(),
        ("duplicate", _) => {
            "they repeat events that were accepted: without an event_id, logons of one user on one computer at one instant are one event"
                .to_owned()
        }
        ("future", _) => {
            "their times lie ahead: see that whole numbers are seconds since the setting `base`, and that clocks are right".to_owned()
        }
        ("misrouted", _) => "the producer's partition key is not the user: mend it, then `authpulse redrive`".to_owned(),
        _ => "their dead letters in auth_events_rejected say why".to_owned(),
    }
}

/// Words with figures taken out, so that reasons that differ in figures only count together.
fn without_figures(words: &str) -> String {
    let mut out = String::with_capacity(words.len());
    for char in words.chars() {
        match char.is_ascii_digit() {
            true if out.ends_with('N') => {}
            true => out.push('N'),
            false => out.push(char),
        }
    }
    out
}

#[cfg(test)]
mod tests;
