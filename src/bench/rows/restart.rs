//! How long a server with many leases takes until it serves them again.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::amount;
use crate::{
    bench::{
        Bench, Comparison, Goal, Metric, Result, Row, Sample, Subject,
        load::populate::populate,
        process::{Server, data_dir, own_binary},
        subject::Keeps,
    },
    proto::{ListRequest, registry_client::RegistryClient},
};

const SERVES: Metric = Metric::Value("serves after", "s");
/// How long a server may take to stop in order.
const STOP: Duration = Duration::from_mins(2);

/// The row.
pub struct Restart;

fn leases(bench: &Bench) -> u64 {
    bench.size.pick(1_000_000, 20_000, 200)
}

const ENDS: [End; 2] = [End::Stopped, End::Killed];

fn named(subject: &str, end: End) -> String {
    match end {
        End::Stopped => format!("{subject}, stopped"),
        End::Killed => format!("{subject}, killed"),
    }
}

impl Row for Restart {
    fn name(&self) -> &'static str {
        "restart"
    }

    fn about(&self) -> String {
        "from exec until /health answers 200 and all leases are listed: 1,000,000 (fewer unless at full size) in \
         the durable store, after a stop in order and after a kill"
            .to_owned()
    }

    fn metric(&self) -> Metric {
        SERVES
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let keeps = Keeps::Sync;
        let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
        for end in ENDS {
            subjects.push(Box::new(Restarted::new(named(keeps.name(), end), None, end)));
            if let Some(binary) = bench.peers.leasehold.clone() {
                subjects.push(Box::new(Restarted::new(named(&amount::other(keeps), end), Some(binary), end)));
            }
        }
        subjects
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        let of = |end| {
            let (ours, other) = (named(Keeps::Sync.name(), end), named(&amount::other(Keeps::Sync), end));
            [
                Comparison::figure(&*ours, SERVES).must(Goal::AtMost(2.0)).moonshot(Goal::AtMost(1.0)),
                Comparison::ratio(ours, other, SERVES),
            ]
        };
        ENDS.into_iter().flat_map(of).collect()
    }
}

#[derive(Clone, Copy, Debug)]
enum End {
    /// By a signal, and waited for.
    Stopped,
    /// As by a crash.
    Killed,
}

/// A server whose data is made once, and that runs between the rounds.
struct Restarted {
    name: String,
    binary: Option<PathBuf>,
    end: End,
    running: Option<(Server, TempDir)>,
}

impl Restarted {
    fn new(name: String, binary: Option<PathBuf>, end: End) -> Self {
        Self { name, binary, end, running: None }
    }

    fn start(&self, dir: &Path) -> Result<Server> {
        let binary = self.binary.clone().map_or_else(own_binary, Ok)?;
        Server::leasehold_in(&binary, dir, Keeps::Sync.args())
    }
}

#[async_trait(?Send)]
impl Subject for Restarted {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn settings(&self) -> String {
        Keeps::Sync.promise().to_owned()
    }

    async fn measure(&mut self, bench: &Bench) -> Result<Sample> {
        let count = leases(bench);
        let (server, dir) = if let Some(running) = self.running.take() {
            running
        } else {
            let dir = data_dir(&bench.dir)?;
            let server = self.start(dir.path())?;
            populate(server.address(), count).await?;
            (server, dir)
        };
        let begin = Instant::now();
        match self.end {
            End::Stopped => server.stop(STOP)?,
            End::Killed => server.kill(),
        }
        let ended = begin.elapsed();

        let begin = Instant::now();
        let server = self.start(dir.path())?;
        let address = server.address();
        if !is_healthy(address).await? {
            bail!("/health does not answer 200 once the server listens");
        }
        let listed = listed(address).await?;
        let wall = begin.elapsed();
        let usage = server.usage();

        if listed != count {
            bail!("{listed} of {count} leases are there");
        }
        self.running = Some((server, dir));
        Ok(Sample {
            operations: count,
            wall,
            cpu: usage.cpu,
            rss: usage.rss,
            values: [("serves after", wall.as_secs_f64()), ("ended after", ended.as_secs_f64())].into(),
            ..Sample::default()
        })
    }
}

async fn is_healthy(address: SocketAddr) -> Result<bool> {
    let mut socket = TcpStream::connect(address).await.context("cannot connect")?;
    let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

async fn listed(address: SocketAddr) -> Result<u64> {
    let client = RegistryClient::connect(format!("http://{address}"));
    let mut client = client.await.context("cannot connect")?;
    let list = client.list(ListRequest { page_size: 1, ..ListRequest::default() }).await?;
    Ok(list.into_inner().count.into())
}
