//! Why an input cannot be read, and what to do about it.

use std::io;

use super::Format;
use super::format::WINDOW_BYTES_MAX;
use super::shell::quoted;

/// A failure of an input. Whatever was read whole before it has been delivered; nothing after it is.
///
/// `name` is the path as given, or `standard input`. `read_bytes` counts bytes as they lie on disk, `line` is the
/// number within that file of the last line that was read whole (0: none).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// Nothing was named.
    #[error("no input named; give --input FILE, or - for standard input")]
    NoSource,

    /// `-` was given more than once.
    #[error("standard input (-) is named {times} times; it can be read only once")]
    StdinTwice {
        /// How often.
        times: usize,
    },

    /// No such file.
    #[error("cannot open '{name}': no such file; check the path given with --input")]
    NotFound {
        /// The input.
        name: String,
    },

    /// This user may not read it.
    #[error("cannot open '{name}': permission denied; make it readable for this user")]
    NoPermission {
        /// The input.
        name: String,
    },

    /// A directory was named.
    #[error("'{name}' is a directory; name the files in it, in the order they are to be read")]
    Directory {
        /// The input.
        name: String,
    },

    /// The process, or the host, has as many files open as it may.
    #[error("cannot open '{name}'; raise the limit on open files (`ulimit -n`)")]
    TooManyFiles {
        /// The input.
        name: String,
        /// What the system says.
        source: io::Error,
    },

    /// Any other failure to open.
    #[error("cannot open '{name}'")]
    Open {
        /// The input.
        name: String,
        /// What the system says.
        source: io::Error,
    },

    /// The first bytes are those of a packing that is not read here.
    #[error("'{name}' is packed as {packing}, which is not read directly; {advice}")]
    Packed {
        /// The input.
        name: String,
        /// What it looks like.
        packing: &'static str,
        /// What unpacks it.
        advice: String,
    },

    /// The input is something else than lines of events: read as lines, it would give none.
    #[error("'{name}' is {what}; {advice}")]
    NoLines {
        /// The input.
        name: String,
        /// What it looks like.
        what: String,
        /// What makes lines of events of it.
        advice: String,
    },

    /// A sound file that asks for more memory than is given.
    #[error(
        "'{name}' needs {}, and at most {} MiB are used here; unpack it: zstd -dc --long=31 {} > events.txt, or pack it anew without \
         --long", window_words(*window), WINDOW_BYTES_MAX >> 20, quoted(name)
    )]
    Window {
        /// The input.
        name: String,
        /// What its first frame asks for, in bytes, if that is what asks for more.
        window: Option<u64>,
    },

    /// The device or pipe failed.
    #[error(
        "cannot read '{name}' beyond byte {read_bytes} (after line {line}); check the disk or the pipe, then run again"
    )]
    Read {
        /// The input.
        name: String,
        /// Bytes read.
        read_bytes: u64,
        /// Last whole line.
        line: u64,
        /// What the system says.
        source: io::Error,
    },

    /// The file changed while it was read: somebody writes it.
    #[error(
        "'{name}' changed from {before} to {now} bytes while it was read; wait until nobody writes it, or name a copy of it"
    )]
    Changed {
        /// The input.
        name: String,
        /// Its bytes at first.
        before: u64,
        /// And then.
        now: u64,
    },

    /// The compressed data stops before its own end.
    #[error(
        "'{name}' is cut off: its {format} data stops at byte {read_bytes} (after line {line}) without an end; \
         it was probably not copied or downloaded completely: compare its size with the original and fetch it again"
    )]
    Truncated {
        /// The input.
        name: String,
        /// The compression.
        format: Format,
        /// Bytes read, which is all there are.
        read_bytes: u64,
        /// Last whole line.
        line: u64,
    },

    /// The compressed data contradicts itself.
    #[error(
        "'{name}' is damaged: its {format} data cannot be decoded near byte {read_bytes} (after line {line}); \
         test it with `{format} -t`, and fetch it again"
    )]
    Damaged {
        /// The input.
        name: String,
        /// The compression.
        format: Format,
        /// Bytes read, at most one buffer beyond the damage.
        read_bytes: u64,
        /// Last whole line.
        line: u64,
        /// What the decoder says.
        source: io::Error,
    },

    /// A temporary file of a sort failed.
    #[error(
        "the lines cannot be sorted: a temporary file in '{dir}' cannot be {action}; sorting takes about as much room there as the \
         files take when they are packed, for moments twice that: free some, or name another directory with --sort-dir"
    )]
    Sort {
        /// Where temporary files go.
        dir: String,
        /// What was to be done with it.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },

    /// The caller asked to stop.
    #[error("the input was read no further, as this was told to end; run the same again")]
    ToldToEnd,

    /// The reading thread could not be started.
    #[error("cannot start the thread that reads the input")]
    Thread {
        /// What the system says.
        source: io::Error,
    },

    /// The reading thread ended without saying why. A bug here or in a decoder, never a clean end.
    #[error("reading the input stopped unexpectedly in '{name}'; this is a bug, please report it")]
    Stopped {
        /// The input that was being read last, as far as known.
        name: String,
    },
}

fn window_words(window: Option<u64>) -> String {
    match window {
        Some(bytes) => format!("a window of {} MiB to be unpacked", bytes.div_ceil(1 << 20)),
        None => "a larger window to be unpacked".to_owned(),
    }
}
