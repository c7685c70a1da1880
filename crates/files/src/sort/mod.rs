//! The lines of all files in order of event time, in bounded memory: a stable external merge sort.
//!
//! ```text
//! LineBlocks -> Filling (memory, sorted) -> Run, Run, … (temporary files) -> Merge -> Run, … -> Merge -> LineBlocks::sorted
//! ```
//!
//! The order is (event time, source, line), lines that are no event first; blank lines are left out. Lines are bytes: what is admitted
//! later is what stood in the file. Temporary files have no names and are open for this user only: however the process ends, the system
//! removes them and frees their room.

mod deliver;
mod fill;
mod merge;
mod run;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use authpulse_event::{EventTime, Reading, parse_line};

use self::fill::Filling;
use self::merge::Merge;
use self::run::{Head, Run};
use super::{InputError, InputOptions, Line, LineBlock, LineBlocks, Origin, Source};

/// Where and how to sort.
#[derive(Debug, Clone)]
pub struct SortOptions {
    /// Where temporary files go: they take up about as much as the input does when it is packed, for moments twice that.
    pub dir: PathBuf,
    /// Bytes of lines that are held in memory at a time. Less makes more temporary files.
    pub memory_bytes: usize,
    /// How many temporary files are merged at a time, at least 2. Each takes about 1 MB of memory and a descriptor. If there are more, some
    /// are merged into larger ones first.
    pub fan_in: usize,
    /// The moment from which integer times count.
    pub base: EventTime,
}

impl SortOptions {
    /// 256 MiB of lines, and 64 files at a time: a billion lines are read, written and read once more.
    pub fn new(dir: &Path, base: EventTime) -> SortOptions {
        SortOptions { dir: dir.to_owned(), memory_bytes: 256 << 20, fan_in: 64, base }
    }

    /// The system's directory for temporary files.
    pub fn system_dir() -> PathBuf {
        tempfile::env::temp_dir()
    }

    /// Checks that temporary files can be created.
    ///
    /// # Errors
    /// The directory is missing, or no file can be created in it.
    pub fn check(&self) -> Result<(), InputError> {
        temporary(&self.dir).map(drop)
    }
}

/// Sorted lines, in temporary files that are removed with it.
#[derive(Debug)]
pub struct Sorted {
    runs: Vec<Run>,
    names: Vec<String>,
    dir: PathBuf,
    records: u64,
    first: Option<(EventTime, Origin)>,
}

impl Sorted {
    /// How many lines there are, blank ones not counted.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The first event by time, and where it stood; `None` if no line is an event.
    pub fn first_event(&self) -> Option<(EventTime, Origin)> {
        self.first
    }

    /// The name of a source.
    pub fn name(&self, source: u32) -> &str {
        self.names.get(source as usize).map_or("", String::as_str)
    }

    /// What the temporary files take up, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes).sum()
    }

    fn failed(&self, source: io::Error) -> InputError {
        failed(&self.dir, "read", source)
    }
}

/// How often a merge asks whether to go on, in lines.
const ASK_EVERY: u64 = 65_536;

/// Sorts the lines of all sources. `go_on` gets the number of bytes of the sources that were read, and ends the sort by returning false.
///
/// # Errors
/// A source cannot be read to its end, a temporary file cannot be written (a full disk, say), or `go_on` returned false.
pub fn sort(
    sources: &[Source],
    options: &SortOptions,
    mut go_on: impl FnMut(u64) -> bool,
) -> Result<Sorted, InputError> {
    // A directory that takes no file is reported now, not after an hour of reading.
    options.check()?;
    let blocks = LineBlocks::open(sources.to_vec(), InputOptions::default())?;
    let progress = blocks.progress();
    let mut sorter = Sorter { options, filling: Filling::new(options.memory_bytes), levels: Vec::new() };
    let mut sorted = Sorted {
        runs: Vec::new(),
        names: sources.iter().map(Source::to_string).collect(),
        dir: options.dir.clone(),
        records: 0,
        first: None,
    };
    for block in blocks {
        let block = block?;
        let mut go_on = || go_on(progress.read_bytes());
        if !go_on() {
            return Err(InputError::ToldToEnd);
        }
        for line in block.lines() {
            let head = head_of(&block, &line, options.base);
            if let Some(time) = head.event_time()
                && sorted.first.is_none_or(|(first, _)| time < first)
            {
                sorted.first = Some((time, head.origin()));
            }
            sorted.records += 1;
            sorter.push(head, raw_line(&block, &line), &mut go_on)?;
        }
    }
    sorted.runs = sorter.finish(&mut || go_on(progress.read_bytes()))?;
    Ok(sorted)
}

fn head_of(block: &LineBlock, line: &Line<'_>, base: EventTime) -> Head {
    let event = if line.is_overlong() { None } else { parse_line(line.bytes, Reading::three_fields(base)).ok() };
    let origin =
        Origin { source: block.source as u32, line: block.first_line_in_source + (line.number - block.first_line) };
    Head::new(event.map(|event| event.time), origin, line.is_overlong().then_some(line.length))
}

/// The line with the CR that stood before its end: when it is cut off again, the same line comes out.
fn raw_line<'a>(block: &'a LineBlock, line: &Line<'a>) -> &'a [u8] {
    let begin = (line.offset - block.offset) as usize;
    let end = begin + line.bytes.len();
    if !line.is_overlong() && block.bytes.get(end) == Some(&b'\r') { &block.bytes[begin..=end] } else { line.bytes }
}

struct Sorter<'a> {
    options: &'a SortOptions,
    filling: Filling,
    /// Files by how often their lines were merged. No level but the last holds as many as are merged at a time.
    levels: Vec<Vec<Run>>,
}

impl Sorter<'_> {
    fn push(&mut self, head: Head, bytes: &[u8], go_on: &mut impl FnMut() -> bool) -> Result<(), InputError> {
        if !self.filling.has_room(bytes.len()) {
            self.flush(go_on)?;
        }
        self.filling.push(head, bytes);
        Ok(())
    }

    /// Writes what is in memory, and merges the levels that are full.
    fn flush(&mut self, go_on: &mut impl FnMut() -> bool) -> Result<(), InputError> {
        let failed = |source| failed(&self.options.dir, "written", source);
        let mut run = self.filling.write(temporary(&self.options.dir)?).map_err(failed)?;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            self.levels[level].push(run);
            if self.levels[level].len() < self.fan_in() {
                break;
            }
            let full = std::mem::take(&mut self.levels[level]);
            run = self.merge(full, go_on)?;
        }
        Ok(())
    }

    /// The files that are left, at most as many as are merged at a time.
    fn finish(mut self, go_on: &mut impl FnMut() -> bool) -> Result<Vec<Run>, InputError> {
        if !self.filling.is_empty() {
            self.flush(go_on)?;
        }
        // Small ones first, so that as little as possible is read and written once more.
        let mut runs: Vec<Run> = std::mem::take(&mut self.levels).into_iter().flatten().collect();
        while runs.len() > self.fan_in() {
            let merged = (runs.len() - self.fan_in() + 1).min(self.fan_in());
            let some = runs.drain(..merged).collect();
            runs.push(self.merge(some, go_on)?);
        }
        Ok(runs)
    }

    fn merge(&self, runs: Vec<Run>, go_on: &mut impl FnMut() -> bool) -> Result<Run, InputError> {
        let dir = &self.options.dir;
        let unread = |source| failed(dir, "read", source);
        let unwritten = |source| failed(dir, "written", source);
        let mut merge = Merge::new(&runs).map_err(unread)?;
        let mut out = run::Writer::new(temporary(dir)?).map_err(unwritten)?;
        let mut bytes = Vec::new();
        let mut merged = 0u64;
        while let Some(head) = merge.next(&mut bytes).map_err(unread)? {
            out.write(&head, &bytes).map_err(unwritten)?;
            merged += 1;
            if merged.is_multiple_of(ASK_EVERY) && !go_on() {
                return Err(InputError::ToldToEnd);
            }
        }
        out.finish().map_err(unwritten)
    }

    fn fan_in(&self) -> usize {
        self.options.fan_in.max(2)
    }
}

/// A file without a name, open for this user only.
fn temporary(dir: &Path) -> Result<File, InputError> {
    tempfile::tempfile_in(dir).map_err(|source| failed(dir, "made", source))
}

fn failed(dir: &Path, action: &'static str, source: io::Error) -> InputError {
    InputError::Sort { dir: dir.display().to_string(), action, source }
}
