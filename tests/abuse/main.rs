//! What a hostile client can do to a server, done to the real one: meanwhile and afterwards every
//! call of an honest client succeeds, nothing honest expires, and memory stays bounded.
//!
//! What each limit answers is tested where it is made (`tests/wire`, `tests/limits`); here counts
//! that nobody else notices.

#![allow(clippy::unwrap_used)]

mod frames;
mod honest;
mod slow;
#[path = "../support/mod.rs"]
mod support;
mod volume;

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use honest::{Honest, Progress};
use support::{
    Server,
    peers::{loopback, resident_mib, try_connect_from},
};

/// More than any of these servers needs, the one with 30,000 calls open included, which take 12 KiB each;
/// and far less than what is thrown at them.
const MEMORY_MIB: u64 = 512;

/// While an attack goes on, the honest one comes round so often.
const ROUNDS: usize = 3;

/// Where attacks come from: so that limits of one peer are not what protects from them, nor what
/// they take from the honest one.
fn attacker() -> IpAddr {
    loopback(66)
}

/// What an attack is told.
struct Attack {
    addr: SocketAddr,
    progress: Arc<Progress>,
}

impl Attack {
    /// Attacks, wave after wave, until the honest one has come round some times meanwhile.
    fn waves(&self, mut wave: impl FnMut(SocketAddr)) {
        let until = self.progress.rounds() + ROUNDS;
        wave(self.addr);
        while self.progress.goes_on() && self.progress.rounds() < until {
            wave(self.addr);
        }
    }

    /// Keeps something open until then.
    fn hold<T>(&self, held: T) {
        let until = self.progress.rounds() + ROUNDS;
        while self.progress.goes_on() && self.progress.rounds() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(held);
    }
}

/// Attacks a server of these settings.
async fn withstand(args: &[&str], attack: impl FnOnce(&Attack) + Send + 'static) {
    withstand_as(Server::start(args), attack).await;
}

async fn withstand_as(mut server: Server, attack: impl FnOnce(&Attack) + Send + 'static) {
    let honest = Honest::start(&server).await;
    let told = Attack { addr: server.addr, progress: honest.progress() };
    let attacked = tokio::task::spawn_blocking(move || attack(&told)).await;
    honest.finish(&server).await;
    attacked.unwrap();
    let resident = resident_mib(server.id());
    assert!(resident < MEMORY_MIB, "{resident} MiB");
    assert_eq!(server.get("/health").json()["status"], "healthy");
    assert!(server.alive());
}

/// Sends bytes on a connection of their own as far as the server takes them, reading what it says
/// meanwhile, up to its end; or, where it just goes on, until it has nothing more to say.
fn throw(addr: SocketAddr, bytes: &[u8]) {
    let Ok(mut stream) = try_connect_from(attacker(), addr) else { return };
    for part in bytes.chunks(64 << 10) {
        if stream.write_all(part).is_err() {
            return;
        }
        stream.set_nonblocking(true).unwrap();
        hear(&mut stream);
        stream.set_nonblocking(false).unwrap();
    }
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    hear(&mut stream);
}

/// Reads what comes until nothing does.
fn hear(stream: &mut TcpStream) {
    let mut heard = [0; 16 << 10];
    while let Ok(1..) = stream.read(&mut heard) {}
}
