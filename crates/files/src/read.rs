//! The reading thread and the blocks that come out of it.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use super::cut::Cutter;
use super::decode::Decoder;
use super::forms::{self, Gate};
use super::{InputError, LINE_BYTES_MAX, LineBlock, ReadProgress, Source};

/// How an input is read.
#[derive(Debug, Clone)]
pub struct InputOptions {
    /// Usual size of a block in bytes, 1 to [`LINE_BYTES_MAX`]. Larger blocks cost less per line and more latency
    /// and memory; below some 64 KiB the hand-over between threads begins to show.
    pub block_bytes: usize,
    /// Blocks read ahead of the caller. The input holds at most this many and two more in memory, each about
    /// `block_bytes` (a block that is one overlong line: up to 16 MiB).
    pub queue_blocks: usize,
    /// Lines counted before this input, where it continues the numbers of earlier runs.
    pub lines_before: u64,
}

impl Default for InputOptions {
    fn default() -> Self {
        InputOptions { block_bytes: LINE_BYTES_MAX, queue_blocks: 4, lines_before: 0 }
    }
}

/// The lines of all sources in order, a block at a time. Blocks never span sources; no block is empty.
///
/// Reading and unpacking run in a thread of their own, ahead of the caller by a bounded queue. After an error the
/// iterator ends. Dropping it ends the thread at its next block (one that waits for standard input waits on).
#[derive(Debug)]
pub struct LineBlocks {
    messages: Receiver<Message>,
    queued: Arc<AtomicUsize>,
    progress: Arc<ReadProgress>,
    names: Vec<String>,
    reading: usize,
    finished: bool,
}

#[derive(Debug)]
enum Message {
    Block(LineBlock),
    Failed(InputError),
    /// All sources were read to their ends. Without this a thread that died would look like a short input.
    End,
}

/// Looks at all sources before they are read, and refuses what is no input; a command does this before it creates anything. Returns their
/// bytes on disk if all are regular files.
///
/// # Errors
/// There is no source; one is missing, a directory, not readable for this user, in a packing that is not read, or holds no lines of events;
/// or standard input is named twice.
pub fn check(sources: &[Source]) -> Result<Option<u64>, InputError> {
    if sources.is_empty() {
        return Err(InputError::NoSource);
    }
    let times = sources.iter().filter(|source| **source == Source::Stdin).count();
    if times > 1 {
        return Err(InputError::StdinTwice { times });
    }
    let mut total_bytes = Some(0);
    for source in sources {
        let size = source.check()?;
        if size.is_some() {
            forms::look_into(source)?;
        }
        total_bytes = total_bytes.zip(size).map(|(total, size): (u64, u64)| total + size);
    }
    Ok(total_bytes)
}

impl LineBlocks {
    /// Starts to read. Looks at all sources first, so that a missing file is reported before anything is read.
    ///
    /// # Errors
    /// As for [`check`], or the reading thread cannot be started.
    pub fn open(sources: Vec<Source>, options: InputOptions) -> Result<LineBlocks, InputError> {
        let total_bytes = check(&sources)?;
        let names = sources.iter().map(Source::to_string).collect();
        Self::start(names, total_bytes, options, move |feed| {
            sources.iter().enumerate().try_for_each(|(index, source)| feed.source(index, source))
        })
    }

    /// Reads one source that is no file: a socket, bytes in memory. `name` is for messages.
    ///
    /// # Errors
    /// The reading thread cannot be started.
    pub fn from_reader(
        name: &str,
        reader: impl Read + Send + 'static,
        options: InputOptions,
    ) -> Result<LineBlocks, InputError> {
        let name = name.to_owned();
        Self::start(vec![name.clone()], None, options, move |feed| feed.reader(0, name, reader, true))
    }

    /// Starts the thread that gives the blocks.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub(super) fn start(
        names: Vec<String>,
        total_bytes: Option<u64>,
        options: InputOptions,
        run: impl FnOnce(&mut Feed) -> Result<(), Stop> + Send + 'static,
    ) -> Result<LineBlocks, InputError> {
        let (sender, messages) = sync_channel(options.queue_blocks.max(1));
        let queued = Arc::new(AtomicUsize::new(0));
        let progress = Arc::new(ReadProgress::new(total_bytes));
        let mut feed = Feed {
            block_bytes: options.block_bytes,
            lines_before: options.lines_before,
            sender,
            queued: Arc::clone(&queued),
            progress: Arc::clone(&progress),
        };
        thread::Builder::new()
            .name("authpulse-input".to_owned())
            .spawn(move || {
                let last = match run(&mut feed) {
                    Ok(()) => Message::End,
                    Err(Stop::Failed(error)) => Message::Failed(*error),
                    Err(Stop::Unwanted) => return,
                };
                // A caller that is gone does not want the end either.
                let _ = feed.sender.send(last);
            })
            .map_err(|source| InputError::Thread { source })?;
        Ok(LineBlocks { messages, queued, progress, names, reading: 0, finished: false })
    }

    /// How far the reading is; may be watched from another thread.
    pub fn progress(&self) -> Arc<ReadProgress> {
        Arc::clone(&self.progress)
    }

    /// The name of a source for messages, by [`LineBlock::source`].
    pub fn name(&self, source: usize) -> &str {
        self.names.get(source).map_or("", String::as_str)
    }

    /// How many sources there are.
    pub fn sources(&self) -> usize {
        self.names.len()
    }

    /// Whether the next block may be long in coming: none is queued, and a source is no regular file.
    pub fn may_wait(&self) -> bool {
        self.progress.total_bytes().is_none() && self.queued.load(Ordering::Relaxed) == 0
    }

    fn stopped(&self) -> InputError {
        InputError::Stopped { name: self.name(self.reading).to_owned() }
    }
}

impl Iterator for LineBlocks {
    type Item = Result<LineBlock, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        match self.messages.recv() {
            Ok(Message::Block(block)) => {
                self.queued.fetch_sub(1, Ordering::Relaxed);
                self.reading = block.source;
                return Some(Ok(block));
            }
            Ok(Message::End) => self.finished = true,
            Ok(Message::Failed(error)) => {
                self.finished = true;
                return Some(Err(error));
            }
            Err(_) => {
                self.finished = true;
                return Some(Err(self.stopped()));
            }
        }
        None
    }
}

/// The reading thread's side of the queue.
pub(super) struct Feed {
    /// Usual size of a block in bytes.
    pub(super) block_bytes: usize,
    /// Lines before the source that is read next.
    pub(super) lines_before: u64,
    sender: SyncSender<Message>,
    queued: Arc<AtomicUsize>,
    /// How far the reading is, which the caller may watch.
    pub(super) progress: Arc<ReadProgress>,
}

/// Why the thread stops early.
pub(super) enum Stop {
    Failed(Box<InputError>),
    /// The caller is gone.
    Unwanted,
}

impl From<InputError> for Stop {
    fn from(error: InputError) -> Self {
        Stop::Failed(Box::new(error))
    }
}

impl Feed {
    fn source(&mut self, index: usize, source: &Source) -> Result<(), Stop> {
        let name = source.to_string();
        match source.open()? {
            Some((file, metadata)) => self.reader(index, name, file, !metadata.is_file()),
            None => self.reader(index, name, std::io::stdin(), true),
        }
    }

    /// If `live`, a line goes out as it comes, even if the caller does not wait for it yet: by the time it does, this thread may be waiting
    /// for the next. A file is all there, and full blocks are cheaper.
    fn reader(&mut self, index: usize, name: String, raw: impl Read + 'static, live: bool) -> Result<(), Stop> {
        let decoder = Decoder::new(name.clone(), raw, Arc::clone(&self.progress))?;
        // A file was looked into before anything was read.
        let mut gate = Gate::new(name, decoder.format(), !live);
        let mut cutter = Cutter::new(decoder, self.block_bytes, live);
        loop {
            let passed = match cutter.next() {
                Ok(Some(block)) => {
                    let first_line = self.lines_before + block.first_line_in_source;
                    gate.pass(LineBlock { source: index, first_line, ..block })?
                }
                Ok(None) => break,
                Err(error) => {
                    gate.give_up().into_iter().try_for_each(|block| self.send(block))?;
                    return Err(cutter.reader().explain(error, cutter.lines()).into());
                }
            };
            passed.into_iter().try_for_each(|block| self.send(block))?;
        }
        gate.end()?.into_iter().try_for_each(|block| self.send(block))?;
        self.lines_before += cutter.lines();
        Ok(())
    }

    /// Hands a block to the caller; waits while the queue is full.
    ///
    /// # Errors
    /// [`Stop::Unwanted`] if the caller is gone.
    pub(super) fn send(&self, block: LineBlock) -> Result<(), Stop> {
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.sender.send(Message::Block(block)).map_err(|_| Stop::Unwanted)
    }
}
