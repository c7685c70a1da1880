//! Gives names in order of first appearance, and writes the lines.

use std::io::{self, Write};

use super::traffic::Logon;
use crate::buffer::LineBuffer;

/// The file, and the names given so far.
pub(super) struct Output<W> {
    out: LineBuffer<W>,
    users: Names,
    computers: Names,
}

/// The number in a name, by internal number; 0 if none was given yet.
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
    /// Nothing written yet; `users` and `computers` are how many internal numbers there are.
    pub(super) fn new(out: W, users: usize, computers: usize) -> Output<W> {
        let out = LineBuffer::new(out);
        Output { out, users: Names::new(users), computers: Names::new(computers) }
    }

    /// Writes one line; returns the numbers that user and computer have in it.
    ///
    /// # Errors
    /// The file cannot be written.
    #[inline]
    pub(super) fn line(&mut self, second: u32, logon: &Logon) -> io::Result<(u32, u32)> {
        let user = self.users.of(logon.user);
        let computer = self.computers.of(logon.computer);
        self.out.put_event(second.into(), (b'U', user), computer)?;
        Ok((user, computer))
    }

    /// Writes what is left, and flushes the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.out.finish()
    }

    /// Bytes that the file has got; all of them once it is finished.
    pub(super) fn bytes(&self) -> u64 {
        self.out.written()
    }

    /// Users that have a name.
    pub(super) fn users(&self) -> u32 {
        self.users.last
    }

    /// Computers that have a name.
    pub(super) fn computers(&self) -> u32 {
        self.computers.last
    }
}
