//! Names in order of first appearance, and the lines.

use std::io::{self, Write};

use super::traffic::Logon;

/// Handed to the file at a time, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;
/// The longest line: three numbers of ten digits, two letters, two commas, the line end.
const LINE_BYTES_MAX: usize = 40;

pub(super) struct Output<W> {
    out: W,
    buffer: Vec<u8>,
    users: Names,
    computers: Names,
    pub(super) bytes: u64,
}

/// Numbers given out by internal number; 0 is none yet.
struct Names {
    given: Vec<u32>,
    last: u32,
}

impl Names {
    fn new(count: usize) -> Names {
        Names { given: vec![0; count], last: 0 }
    }

    #[inline]
    fn of(&mut self, internal: u32) -> u32 {
        let name = &mut self.given[internal as usize];
        if *name == 0 {
            self.last += 1;
            *name = self.last;
        }
        *name
    }
}

impl<W: Write> Output<W> {
    pub(super) fn new(out: W, users: usize, computers: usize) -> Output<W> {
        let buffer = Vec::with_capacity(BUFFER_BYTES + LINE_BYTES_MAX);
        Output { out, buffer, users: Names::new(users), computers: Names::new(computers), bytes: 0 }
    }

    /// Writes one line and says which numbers user and computer have in it.
    #[inline]
    pub(super) fn line(&mut self, second: u32, logon: &Logon) -> io::Result<(u32, u32)> {
        let user = self.users.of(logon.user);
        let computer = self.computers.of(logon.computer);
        let mut line = [0; LINE_BYTES_MAX];
        let mut at = LINE_BYTES_MAX;
        let mut put = |bytes: &[u8], number: u32| {
            at -= bytes.len();
            line[at..at + bytes.len()].copy_from_slice(bytes);
            let mut rest = number;
            loop {
                at -= 1;
                line[at] = b'0' + (rest % 10) as u8;
                rest /= 10;
                if rest == 0 {
                    break;
                }
            }
        };
        put(b"\n", computer);
        put(b",C", user);
        put(b",U", second);
        self.buffer.extend_from_slice(&line[at..]);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush_buffer()?;
        }
        Ok((user, computer))
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.bytes += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.flush_buffer()?;
        self.out.flush()
    }

    pub(super) fn users(&self) -> u32 {
        self.users.last
    }

    pub(super) fn computers(&self) -> u32 {
        self.computers.last
    }
}
