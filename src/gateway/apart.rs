//! Work on large messages, on threads apart: JSON costs microseconds a value, and a
//! megabyte of small values would hold up everything else this thread has to do.

use std::{
    sync::Arc,
    thread::{self},
};

use tokio::{sync::Semaphore, task::spawn_blocking};
use tonic::Code;

use super::error::Failure;

/// What is smaller is worked on at once: at worst some milliseconds.
const SMALL: usize = 8 << 10;

/// Threads for large messages: half of the cores at most, whoever sends how much.
#[derive(Clone, Debug)]
pub(super) struct Apart(Arc<Semaphore>);

impl Apart {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Semaphore::new((cores / 2).max(1))))
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
        // The semaphore is never closed.
        let _permit = self.0.acquire().await;
        let done = spawn_blocking(work).await;
        done.unwrap_or_else(|error| Err(Failure::new(Code::Internal, error.to_string())))
    }
}
