//! Files that are read again: when they change, and when the operator asks for it.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::watch,
    task::{JoinHandle, spawn_blocking},
};

/// How often files are looked at. Notices of the system are not used: they miss files that are
/// swapped through links, as container platforms do it, and those of network mounts.
const EVERY: Duration = Duration::from_secs(1);

/// Asks for everything to be read again, now.
#[derive(Clone, Debug)]
pub struct Asking(watch::Sender<u64>);

impl Default for Asking {
    fn default() -> Self {
        Self(watch::Sender::new(0))
    }
}

impl Asking {
    /// Has all files read again.
    pub fn ask(&self) {
        self.0.send_modify(|count| *count += 1);
    }

    /// Calls `read` whenever one of `files` has changed, and whenever it is asked for, until the
    /// returned task is aborted; on a thread where it may block. To be called on a tokio runtime.
    pub fn watch(&self, files: Vec<PathBuf>, mut read: impl FnMut() + Send + 'static) -> JoinHandle<()> {
        let mut asking = self.0.subscribe();
        // Before the first read, so that no change falls between the two.
        let mut seen = look(&files);
        tokio::spawn(async move {
            loop {
                let asked = tokio::select! {
                    changed = asking.changed() => changed.is_ok(),
                    () = tokio::time::sleep(EVERY) => false,
                };
                let files = files.clone();
                let looked = spawn_blocking(move || {
                    let now = look(&files);
                    if asked || now != seen {
                        read();
                    }
                    (now, read)
                });
                match looked.await {
                    Ok(back) => (seen, read) = back,
                    Err(_) => return,
                }
            }
        })
    }
}

/// What tells one state of a file from another; none of one that cannot be looked at.
fn look(files: &[PathBuf]) -> Vec<Option<(SystemTime, u64)>> {
    let of = |file: &PathBuf| {
        let data = fs::metadata(file).ok()?;
        Some((data.modified().ok()?, data.len()))
    };
    files.iter().map(of).collect()
}
