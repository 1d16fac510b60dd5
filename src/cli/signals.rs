//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once. SIGHUP asks for files to
//! be read again.

use std::{io, process};

use tokio_util::sync::CancellationToken;

/// The code of a process that a second signal ended.
const STOPPED: i32 = 130;

/// A token that the first signal cancels. From this call on, signals do not end the process
/// by themselves; call it before anything that must be undone.
pub fn stop_token() -> io::Result<CancellationToken> {
    let mut signals = Signals::install()?;
    let token = CancellationToken::new();
    let first = token.clone();
    tokio::spawn(async move {
        signals.recv().await;
        first.cancel();
        signals.recv().await;
        process::exit(STOPPED);
    });
    Ok(token)
}

/// Calls `f` at each SIGHUP, which does not end the process from this call on.
#[cfg(unix)]
pub fn on_hangup(f: impl Fn() + Send + 'static) -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            f();
        }
    });
    Ok(())
}

/// There is no such signal.
#[cfg(windows)]
pub fn on_hangup(_: impl Fn() + Send + 'static) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn install() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(windows)]
struct Signals(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Signals {
    fn install() -> io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn recv(&mut self) {
        self.0.recv().await;
    }
}
