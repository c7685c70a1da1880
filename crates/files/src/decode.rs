//! From the bytes on disk to the bytes of the lines.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::format::{Format, MAGIC_BYTES};
use super::members::Members;
use super::trail::WithoutTrail;
use super::{InputError, ReadProgress, format, packings};

/// Read from disk at a time, in bytes: large enough that a system call costs nothing, small enough that the
/// position in a message is near the fault.
const DISK_BUFFER_BYTES: usize = 256 * 1024;

/// What zstd says of a frame whose window is larger than it may be (the zstd crate hands on no code for it).
const ZSTD_TOO_LARGE: &str = "Frame requires too much memory";

/// A source's lines, unpacked, still as one run of bytes.
pub(super) struct Decoder {
    name: String,
    format: Format,
    tap: Arc<Tap>,
    unpacked: Box<dyn Read>,
}

/// What the disk side saw, kept outside the decoders because they own the reader.
#[derive(Default)]
struct Tap {
    read_bytes: AtomicU64,
    failed: AtomicBool,
}

impl Decoder {
    /// Looks at the first bytes of `raw` and unpacks accordingly. Waits on a pipe for as many as it takes to tell.
    ///
    /// # Errors
    /// [`InputError::Packed`] for a packing that is not read, [`InputError::Window`] for one that needs too much memory,
    /// [`InputError::Damaged`] if the decoder cannot start.
    pub(super) fn new(
        name: String,
        raw: impl Read + 'static,
        progress: Arc<ReadProgress>,
    ) -> Result<Decoder, InputError> {
        let mut raw = Raw { inner: raw, failure: None };
        let head = raw.head();
        packings::refuse_unsupported(&name, &head)?;
        let format = Format::detect(&head);
        let window = format::zstd_window(&head).filter(|window| *window > format::WINDOW_BYTES_MAX);
        if window.is_some() {
            return Err(InputError::Window { name, window });
        }
        let tap = Arc::new(Tap::default());
        let disk = BufReader::with_capacity(DISK_BUFFER_BYTES, Cursor::new(head).chain(raw));
        let metered = Metered { disk, tap: Arc::clone(&tap), progress };
        let unpacked: Box<dyn Read> = match format {
            Format::Plain => Box::new(WithoutTrail::new(metered)),
            _ => match Members::new(format, metered) {
                Ok(members) => Box::new(WithoutTrail::new(members)),
                Err(source) => return Err(InputError::Damaged { name, format, read_bytes: 0, line: 0, source }),
            },
        };
        Ok(Decoder { name, format, tap, unpacked })
    }

    /// How it is packed.
    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Names what a failed read means for the operator. `line` is the last one read whole.
    pub(super) fn explain(&self, source: io::Error, line: u64) -> InputError {
        let (name, format) = (self.name.clone(), self.format);
        let read_bytes = self.tap.read_bytes.load(Ordering::Relaxed);
        if format == Format::Zstd && source.to_string().contains(ZSTD_TOO_LARGE) {
            InputError::Window { name, window: None }
        } else if format == Format::Plain || self.tap.failed.load(Ordering::Relaxed) {
            InputError::Read { name, read_bytes, line, source }
        } else if source.kind() == io::ErrorKind::UnexpectedEof {
            InputError::Truncated { name, format, read_bytes, line }
        } else {
            InputError::Damaged { name, format, read_bytes, line, source }
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.unpacked.read(out)
    }
}

/// The source itself. A failure met while looking at its first bytes waits until those have been read.
struct Raw<R> {
    inner: R,
    failure: Option<io::Error>,
}

impl<R: Read> Raw<R> {
    fn head(&mut self) -> Vec<u8> {
        let mut head = Vec::with_capacity(MAGIC_BYTES);
        let mut next = [0; MAGIC_BYTES];
        while format::undecided(&head) || packings::undecided(&head) {
            match self.inner.read(&mut next[head.len()..]) {
                Ok(0) => break,
                Ok(read) => head.extend_from_slice(&next[head.len()..][..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.failure = Some(error);
                    break;
                }
            }
        }
        head
    }
}

impl<R: Read> Read for Raw<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.failure.take().map_or_else(|| self.inner.read(out), Err)
    }
}

/// Counts what the decoder takes, not what the buffer fetched ahead, and remembers whether the disk failed.
struct Metered<R> {
    disk: BufReader<Chain<Cursor<Vec<u8>>, Raw<R>>>,
    tap: Arc<Tap>,
    progress: Arc<ReadProgress>,
}

impl<R: Read> Metered<R> {
    fn count(&self, bytes: usize) {
        self.tap.read_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.progress.add(bytes as u64);
    }

    fn note<T>(tap: &Tap, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() != io::ErrorKind::Interrupted
        {
            tap.failed.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let bytes = Self::note(&self.tap, self.disk.read(out))?;
        self.count(bytes);
        Ok(bytes)
    }
}

impl<R: Read> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Self::note(&self.tap, self.disk.fill_buf())
    }

    fn consume(&mut self, bytes: usize) {
        self.count(bytes);
        self.disk.consume(bytes);
    }
}
