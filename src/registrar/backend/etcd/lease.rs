//! One etcd lease, kept alive whatever Docker does: by a task, from whichever member answers.

use std::{io, time::Duration};

use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use super::super::CALL_TIMEOUT;
use crate::{
    client::backoff::Backoff,
    proto::etcd::{
        LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse, lease_client::LeaseClient,
    },
};

/// The longest wait before the next member is tried.
const RETRY_CAP: Duration = Duration::from_secs(1);

/// A lease; it is renewed until this is dropped, and lapses by its TTL after that.
#[derive(Debug)]
pub struct HostLease {
    id: i64,
    lost: watch::Receiver<bool>,
    renewals: AbortHandle,
}

impl HostLease {
    /// Has `channel` grant one, which any of `members` renews from then on.
    pub async fn grant(channel: Channel, members: Vec<Channel>, ttl: Duration) -> Result<Self, Status> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let ttl_seconds = i64::try_from(seconds).unwrap_or(i64::MAX).max(1);
        let request = LeaseGrantRequest { ttl_seconds, id: 0 };
        let granted = LeaseClient::new(channel).lease_grant(request).await?.into_inner();
        if !granted.error.is_empty() {
            return Err(Status::internal(granted.error));
        }
        let (tell, lost) = watch::channel(false);
        let beat = Duration::from_secs(seconds.max(1)) / 3;
        let id = granted.id;
        let renewals = tokio::spawn(async move {
            renew(id, beat, &members).await;
            tell.send_replace(true);
        });
        Ok(Self { id, lost, renewals: renewals.abort_handle() })
    }

    /// Its id.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Whether etcd has not said that it is gone.
    pub fn lives(&self) -> bool {
        !*self.lost.borrow()
    }
}

impl Drop for HostLease {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

/// Renews until etcd says that there is no such lease.
async fn renew(id: i64, beat: Duration, members: &[Channel]) {
    let mut backoff = Backoff::new(RETRY_CAP);
    for channel in members.iter().cycle() {
        match renew_at(channel.clone(), id, beat, &mut backoff).await {
            Ok(()) => return,
            Err(status) => tracing::debug!("etcd does not renew the lease: {status}"),
        }
        sleep(backoff.next(Duration::ZERO)).await;
    }
}

/// Renews at one member until the lease is gone; an error: the member failed.
async fn renew_at(channel: Channel, id: i64, beat: Duration, backoff: &mut Backoff) -> Result<(), Status> {
    let (beats, requests) = mpsc::channel(1);
    let mut client = LeaseClient::new(channel);
    let silent = || Status::from_error(Box::new(io::Error::from(io::ErrorKind::TimedOut)));
    let mut answers: Option<Streaming<LeaseKeepAliveResponse>> = None;
    let mut requests = Some(ReceiverStream::new(requests));
    loop {
        let closed = |_| Status::unavailable("the stream ended");
        beats.send(LeaseKeepAliveRequest { id }).await.map_err(closed)?;
        if let Some(requests) = requests.take() {
            // etcd answers with headers when it answers the first beat.
            let opened = timeout(CALL_TIMEOUT, client.lease_keep_alive(requests)).await;
            answers = Some(opened.map_err(|_| silent())??.into_inner());
        }
        let Some(answers) = &mut answers else { return Err(silent()) };
        let answer = timeout(CALL_TIMEOUT, answers.message()).await.map_err(|_| silent())??;
        let answer = answer.ok_or_else(|| Status::unavailable("the stream ended"))?;
        if answer.ttl_seconds <= 0 {
            return Ok(());
        }
        backoff.reset();
        sleep(beat).await;
    }
}
