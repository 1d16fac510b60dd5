//! etcd 3, as service registries are built on it: a record is a key with a lease, a renewal a
//! message of its `LeaseKeepAlive` stream.

use std::{net::SocketAddr, path::Path, process::Command, rc::Rc, time::Duration};

use anyhow::{Context as _, anyhow, bail};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint},
};
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

use crate::bench::{
    Bench, Result, Subject,
    load::{
        http2::prefixed,
        record::{SERVICES, Template},
        streams::{self, IN_FLIGHT, STREAMS, Script},
        unary::{self, Calls},
    },
    process::{self, Server},
    subject::{Load, Served},
};
use crate::proto::etcd::{
    LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, kv_client::KvClient, lease_client::LeaseClient,
};

/// It elects a leader first, of one.
const START: Duration = Duration::from_secs(30);
/// Leases that records are attached to, made before the load begins.
const LEASES: usize = 1_000;
/// Longer than any run.
const TTL: i64 = 3_600;

/// What etcd does about its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disk {
    /// As it is meant to be.
    Fsync,
    /// `--unsafe-no-fsync`.
    Unsafe,
}

impl Disk {
    /// The subject's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fsync => "etcd (fsync)",
            Self::Unsafe => "etcd (no fsync)",
        }
    }

    /// What is lost in a crash.
    pub fn promise(self) -> &'static str {
        match self {
            Self::Fsync => "a crash loses nothing acknowledged",
            Self::Unsafe => "a crash of the machine may lose everything",
        }
    }
}

/// Starts etcd on a fresh directory in the benchmark's. It is asked for errors only in its log.
pub fn start(binary: &Path, bench: &Bench, disk: Disk) -> Result<Server> {
    let dir = process::data_dir(&bench.dir)?;
    let (client, peer) = (process::free_address()?, process::free_address()?);
    let (client_url, peer_url) = (format!("http://{client}"), format!("http://{peer}"));
    let mut command = Command::new(binary);
    command.args(["--name", "bench", "--log-level", "error", "--data-dir"]).arg(dir.path());
    command.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
    command.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
    command.args(["--initial-cluster", &format!("bench={peer_url}")]);
    // Its default limit of 2 GiB is a few minutes of registering.
    command.args(["--quota-backend-bytes", "8589934592"]);
    if disk == Disk::Unsafe {
        command.arg("--unsafe-no-fsync");
    }
    Server::start_at(command, client, Some(dir))
}

/// The subjects, where etcd is to be had.
pub fn subjects(bench: &Bench, disks: &[Disk], load: &Load) -> Vec<Box<dyn Subject>> {
    let Some(binary) = &bench.peers.etcd else { return Vec::new() };
    let subject = |disk: &Disk| {
        let (disk, binary) = (*disk, binary.clone());
        let start = move |bench: &Bench| start(&binary, bench, disk);
        Served::new(disk.name(), disk.promise(), start, load)
    };
    disks.iter().map(subject).collect()
}

/// A registration is one Put of the same 200 bytes under a key of the service's, with a lease that
/// was there before: a service's first registration would be a `LeaseGrant` more.
pub fn register(bench: &Bench) -> Vec<Box<dyn Subject>> {
    let load: Load = Rc::new(|bench, server| {
        Box::pin(async move {
            let leases = Rc::new(grant(server.address(), LEASES).await?);
            let puts = |index, step| Puts {
                template: Template::protobuf(),
                leases: Rc::clone(&leases),
                next: index,
                step,
            };
            unary::load(bench, server, puts).await
        })
    });
    subjects(bench, &[Disk::Unsafe, Disk::Fsync], &load)
}

/// A lease a message.
pub fn renew(bench: &Bench) -> Vec<Box<dyn Subject>> {
    const TURNS: usize = 16;
    let load: Load = Rc::new(|bench, server| {
        Box::pin(async move {
            let leases = grant(server.address(), STREAMS * TURNS).await?;
            let scripts = leases.chunks(TURNS).map(|own| Script {
                first: Vec::new(),
                beats: own.iter().map(|lease| beat(*lease)).collect(),
                operations: 1,
            });
            let path = "/etcdserverpb.Lease/LeaseKeepAlive";
            streams::load(bench, server, path, IN_FLIGHT, scripts.collect()).await
        })
    });
    subjects(bench, &[Disk::Fsync], &load)
}

fn beat(id: i64) -> Vec<u8> {
    let mut message = Vec::new();
    prefixed(&mut message, |out| out.extend_from_slice(&LeaseKeepAliveRequest { id }.encode_to_vec()));
    message
}

/// A channel to etcd, once it serves: it listens before it does.
pub async fn connect(address: SocketAddr) -> Result<Channel> {
    let deadline = Instant::now() + START;
    loop {
        match try_connect(address).await {
            Ok(channel) => return Ok(channel),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("etcd at {address} does not serve"));
            }
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn try_connect(address: SocketAddr) -> Result<Channel> {
    let channel = Channel::from_shared(format!("http://{address}"))?.connect().await?;
    let put = PutRequest { key: b"ready".to_vec(), ..Default::default() };
    tokio::time::timeout(START, KvClient::new(channel.clone()).put(put)).await??;
    Ok(channel)
}

/// New leases.
pub async fn grant(address: SocketAddr, count: usize) -> Result<Vec<i64>> {
    let mut client = LeaseClient::new(connect(address).await?);
    let mut leases = Vec::with_capacity(count);
    for _ in 0..count {
        let answer = client.lease_grant(LeaseGrantRequest { ttl_seconds: TTL, id: 0 }).await;
        let lease = answer.map_err(|status| anyhow!("etcd grants no lease: {status}"))?.into_inner();
        if !lease.error.is_empty() {
            bail!("etcd grants no lease: {}", lease.error);
        }
        leases.push(lease.id);
    }
    Ok(leases)
}

struct Puts {
    template: Template,
    leases: Rc<Vec<i64>>,
    next: u64,
    step: u64,
}

impl Calls for Puts {
    fn path(&self) -> &'static str {
        "/etcdserverpb.KV/Put"
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        let number = self.next;
        self.next += self.step;
        put(number, self.leases[number as usize % self.leases.len()], &self.template, out);
    }
}

/// Appends the encoded Put of a record.
pub fn put(number: u64, lease: i64, template: &Template, out: &mut Vec<u8>) {
    let key = format!("/services/bench-service-{:03}/host-{number:09}", number % SERVICES);
    for (field, length) in [(1, key.len()), (2, template.len())] {
        encode_key(field, WireType::LengthDelimited, out);
        encode_varint(length as u64, out);
        if field == 1 {
            out.extend_from_slice(key.as_bytes());
        } else {
            template.write(number, out);
        }
    }
    encode_key(3, WireType::Varint, out);
    encode_varint(lease.cast_unsigned(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_a_key_with_a_lease() {
        let template = Template::protobuf();
        let mut bytes = Vec::new();
        put(1_042, 77, &template, &mut bytes);
        let request = PutRequest::decode(bytes.as_slice()).unwrap();
        assert_eq!(request.key, b"/services/bench-service-042/host-000001042");
        assert_eq!((request.value.len(), request.lease), (template.len(), 77));
    }
}
