//! The threads on which rows are encoded and entries stored.
//!
//! There are as many as the processors ask for, however many shards there are: a piece of work holds one of them only while it
//! computes, or blocks in a file. Whatever it waits for - a turn, the pieces before it, an answer over the network - it waits for without
//! a thread, so that what is under way costs its rows and nothing else. (A thread is not cheap: what the allocator keeps at hand for it
//! and never shares is some megabytes.)

use super::{Turn, Work};
use async_trait::async_trait;
use futures::executor::{ThreadPool, ThreadPoolBuilder};
use futures::future::{BoxFuture, FutureExt};
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

/// How far the threads that encode and store stand back behind those that decide, as a nice value: where processors are short, an
/// entry that takes longer costs less than decisions that come later.
const BEHIND: i32 = 5;

/// Threads for each processor: while one computes, another may be waiting for a disk.
const THREADS_A_PROCESSOR: usize = 2;

/// Lowers the priority of the calling thread; on Linux each has its own. Where that is refused, because the whole process stands
/// further back already, there is nothing to do.
fn stand_back() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, BEHIND);
}

/// Work on threads that stand back behind those of the tokio runtime that calls [`Work::start`]; twice as many as there are processors,
/// of which as many as there are processors compute for long.
pub struct TokioWork {
    /// Only steps what is ready, in the order in which it became so. (Not a runtime of tokio: what one of its threads makes ready waits
    /// until that thread has done with what it does, and that is a disk or half a second of encoding.)
    behind: ThreadPool,
    turns: Arc<Semaphore>,
}

impl TokioWork {
    /// With as many turns at once as there are processors.
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
        Ok(TokioWork { behind, turns: Arc::new(Semaphore::new(processors)) })
    }
}

/// Work that is stepped as if by a thread of the runtime that called: timers, connections and tasks that it starts belong to that one,
/// so that no connection is served by a thread that encodes.
struct Of {
    caller: Handle,
    work: BoxFuture<'static, ()>,
}

impl Future for Of {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Of { caller, work } = &mut *self;
        let _caller = caller.enter();
        work.as_mut().poll(context)
    }
}

#[async_trait]
impl Work for TokioWork {
    fn start(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let work = AssertUnwindSafe(Of { caller: Handle::current(), work }).catch_unwind();
        let (ended, end) = oneshot::channel::<()>();
        self.behind.spawn_ok(async move {
            // A panic was printed by the panic hook; the missing result tells the caller.
            let _ = work.await;
            drop(ended);
        });
        Box::pin(async move {
            let _ = end.await;
        })
    }

    /// On a thread of its own: the others have stood back, and none comes forward again without special rights. Only reading a
    /// snapshot is urgent, of one shard at a time and three pieces.
    fn start_urgent(&self, work: BoxFuture<'static, ()>) -> BoxFuture<'static, ()> {
        let runtime = Handle::current();
        let (ended, end) = oneshot::channel::<()>();
        std::thread::spawn(move || {
            runtime.block_on(work);
            drop(ended);
        });
        Box::pin(async move {
            let _ = end.await;
        })
    }

    async fn turn(&self) -> Turn {
        Turn(self.turns.clone().acquire_owned().await.ok())
    }
}

#[cfg(test)]
mod tests {
    use super::super::start;
    use super::*;
    use std::collections::HashSet;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::sync::Barrier;

    fn processors() -> usize {
        std::thread::available_parallelism().map_or(1, |n| n.get())
    }

    /// As many pieces as 64 shards may have under way at once: a chunk of rows, what is few, the entry, a snapshot.
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
                    // Each waits for all others, which have to have begun for that.
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

    #[cfg(target_os = "linux")]
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_what_is_urgent_does_not_stand_back() {
        use crate::env::start_urgent;
        let nice = || rustix::process::getpriority_process(None).unwrap();
        let (work, own) = (TokioWork::new().unwrap(), nice());
        assert_eq!(start(&work, async move { nice() }).await, Some(own.max(BEHIND)));
        assert_eq!(start_urgent(&work, async move { nice() }).await, Some(own));
    }
}
