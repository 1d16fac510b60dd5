//! Work on large messages, on threads apart: JSON costs microseconds a value, and a
//! megabyte of small values would hold up everything else this thread has to do.
//!
//! Requests and answers wait in lanes of their own: who uploads much makes nobody wait for
//! a list.

use std::{
    panic,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use tokio::{sync::Semaphore, task::spawn_blocking};
use tonic::Code;

use super::error::Failure;

/// What is smaller is worked on at once: some tenths of a millisecond at worst.
const SMALL: usize = 16 << 10;

/// How many large requests may wait, each held in memory. One more is refused. Answers are
/// not: the service has them already, and a watcher's stream must not end for others.
const MAX_REQUESTS: usize = 256;

/// Threads for large messages: in each lane half of the cores at most, whoever sends how
/// much and whether he still waits for it.
#[derive(Clone, Debug)]
pub(super) struct Apart {
    pub requests: Lane,
    pub answers: Lane,
}

/// Work of one kind.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    threads: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    /// How many may wait.
    room: usize,
}

impl Apart {
    pub(super) fn new() -> Self {
        Self { requests: Lane::new(MAX_REQUESTS), answers: Lane::new(usize::MAX) }
    }
}

impl Lane {
    fn new(room: usize) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { threads: Arc::new(Semaphore::new((cores / 2).max(1))), waiting: Arc::default(), room }
    }

    /// Does `work`, which grows with `size` in bytes.
    pub(super) async fn work<T: Send + 'static>(
        &self,
        size: usize,
        work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        if size <= SMALL {
            return work();
        }
        let waiting = Waiting::new(&self.waiting, self.room)?;
        let thread = Arc::clone(&self.threads).acquire_owned().await;
        drop(waiting);
        // The permit goes along: a client that is gone does not stop what has begun.
        let done = spawn_blocking(move || {
            let _thread = thread;
            work()
        });
        done.await.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => panic::resume_unwind(panic),
            Err(_) => Err(Failure::new(Code::Unavailable, "the server is stopping")),
        })
    }
}

/// Counts one who waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize, room: usize) -> Result<Self, Failure> {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(count);
        if before < room {
            return Ok(waiting);
        }
        let what = format!("{room} large requests are waiting already; try again");
        Err(Failure::new(Code::ResourceExhausted, what))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn who_goes_away_frees_no_thread_that_still_works() {
        let lane = Apart::new().requests;
        let threads = lane.threads.available_permits();
        let (go, wait) = mpsc::channel::<()>();
        let mut work = Box::pin(lane.work(SMALL + 1, move || Ok(wait.recv().is_err())));
        assert!(work.as_mut().now_or_never().is_none());
        drop(work);
        assert_eq!(lane.threads.available_permits(), threads - 1);
        drop(go);
        let all = Arc::clone(&lane.threads).acquire_many_owned(threads as u32).await;
        assert!(all.is_ok());
        assert_eq!(lane.waiting.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn not_too_many_requests_wait() {
        let lane = Apart::new().requests;
        let threads = lane.threads.available_permits() as u32;
        let all = Arc::clone(&lane.threads).acquire_many_owned(threads).await;
        let mut waiting: Vec<_> =
            (0..MAX_REQUESTS).map(|_| Box::pin(lane.work(SMALL + 1, || Ok(())))).collect();
        for work in &mut waiting {
            assert!(work.as_mut().now_or_never().is_none());
        }
        let refused = lane.work(SMALL + 1, || Ok(())).await.unwrap_err();
        assert_eq!(refused.code, Code::ResourceExhausted as i32);
        assert!(lane.work(SMALL, || Ok(())).await.is_ok(), "small work does not wait");
        drop(all);
        for work in waiting {
            assert!(work.await.is_ok());
        }
    }

    #[tokio::test]
    async fn any_number_of_answers_waits() {
        let lane = Apart::new().answers;
        let threads = lane.threads.available_permits() as u32;
        let all = Arc::clone(&lane.threads).acquire_many_owned(threads).await;
        let many = 2 * MAX_REQUESTS;
        let mut waiting: Vec<_> = (0..many).map(|_| Box::pin(lane.work(SMALL + 1, || Ok(())))).collect();
        for work in &mut waiting {
            assert!(work.as_mut().now_or_never().is_none());
        }
        drop(all);
        for work in waiting {
            assert!(work.await.is_ok());
        }
    }
}
