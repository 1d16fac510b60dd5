//! Load generators: the same for all subjects of a row, and cheap, because they share the
//! machine with the server. They run on one thread: requests are encoded once and patched, and
//! HTTP/2 is spoken by [`http2`], which costs a fraction of what a general client does, so that
//! the server is what is measured.

use std::{
    future::Future,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::bail;
use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{Bench, Result, Sample, process::Server};

pub mod abuse;
mod explain;
pub mod http1;
pub mod http2;
pub mod meter;
mod pace;
pub mod populate;
pub mod record;
pub mod setup;
pub mod streams;
pub mod unary;
pub mod watch;

pub use meter::Meter;
pub use pace::Pace;

/// A server that answers nothing for as long is not measured.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs these clients against `server`: first to warm up, then measured. They are dropped, whatever
/// they are at, when the time is over.
pub async fn measure<C>(bench: &Bench, server: &Server, meter: Rc<Meter>, clients: Vec<C>) -> Result<Sample>
where
    C: Future<Output = Result<()>>,
{
    let mut clients: FuturesUnordered<C> = clients.into_iter().collect();
    let all = async {
        while let Some(ended) = clients.next().await {
            ended?;
        }
        bail!("there is nothing left to do")
    };
    let clock = async {
        meter.all_ready().await;
        tokio::time::sleep(bench.warm_up).await;
        meter.begin(server);
        tokio::time::sleep(bench.length).await;
        // A round may be too short for even one answer where the machine is crowded.
        let patience = Instant::now() + PATIENCE;
        while meter.operations() == 0 && Instant::now() < patience {
            tokio::time::sleep(bench.length).await;
        }
        meter.end(server);
    };
    tokio::select! {
        () = clock => meter.sample(),
        failed = all => failed,
    }
}

/// `total` in `parts` that differ by one at most, none of them empty.
pub fn shares(total: usize, parts: usize) -> Vec<usize> {
    let parts = parts.clamp(1, total.max(1));
    (0..parts).map(|part| total / parts + usize::from(part < total % parts)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_even() {
        assert_eq!(shares(64, 8), [8; 8]);
        assert_eq!(shares(10, 4), [3, 3, 2, 2]);
        assert_eq!(shares(2, 8), [1, 1]);
        assert_eq!(shares(0, 8), [0]);
    }
}
