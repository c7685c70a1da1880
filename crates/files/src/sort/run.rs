//! A sorted run of lines in a temporary file: heads and bytes in turn, in one zstd frame.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use authpulse_event::EventTime;

use crate::Origin;

/// zstd level: lines of logons shrink to a quarter at little cost.
const LEVEL: i32 = 1;
/// How far a frame looks back, as a power of two of bytes: bounds what each file that is merged holds in memory.
const WINDOW_LOG: u32 = 18;

/// Stands for the time of a line that is no event; no event is that early.
const NO_EVENT: EventTime = EventTime::MIN;
/// In the length of a line: it is overlong, and its true length stands before its bytes.
const OVERLONG: u32 = 1 << 31;
/// A head's fields, in bytes: time, source, line, length.
pub(super) const HEAD_BYTES: usize = 8 + 4 + 8 + 4;

/// What is known of a line besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    time: EventTime,
    source: u32,
    line: u64,
    /// The true length of a line that is overlong.
    pub(super) overlong: Option<u64>,
}

/// What lines are ordered by: time, source, line. No two are equal.
pub(super) type Key = (EventTime, u32, u64);

impl Head {
    /// The head of a line that stood at `origin`. A line without a time is no event.
    pub(super) fn new(event_time: Option<EventTime>, origin: Origin, overlong: Option<u64>) -> Head {
        let (time, Origin { source, line }) = (event_time.unwrap_or(NO_EVENT), origin);
        Head { time, source, line, overlong }
    }

    /// What the line is ordered by.
    pub(super) fn key(&self) -> Key {
        (self.time, self.source, self.line)
    }

    /// The event's time; `None` if the line is no event.
    pub(super) fn event_time(&self) -> Option<EventTime> {
        (self.time != NO_EVENT).then_some(self.time)
    }

    /// Where the line stood.
    pub(super) fn origin(&self) -> Origin {
        Origin { source: self.source, line: self.line }
    }

    /// Bytes that a line of `bytes` bytes takes up with its head.
    pub(super) fn stored_bytes(&self, bytes: usize) -> usize {
        HEAD_BYTES + if self.overlong.is_some() { size_of::<u64>() } else { 0 } + bytes
    }

    /// Writes the head and the line's bytes.
    ///
    /// # Errors
    /// `out` cannot be written.
    pub(super) fn write(&self, bytes: &[u8], out: &mut impl Write) -> io::Result<()> {
        let flag = if self.overlong.is_some() { OVERLONG } else { 0 };
        // At most 16 MiB of a line are held.
        let length = bytes.len() as u32 | flag;
        out.write_all(&self.time.micros().to_le_bytes())?;
        out.write_all(&self.source.to_le_bytes())?;
        out.write_all(&self.line.to_le_bytes())?;
        out.write_all(&length.to_le_bytes())?;
        if let Some(overlong) = self.overlong {
            out.write_all(&overlong.to_le_bytes())?;
        }
        out.write_all(bytes)
    }

    /// The next head, and how many bytes follow it; `None` at the end.
    fn read(input: &mut impl Read) -> io::Result<Option<(Head, usize)>> {
        let mut time = [0; 8];
        // The only place at which a run may end.
        match input.read(&mut time[..1])? {
            0 => return Ok(None),
            _ => input.read_exact(&mut time[1..])?,
        }
        let time = EventTime::from_micros(i64::from_le_bytes(time));
        let source = u32::from_le_bytes(array(input)?);
        let line = u64::from_le_bytes(array(input)?);
        let length = u32::from_le_bytes(array(input)?);
        let overlong = if length & OVERLONG != 0 { Some(u64::from_le_bytes(array(input)?)) } else { None };
        Ok(Some((Head { time, source, line, overlong }, (length & !OVERLONG) as usize)))
    }
}

fn array<const N: usize>(input: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes).map(|()| bytes)
}

/// A temporary file of lines in order.
#[derive(Debug)]
pub(super) struct Run {
    file: Arc<File>,
    /// What it takes up on disk, in bytes.
    pub(super) bytes: u64,
}

/// How many bytes the line takes up with which `stored` begins.
pub(super) fn stored_length(stored: &[u8]) -> usize {
    let length = stored[HEAD_BYTES - size_of::<u32>()..HEAD_BYTES].try_into().expect("as many bytes as a length has");
    let length = u32::from_le_bytes(length);
    let more = if length & OVERLONG == 0 { 0 } else { size_of::<u64>() };
    HEAD_BYTES + more + (length & !OVERLONG) as usize
}

/// How many bytes are collected before they are packed, or unpacked at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// Writes a run.
pub(super) struct Writer {
    out: BufWriter<zstd::stream::write::Encoder<'static, File>>,
}

impl Writer {
    /// Begins an empty run in `file`.
    ///
    /// # Errors
    /// zstd refuses a setting.
    pub(super) fn new(file: File) -> io::Result<Writer> {
        let mut encoder = zstd::stream::write::Encoder::new(file, LEVEL)?;
        encoder.window_log(WINDOW_LOG)?;
        // What the disk gives back wrongly must not become a line.
        encoder.include_checksum(true)?;
        Ok(Writer { out: BufWriter::with_capacity(BUFFER_BYTES, encoder) })
    }

    /// Adds a line.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&mut self, head: &Head, bytes: &[u8]) -> io::Result<()> {
        head.write(bytes, &mut self.out)
    }

    /// Adds lines that are put together already, heads and bytes.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write_stored(&mut self, stored: &[u8]) -> io::Result<()> {
        self.out.write_all(stored)
    }

    /// Ends the run.
    ///
    /// # Errors
    /// The file cannot be written, or its size not be read.
    pub(super) fn finish(self) -> io::Result<Run> {
        let file = self.out.into_inner().map_err(io::IntoInnerError::into_error)?.finish()?;
        let bytes = file.metadata()?.len();
        Ok(Run { file: Arc::new(file), bytes })
    }
}

/// Reads a run from its beginning; others may read it at the same time.
pub(super) struct RunReader {
    input: BufReader<zstd::stream::read::Decoder<'static, BufReader<At>>>,
    /// The line whose turn comes next, its bytes still unread: they may be 16 MiB, and many runs are read at a time.
    next: Option<(Head, usize)>,
}

impl RunReader {
    /// Begins at the first line of the run.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn new(run: &Run) -> io::Result<RunReader> {
        let decoder = zstd::stream::read::Decoder::new(At { file: Arc::clone(&run.file), offset: 0 })?;
        let mut reader = RunReader { input: BufReader::with_capacity(BUFFER_BYTES, decoder), next: None };
        reader.next = Head::read(&mut reader.input)?;
        Ok(reader)
    }

    /// What the next line is ordered by; `None` at the end.
    pub(super) fn key(&self) -> Option<Key> {
        self.next.as_ref().map(|(head, _)| head.key())
    }

    /// Takes the next line off; its bytes replace what is in `bytes`.
    ///
    /// # Errors
    /// The file cannot be read, or is damaged.
    pub(super) fn take(&mut self, bytes: &mut Vec<u8>) -> io::Result<Option<Head>> {
        let Some((head, length)) = self.next.take() else { return Ok(None) };
        bytes.resize(length, 0);
        self.input.read_exact(bytes)?;
        self.next = Head::read(&mut self.input)?;
        Ok(Some(head))
    }
}

/// Reads a file without moving its position, which others share.
struct At {
    file: Arc<File>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(out, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
