//! The threads on which rows are encoded and entries stored.
//!
//! How many there are depends on the processors, not on the shards. A piece of work holds a thread only while it computes or blocks in a
//! file. While it waits, for a turn, for the pieces before it or for an answer over the network, it holds none, so that work under way
//! costs its rows and nothing else. (A thread is not cheap: the allocator keeps some megabytes at hand for it and never shares them.)
//!
//! When a command ends, some work may still be under way, such as a commit that a stop gave up. Such work may be cut off at any instant;
//! but a piece that runs on while its runtime goes away panics, which helps nobody. So the end is in order ([`TokioWork::end`]): from then
//! on nothing is stepped, and what computes at that moment is waited for, for a bounded time.

use super::{Turn, Work};
use async_trait::async_trait;
use futures::executor::{ThreadPool, ThreadPoolBuilder};
use futures::future::{BoxFuture, FutureExt};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot, watch};

/// The nice value of the threads that encode and store: where processors are short, an entry that takes longer costs less than decisions
/// that come later.
const BEHIND: i32 = 5;

/// Threads for each processor: while one computes, another may be waiting for a disk.
const THREADS_A_PROCESSOR: usize = 2;

/// Lowers the priority of the calling thread; on Linux each has its own. The system refuses this if the whole process has an even lower
/// priority; then there is nothing to do.
fn stand_back() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, BEHIND);
}

/// Work on threads of a lower priority than those of the tokio runtime that calls [`Work::start`]. There are twice as many as processors,
/// of which as many as there are processors compute for long.
pub struct TokioWork {
    /// Only steps what is ready, in the order in which it became so. (A tokio runtime would not do: what one of its threads makes ready
    /// waits until that thread is done with its current work, and that is a disk or half a second of encoding.)
    behind: ThreadPool,
    turns: Arc<Semaphore>,
    steps: Arc<Steps>,
}

/// Counts the pieces that are being stepped at the moment. After the end, no more begin.
struct Steps {
    under_way: Mutex<usize>,
    fewer: Condvar,
    /// Holds true once nothing is stepped any more.
    ended: watch::Sender<bool>,
}

/// One piece that is being stepped; dropped also if the piece panics.
struct Step<'a>(&'a Steps);

impl Steps {
    fn new() -> Steps {
        Steps { under_way: Mutex::new(0), fewer: Condvar::new(), ended: watch::Sender::new(false) }
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a step; `None` once the end has come.
    fn begin(&self) -> Option<Step<'_>> {
        let mut count = self.count();
        if *self.ended.borrow() {
            return None;
        }
        *count += 1;
        Some(Step(self))
    }

    fn end(&self, within: Duration) {
        self.ended.send_replace(true);
        let waited = self.fewer.wait_timeout_while(self.count(), within, |count| *count > 0);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

impl Drop for Step<'_> {
    fn drop(&mut self) {
        *self.0.count() -= 1;
        self.0.fewer.notify_all();
    }
}

/// Waits for the end of a piece. If the piece never ends because nothing is stepped any more, waits for ever: the caller ends with the
/// process, and would take a missing result for a panic.
async fn end_of(piece: oneshot::Receiver<()>, steps: Arc<Steps>) {
    if piece.await.is_err() && *steps.ended.borrow() {
        std::future::pending().await
    }
}

impl TokioWork {
    /// Threads with as many turns at once as there are processors.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new() -> std::io::Result<TokioWork> {
        let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
        let behind = ThreadPoolBuilder::new()
            .pool_size(THREADS_A_PROCESSOR * processors)
            .name_prefix("authpulse-store")
            .after_start(|_| stand_back())
            .create()?;
        Ok(TokioWork { behind, turns: Arc::new(Semaphore::new(processors)), steps: Arc::new(Steps::new()) })
    }

    /// From now on no piece is stepped. Waits until none is being stepped any more, at most this long. Must be called before the runtime
    /// goes away.
    pub fn end(&self, within: Duration) {
        self.steps.end(within);
    }
}

/// Work that is stepped as if by a thread of the calling runtime. Timers, connections and tasks that it starts belong to that runtime, so
/// that no connection is served by a thread that encodes.
struct Of {
    caller: Handle,
    work: BoxFuture<'static, ()>,
    steps: Arc<Steps>,
}

impl Future for Of {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Of { caller, work, steps } = &mut *self;
        let Some(_step) = steps.begin() else { return Poll::Pending };
        let _caller = caller.enter();
        work.as_mut().poll(context)
    }
}

#[async_trait]
impl Work for TokioWork {
    fn start(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let work = Of { caller: Handle::current(), work, steps: self.steps.clone() };
        let work = AssertUnwindSafe(work).catch_unwind();
        let (ended, end) = oneshot::channel::<()>();
        self.behind.spawn_ok(async move {
            // The panic hook has printed a panic; the missing result tells the caller.
            let _ = work.await;
            // Perhaps nobody waits for it any more.
            let _ = ended.send(());
        });
        Box::pin(end_of(end, self.steps.clone()))
    }

    /// On a thread of its own: those of the pool have a low priority, which only special rights could raise again. Only reading a snapshot
    /// is urgent, of one shard at a time and three pieces.
    fn start_urgent(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let (runtime, steps) = (Handle::current(), self.steps.clone());
        let (ended, end) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            let Some(_step) = steps.begin() else { return };
            let mut told = steps.ended.subscribe();
            let is_done = runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = told.wait_for(|ended| *ended) => false,
                    () = work => true,
                }
            });
            if is_done {
                // Perhaps nobody waits for it any more.
                let _ = ended.send(());
            }
        });
        Box::pin(end_of(end, self.steps.clone()))
    }

    async fn turn(&self) -> Turn {
        Turn(self.turns.clone().acquire_owned().await.ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::start;
    use super::*;
    use crate::env::start_urgent;
    use std::collections::HashSet;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Barrier;

    fn processors() -> usize {
        std::thread::available_parallelism().map_or(1, |n| n.get())
    }

    /// Long enough for a piece to be stepped that nothing keeps from it.
    const LONG_ENOUGH: Duration = Duration::from_secs(1);

    /// As many pieces as 64 shards may have under way at once: a chunk of rows, the small rows, the entry, a snapshot.
    const PIECES: usize = 4 * 64;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_waits_holds_no_thread() {
        let work = TokioWork::new().unwrap();
        let (threads, all) = (Arc::new(Mutex::new(HashSet::new())), Arc::new(Barrier::new(PIECES)));
        let pieces: Vec<_> = (0..PIECES)
            .map(|_| {
                let (threads, all) = (threads.clone(), all.clone());
                start(&work, async move {
                    threads.lock().unwrap().insert(std::thread::current().id());
                    // Each waits until all others have begun.
                    all.wait().await;
                    threads.lock().unwrap().insert(std::thread::current().id());
                })
            })
            .collect();
        for piece in pieces {
            piece.await.unwrap();
        }
        let threads = threads.lock().unwrap().len();
        assert!(threads <= THREADS_A_PROCESSOR * processors(), "{PIECES} pieces held {threads} threads");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_more_compute_for_long_than_there_are_processors() {
        let work = Arc::new(TokioWork::new().unwrap());
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let pieces: Vec<_> = (0..PIECES)
            .map(|_| {
                let (turns, now, most) = (work.clone(), now.clone(), most.clone());
                start(&*work, async move {
                    let turn = turns.turn().await;
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    drop(turn);
                })
            })
            .collect();
        for piece in pieces {
            piece.await.unwrap();
        }
        let most = most.load(Ordering::SeqCst);
        assert!((1..=processors()).contains(&most), "{most} had a turn at once");
    }

    /// Timers and tasks are those of the caller: a piece that sleeps or connects does not depend on threads that encode.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_piece_belongs_to_the_runtime_that_started_it() {
        let work = TokioWork::new().unwrap();
        let caller = Handle::current().id();
        let piece = start(&work, async move {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            let spawned = tokio::spawn(async { Handle::current().id() }).await.unwrap();
            (Handle::current().id(), spawned)
        });
        assert_eq!(piece.await, Some((caller, caller)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_piece_that_panics_has_no_result_and_costs_no_thread() {
        let work = TokioWork::new().unwrap();
        for _ in 0..2 * THREADS_A_PROCESSOR * processors() {
            assert_eq!(start(&work, async { panic!("on purpose") }).await, None::<()>);
        }
        assert_eq!(start(&work, async { 7 }).await, Some(7));
    }

    /// Far above what anything here takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A piece that waits, one that computes at that moment, and an urgent one that waits: once the end has come, none of them touches the
    /// runtime any more, and none appears to have panicked.
    #[test]
    fn after_the_end_nothing_is_stepped() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let work = Arc::new(TokioWork::new().unwrap());
        let (go_on, waits) = tokio::sync::watch::channel(false);
        let (begun, has_begun) = std::sync::mpsc::channel();
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let done = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async {
            for is_urgent in [false, true] {
                let (mut waits, begun, stepped, told) = (waits.clone(), begun.clone(), done.clone(), done.clone());
                let piece = async move {
                    begun.send(()).unwrap();
                    let _ = waits.wait_for(|go_on| *go_on).await;
                    stepped.fetch_add(1, Ordering::SeqCst);
                };
                let piece = if is_urgent { start_urgent(&*work, piece) } else { start(&*work, piece) };
                tokio::spawn(async move {
                    piece.await;
                    told.fetch_add(1, Ordering::SeqCst);
                });
            }
            let begun = begun.clone();
            let computes = start(&*work, async move {
                begun.send(()).unwrap();
                held.recv().unwrap();
            });
            drop(computes);
        });
        (0..3).for_each(|_| has_begun.recv_timeout(PATIENCE).unwrap());
        // What computes is waited for, but no longer than this.
        work.end(Duration::from_millis(1));
        let ending = work.clone();
        let ended = std::thread::spawn(move || ending.end(PATIENCE));
        assert!(!ended.is_finished() || *work.steps.count() == 0);
        let_go.send(()).unwrap();
        ended.join().unwrap();
        assert_eq!(*work.steps.count(), 0);
        // What waited could go on now, and so could a new piece.
        go_on.send(true).unwrap();
        let stepped = (begun, done.clone());
        runtime.block_on(async {
            drop(start(&*work, async move {
                stepped.1.fetch_add(1, Ordering::SeqCst);
                drop(stepped.0);
            }));
        });
        drop(Arc::into_inner(work).expect("nobody else has it"));
        // A piece that is stepped in spite of the end would be done long before. The pool may keep pieces that are not stepped, as its end
        // is that of the process.
        let gone = has_begun.recv_timeout(LONG_ENOUGH);
        assert!(gone.is_err(), "a piece began");
        assert_eq!(done.load(Ordering::SeqCst), 0, "neither stepped, nor told to whoever waits as if it had panicked");
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_what_is_urgent_does_not_stand_back() {
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let (work, own) = (TokioWork::new().unwrap(), nice());
        assert_eq!(start(&work, async move { nice() }).await, Some(own.max(BEHIND)));
        assert_eq!(start_urgent(&work, async move { nice() }).await, Some(own));
    }
}
