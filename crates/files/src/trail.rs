//! NUL bytes at the end of a source are no part of its last line.

use std::io::{self, Read};

/// Read ahead at a time, in bytes, to see whether NULs are the last.
const AHEAD_BYTES: usize = 64 * 1024;

/// Hands on what it reads but the NULs that nothing follows: a block device, or a file whose blocks were allocated and never
/// written, ends in them. It counts NULs instead of holding them, because they may be gigabytes.
pub(super) struct WithoutTrail<R> {
    inner: R,
    /// NULs that something follows: to be handed out before `ahead`.
    due: u64,
    /// What follows them, without NULs at its end, and how much of it was handed out.
    ahead: Vec<u8>,
    given: usize,
    /// NULs that were read, and of which it is unknown yet what follows.
    held: u64,
}

impl<R: Read> WithoutTrail<R> {
    /// Passes on what `inner` reads.
    pub(super) fn new(inner: R) -> Self {
        WithoutTrail { inner, due: 0, ahead: Vec::new(), given: 0, held: 0 }
    }

    /// Reads on until something else than a NUL comes. Returns whether it does.
    fn look_ahead(&mut self) -> io::Result<bool> {
        loop {
            // Kept on the way out of an error: `held` counts what was read before it.
            self.ahead.resize(AHEAD_BYTES, 0);
            let read = self.inner.read(&mut self.ahead);
            self.ahead.truncate(*read.as_ref().unwrap_or(&0));
            self.given = 0;
            let read = read?;
            if read == 0 {
                return Ok(false);
            }
            self.ahead.truncate(without_nuls(&self.ahead));
            let nuls = (read - self.ahead.len()) as u64;
            if self.ahead.is_empty() {
                self.held += nuls;
            } else {
                self.due = std::mem::replace(&mut self.held, nuls);
                return Ok(true);
            }
        }
    }
}

impl<R: Read> Read for WithoutTrail<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if self.due > 0 {
                let nuls = usize::try_from(self.due).unwrap_or(usize::MAX).min(out.len());
                out[..nuls].fill(0);
                self.due -= nuls as u64;
                return Ok(nuls);
            }
            let ahead = &self.ahead[self.given..];
            if !ahead.is_empty() {
                let bytes = ahead.len().min(out.len());
                out[..bytes].copy_from_slice(&ahead[..bytes]);
                self.given += bytes;
                return Ok(bytes);
            }
            if self.held > 0 {
                if !self.look_ahead()? {
                    return Ok(0);
                }
                continue;
            }
            let read = self.inner.read(out)?;
            let bytes = without_nuls(&out[..read]);
            self.held = (read - bytes) as u64;
            if bytes > 0 || read == 0 {
                return Ok(bytes);
            }
        }
    }
}

/// The length without the NULs at the end.
fn without_nuls(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}
