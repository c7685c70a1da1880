//! What the program says: results on standard output, everything else on standard error.
//!
//! Writing to standard error never ends, stops or hangs anything: `tell!` puts a line into a queue, and a thread of its own writes it
//! ([`mod@queue`]). `say!` writes a result, and returns an error if that fails, which the caller hands on with `?`.

pub mod json;
pub mod line;
pub mod queue;
pub mod results;

pub use line::{Level, LogFormat, set_format, set_from};
pub use results::{Results, ResultsLost};

use crate::remedy;
use authpulse_event::advice::{RAISE, TOO_MANY_FILES};
use authpulse_journal::sink::{Decision, DecisionSink};
use authpulse_producer::progress::{self, Audience, Screen};
use queue::Queue;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the end of the process waits until lines are written. Together with a service's 18 s it is less than the 20 s after
/// which it is killed.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// How long a process that was told to end waits until its results are written.
const PATIENCE_WITH_RESULTS: Duration = Duration::from_secs(1);

/// Writes a result as a line on standard output; returns a `Result`, to be handed on with `?`.
macro_rules! say {
    ($($words:tt)*) => { $crate::output::results::write(format!($($words)*) + "\n") };
}

/// Writes a line to standard error, in the form of the log; never fails and never waits.
macro_rules! tell {
    ($($words:tt)*) => { $crate::output::tell_at($crate::output::Level::Info, &format!($($words)*)) };
}

pub(crate) use {say, tell};

/// Standard error through a descriptor of its own: a thread that waits while it has the library's lock keeps nobody here waiting.
fn stderr() -> Box<dyn Write + Send> {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(own) => Box::new(File::from(own)),
        Err(_) => Box::new(io::stderr()),
    }
}

fn queue() -> &'static Arc<Queue> {
    static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();
    QUEUE.get_or_init(|| Queue::start(line::lost, stderr()))
}

/// From now on, panics are reported as everything else is.
pub fn start() {
    queue();
    std::panic::set_hook(Box::new(|panic| tell_at(Level::Panic, &panic_words(panic))));
}

fn panic_words(panic: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("without a name");
    let place = panic.location().map_or(String::new(), |place| format!(" at {place}"));
    let words = panic.payload_as_str().unwrap_or("something that is no text");
    let mut told = format!("thread '{name}' panicked{place}: {words}");
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        told += &format!("\n{trace}");
    }
    told
}

/// Writes a line to standard error, in the form of the log.
pub fn tell_at(level: Level, words: &str) {
    queue().push(line::message(level, words));
}

/// Writes each line as a warning.
pub fn print_warnings(lines: &[String]) {
    for line in lines {
        tell_at(Level::Warn, line);
    }
}

/// As [`tell_at`], with an error and its causes.
pub fn tell_error(error: &anyhow::Error) {
    queue().push(line::error(&with_advice(format!("{error:#}")), remedy::of(error)));
}

/// Adds what to do where the process has too many open files, whichever file it was that could not be opened.
fn with_advice(words: String) -> String {
    let is_due = TOO_MANY_FILES.iter().any(|code| words.contains(&format!("(os error {code})")));
    if is_due && !words.contains("ulimit -n") { format!("{words}: {RAISE}") } else { words }
}

/// Writes lines to standard error as they are; `text` ends with a line break.
pub fn tell_as_is(text: String) {
    queue().push(text.into_bytes());
}

/// The name of this process among the workers of a stream, which each of its lines carries.
pub fn worker() -> String {
    line::worker().unwrap_or_default()
}

/// Waits until lines are written, for a bounded time.
pub fn finish() {
    queue().flush(FLUSH_WITHIN);
}

/// Ends the process at once; only waits a bounded time for lines on their way.
pub fn exit(code: i32) -> ! {
    finish();
    std::process::exit(code)
}

/// Whether what goes to a terminal may have colours.
pub fn may_be_coloured() -> bool {
    let forbidden = std::env::var_os("NO_COLOR").is_some_and(|text| !text.is_empty());
    !forbidden && !is_dumb()
}

/// Whether lines on standard error have colours.
pub fn has_colours() -> bool {
    io::stderr().is_terminal() && may_be_coloured()
}

/// Sends the progress of long commands the same way: a bar on a terminal, lines elsewhere and where lines are JSON.
pub fn progress_lines(format: LogFormat) {
    let has_bar = io::stderr().is_terminal() && format == LogFormat::Text && !is_dumb();
    let screen = Screen { width: stderr_columns, draw: |picture| queue().push_picture(picture) };
    progress::set_audience(Audience { tell: |line| tell_at(Level::Info, line), bar: has_bar.then_some(screen) });
}

/// The width, in columns, of a terminal that does not say its own.
const COLUMNS_DEFAULT: u16 = 80;

/// The width of the terminal on standard error, in columns.
#[expect(unsafe_code, reason = "the standard library does not ask a terminal for its size")]
fn stderr_columns() -> u16 {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: it writes to the struct that it is handed, and to nothing else.
    let asked = unsafe { libc::ioctl(libc::STDERR_FILENO, libc::TIOCGWINSZ, &raw mut size) };
    if asked == 0 && size.ws_col > 0 { size.ws_col } else { COLUMNS_DEFAULT }
}

/// Whether the terminal only knows lines.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|text| text == "dumb")
}

/// Takes log lines into the queue. The library that formats them writes each in one piece.
pub struct LogLine;

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        queue().push(bytes.to_vec());
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decisions as lines on standard error, whatever level is logged.
pub struct DecisionLines {
    /// The lowest score that is written.
    pub min_score: u8,
}

impl DecisionSink for DecisionLines {
    fn min_score(&self) -> u8 {
        self.min_score
    }
    fn decided(&self, decision: Decision<'_>) {
        if let Some(line) = queue().try_push_decision(line::decision(decision.to_value())) {
            // Other tasks of this runtime go on meanwhile.
            tokio::task::block_in_place(|| queue().push_decision(line));
        }
    }
}
