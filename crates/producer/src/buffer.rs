//! Buffers generated lines, and hands them to a file in large pieces.

use std::io::{self, Write};

/// How many bytes go to the file at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// More bytes than a line has: room for the line that fills a piece.
const LINE_BYTES: usize = 1024;
/// The longest line of an event: numbers of 20, 10 and 10 digits, two letters, two commas, the line end.
const EVENT_BYTES_MAX: usize = 48;

/// Lines that are held, and the file that they go to.
pub(crate) struct LineBuffer<W> {
    out: W,
    held: Vec<u8>,
    written: u64,
}

impl<W: Write> LineBuffer<W> {
    /// An empty buffer in front of `out`.
    pub(crate) fn new(out: W) -> LineBuffer<W> {
        LineBuffer { out, held: Vec::with_capacity(PIECE_BYTES + LINE_BYTES), written: 0 }
    }

    /// Adds a line, with its line break.
    ///
    /// # Errors
    /// The file cannot be written.
    #[inline]
    pub(crate) fn put(&mut self, line: &[u8]) -> io::Result<()> {
        self.held.extend_from_slice(line);
        if self.held.len() >= PIECE_BYTES { self.hand_over() } else { Ok(()) }
    }

    /// Adds `second,U7,C42`, with the letter of the user.
    ///
    /// # Errors
    /// The file cannot be written.
    #[inline]
    pub(crate) fn put_event(&mut self, second: u64, (letter, user): (u8, u32), computer: u32) -> io::Result<()> {
        let mut line = [b'\n'; EVENT_BYTES_MAX];
        let mut at = EVENT_BYTES_MAX - 1;
        let mut put = |before: &[u8], number: u64| {
            let mut rest = number;
            loop {
                at -= 1;
                line[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
                if rest == 0 {
                    break;
                }
            }
            at -= before.len();
            line[at..at + before.len()].copy_from_slice(before);
        };
        put(b",C", u64::from(computer));
        put(&[b',', letter], u64::from(user));
        put(b"", second);
        self.put(&line[at..])
    }

    fn hand_over(&mut self) -> io::Result<()> {
        self.out.write_all(&self.held)?;
        self.written += self.held.len() as u64;
        self.held.clear();
        Ok(())
    }

    /// Writes what is left, and flushes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.hand_over()?;
        self.out.flush()
    }

    /// Bytes that the file has got; all of them once it is finished.
    pub(crate) fn written(&self) -> u64 {
        self.written
    }
}
