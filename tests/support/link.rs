//! The network between a client and a server: a proxy of TCP connections that can be cut, refuse, hold bytes back in
//! either direction or both, go on, and lead to another server.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{SOON, wait_for};

/// A network of one server, which lasts until it is dropped. Its connections are served on a thread of their own.
pub struct Link {
    /// Where clients connect to.
    pub addr: SocketAddr,
    rules: watch::Sender<Rules>,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
    /// Keeps the port ours while nobody listens there.
    _port: Socket,
}

/// Which bytes are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
    Both,
}

#[derive(Clone, Debug)]
struct Rules {
    server: SocketAddr,
    door: Door,
    held: Option<Way>,
    /// Connections that were made before the last cut are gone.
    cuts: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
    /// The link is dropped.
    Gone,
}

impl Rules {
    fn passes(&self, way: Way) -> bool {
        self.held.is_none_or(|held| held != way && held != Way::Both)
    }
}

#[derive(Default)]
struct Seen {
    accepted: AtomicUsize,
    open: AtomicUsize,
    listens: AtomicBool,
}

impl Link {
    /// One that leads to this server.
    pub fn to(server: SocketAddr) -> Self {
        let port = socket((Ipv4Addr::LOCALHOST, 0).into());
        let addr = port.local_addr().ok().and_then(|addr| addr.as_socket()).expect("an address");
        let rules = Rules { server, door: Door::Open, held: None, cuts: 0 };
        let (rules, reader) = watch::channel(rules);
        let seen = Arc::new(Seen::default());
        let of_thread = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(listen(addr, reader, of_thread));
        });
        let link = Self { addr, rules, seen, thread: Some(thread), _port: port };
        link.wait_listening(true);
        link
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How many connections were accepted so far.
    pub fn accepted(&self) -> usize {
        self.seen.accepted.load(Ordering::SeqCst)
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.seen.open.load(Ordering::SeqCst)
    }

    /// Everything passes, what was held back first; new connections are accepted.
    pub fn pass(&self) {
        self.rules.send_modify(|rules| {
            rules.door = Door::Open;
            rules.held = None;
        });
        self.wait_listening(true);
    }

    /// Resets all connections; new ones are accepted.
    pub fn cut(&self) {
        self.rules.send_modify(|rules| rules.cuts += 1);
        wait_for("the connections to be gone", SOON, || (self.open() == 0).then_some(()));
    }

    /// Refuses new connections; those that are open stay.
    pub fn refuse(&self) {
        self.rules.send_modify(|rules| rules.door = Door::Closed);
        self.wait_listening(false);
    }

    /// Holds all bytes back that go this way, ends of connections too; new ones are accepted, and held back alike.
    pub fn hold(&self, way: Way) {
        self.rules.send_modify(|rules| rules.held = Some(way));
    }

    /// New connections lead to this server.
    pub fn lead_to(&self, server: SocketAddr) {
        self.rules.send_modify(|rules| rules.server = server);
    }

    fn wait_listening(&self, listens: bool) {
        let is_so = || (self.seen.listens.load(Ordering::SeqCst) == listens).then_some(());
        wait_for("the proxy to listen, or not", SOON, is_so);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.rules.send_modify(|rules| rules.door = Door::Gone);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !thread::panicking() {
                ended.expect("the proxy does not panic");
            }
        }
    }
}

/// One at this address that others may have too: it refuses connections until it listens.
fn socket(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.set_reuse_port(true).expect("an option");
    socket.bind(&addr.into()).expect("a free port");
    socket
}

async fn listen(addr: SocketAddr, mut rules: watch::Receiver<Rules>, seen: Arc<Seen>) {
    let mut listener: Option<TcpListener> = None;
    loop {
        let now = rules.borrow_and_update().clone();
        if now.door == Door::Gone {
            return;
        }
        if now.door == Door::Open && listener.is_none() {
            let socket = socket(addr);
            socket.listen(1024).expect("it listens");
            socket.set_nonblocking(true).expect("an option");
            listener = Some(TcpListener::from_std(socket.into()).expect("a listener"));
        } else if now.door == Door::Closed {
            listener = None;
        }
        seen.listens.store(listener.is_some(), Ordering::SeqCst);
        tokio::select! {
            changed = rules.changed() => changed.expect("the link lasts"),
            client = accept(listener.as_ref()) => {
                seen.accepted.fetch_add(1, Ordering::SeqCst);
                seen.open.fetch_add(1, Ordering::SeqCst);
                let (rules, seen) = (rules.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let mut of_cut = rules.clone();
                    tokio::select! {
                        () = carry(&client, rules) => {}
                        _ = of_cut.wait_for(|rules| rules.cuts > now.cuts || rules.door == Door::Gone) => reset(&client),
                    }
                    drop(client);
                    seen.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((client, _)) => {
                client.set_nodelay(true).expect("an option");
                return client;
            }
            // It went again before it was accepted, or there are no descriptors at the moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Carries bytes to and fro until both ends have closed, or one of them broke.
async fn carry(client: &TcpStream, mut rules: watch::Receiver<Rules>) {
    let Some(addr) = passes(&mut rules, Way::ToServer).await else { return };
    let Ok(server) = TcpStream::connect(addr).await else { return reset(client) };
    server.set_nodelay(true).expect("an option");
    let there = copy(client, &server, rules.clone(), Way::ToServer);
    let back = copy(&server, client, rules, Way::ToClient);
    if tokio::try_join!(there, back).is_err() {
        reset(client);
        reset(&server);
    }
}

async fn copy(
    from: &TcpStream,
    to: &TcpStream,
    mut rules: watch::Receiver<Rules>,
    way: Way,
) -> io::Result<()> {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        passes(&mut rules, way).await;
        from.readable().await?;
        let read = match from.try_read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            read => read,
        };
        // How a connection ended is held back as well.
        passes(&mut rules, way).await;
        let mut rest = &bytes[..read?];
        if rest.is_empty() {
            return SockRef::from(to).shutdown(Shutdown::Write);
        }
        while !rest.is_empty() {
            to.writable().await?;
            match to.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Waits until the way is open; where it leads, unless the link is gone.
async fn passes(rules: &mut watch::Receiver<Rules>, way: Way) -> Option<SocketAddr> {
    rules.wait_for(|rules| rules.passes(way)).await.ok().map(|rules| rules.server)
}

/// Has the socket be reset when it is dropped.
fn reset(socket: &TcpStream) {
    // One that is broken already needs none.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
