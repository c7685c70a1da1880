//! Packed streams one after another in one source, and what may stand behind the last.
//!
//! Tapes and block devices fill their last block with zero bytes, as `gzip -t` takes for granted. So zeros up to the end of the
//! source are its end, however many they are; anything else that is no further stream is damage.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;

use super::Format;

/// Unpacks every stream of a source: gzip calls them members, zstd frames.
pub(super) struct Members<R: BufRead> {
    state: State<R>,
}

enum State<R: BufRead> {
    Gzip(Box<GzDecoder<R>>),
    Bzip2(BzDecoder<R>),
    Zstd(zstd::stream::read::Decoder<'static, R>),
    /// Nothing more to read, or nothing that could be read.
    Done,
}

impl<R: BufRead> Members<R> {
    /// `format` is that of the first stream, which stands at the reader's position; plain bytes have none.
    ///
    /// # Errors
    /// The zstd decoder cannot be set up.
    pub(super) fn new(format: Format, packed: R) -> io::Result<Self> {
        Ok(Members { state: State::begin(format, packed)? })
    }
}

impl<R: BufRead> State<R> {
    fn begin(format: Format, packed: R) -> io::Result<State<R>> {
        Ok(match format {
            Format::Gzip => State::Gzip(Box::new(GzDecoder::new(packed))),
            Format::Bzip2 => State::Bzip2(BzDecoder::new(packed)),
            Format::Zstd => State::Zstd(zstd::stream::read::Decoder::with_buffer(packed)?.single_frame()),
            Format::Plain => State::Done,
        })
    }

    /// After the end of a stream: goes on with the next.
    fn follow(self) -> io::Result<State<R>> {
        let (format, mut packed) = match self {
            State::Gzip(decoder) => (Format::Gzip, decoder.into_inner()),
            State::Bzip2(decoder) => (Format::Bzip2, decoder.into_inner()),
            State::Zstd(decoder) => (Format::Zstd, decoder.finish()),
            State::Done => return Ok(State::Done),
        };
        match first_byte(&mut packed)? {
            None => Ok(State::Done),
            Some(0) => only_zeros(&mut packed).map(|()| State::Done),
            Some(byte) if may_begin(format, byte) => State::begin(format, packed),
            // The decoder would take a few bytes of something else for a stream that is cut off.
            Some(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "something else follows its end")),
        }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let bytes = match &mut self.state {
                State::Gzip(decoder) => decoder.read(out)?,
                State::Bzip2(decoder) => decoder.read(out)?,
                State::Zstd(decoder) => decoder.read(out)?,
                State::Done => return Ok(0),
            };
            if bytes > 0 {
                return Ok(bytes);
            }
            // After a failure there is nothing more to ask for.
            self.state = std::mem::replace(&mut self.state, State::Done).follow()?;
        }
    }
}

/// Whether a stream may begin with this byte; a zstd frame may be a skippable one.
fn may_begin(format: Format, byte: u8) -> bool {
    match format {
        Format::Gzip => byte == 0x1f,
        Format::Bzip2 => byte == b'B',
        Format::Zstd => byte == 0x28 || (0x50..=0x5f).contains(&byte),
        Format::Plain => false,
    }
}

/// The next byte, which stays where it is; `None` at the end.
fn first_byte(packed: &mut impl BufRead) -> io::Result<Option<u8>> {
    fill(packed).map(|bytes| bytes.first().copied())
}

/// Reads zeros up to the end, a buffer at a time.
fn only_zeros(packed: &mut impl BufRead) -> io::Result<()> {
    loop {
        let bytes = fill(packed)?;
        let (read, zeros) = (bytes.len(), bytes.iter().take_while(|byte| **byte == 0).count());
        packed.consume(zeros);
        if read == 0 {
            return Ok(());
        }
        if zeros < read {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "zero bytes follow its end, and something else follows those",
            ));
        }
    }
}

fn fill(packed: &mut impl BufRead) -> io::Result<&[u8]> {
    loop {
        match packed.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // What is buffered is handed out again without another read.
    packed.fill_buf()
}
