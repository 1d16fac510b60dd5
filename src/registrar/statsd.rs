//! Statistics, sent to a statsd over UDP. Nothing waits for them, and a statsd that cannot be reached costs its
//! statistics only.

use std::{
    fmt, io,
    net::{SocketAddr, ToSocketAddrs as _, UdpSocket},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use cadence::{
    Counted as _, Gauged as _, MetricSink, QueuingMetricSink, StatsdClient, Timed as _, UdpMetricSink,
};

use super::settings::Statsd;

/// As many may wait for the name of the statsd's host to be found; more are dropped.
const QUEUE: usize = 1024;

/// Where statistics go; to nobody by default. The names are without the prefix: `processing.ms`,
/// `services.set.ms`, `services.pruning.ms`, `alive`, `backend.failures`.
#[derive(Clone, Default)]
pub struct Statistics(Option<Arc<StatsdClient>>);

impl Statistics {
    /// Sends to this statsd, if there is one.
    pub fn new(statsd: Option<&Statsd>) -> Self {
        Self(statsd.map(|statsd| {
            let to = Resolved { host: statsd.host.clone(), port: statsd.port, sink: Mutex::default() };
            let queue = QueuingMetricSink::with_capacity(to, QUEUE);
            Arc::new(StatsdClient::builder(&statsd.prefix, queue).with_error_handler(|_| {}).build())
        }))
    }

    /// How long it took, in milliseconds.
    pub fn timing(&self, name: &str, took: Duration) {
        if let Some(client) = &self.0 {
            client.time_with_tags(name, took).send();
        }
    }

    /// What it is now.
    pub fn gauge(&self, name: &str, value: u64) {
        if let Some(client) = &self.0 {
            client.gauge_with_tags(name, value).send();
        }
    }

    /// It happened once more.
    pub fn increment(&self, name: &str) {
        if let Some(client) = &self.0 {
            client.count_with_tags(name, 1).send();
        }
    }
}

impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Statistics").field(&self.0.is_some()).finish()
    }
}

/// A statsd whose host is looked up when something is to be sent, on the thread that sends: a name
/// server that does not answer holds nobody up. It is looked up again after an error.
struct Resolved {
    host: String,
    port: u16,
    sink: Mutex<Option<UdpMetricSink>>,
}

impl MetricSink for Resolved {
    fn emit(&self, metric: &str) -> io::Result<usize> {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = match sink.take() {
            Some(sink) => sink.emit(metric).map(|sent| (sent, sink)),
            None => self.connect().and_then(|sink| Ok((sink.emit(metric)?, sink))),
        };
        sent.map(|(sent, working)| {
            *sink = Some(working);
            sent
        })
    }
}

impl Resolved {
    fn connect(&self) -> io::Result<UdpMetricSink> {
        // A statsd listens on IPv4 unless told otherwise.
        let found = (self.host.as_str(), self.port).to_socket_addrs()?.min_by_key(SocketAddr::is_ipv6);
        let addr = found.ok_or_else(|| io::Error::other("the host has no address"))?;
        let socket = UdpSocket::bind(if addr.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        UdpMetricSink::from(addr, socket).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statsd(host: &str, port: u16) -> Statsd {
        Statsd { host: host.into(), port, prefix: "registrar-service".into() }
    }

    #[test]
    fn each_goes_out_under_its_name_and_the_prefix() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        server.set_read_timeout(Some(Duration::from_mins(1))).expect("a timeout");
        let port = server.local_addr().expect("an address").port();
        let statistics = Statistics::new(Some(&statsd("localhost", port)));
        statistics.timing("processing.ms", Duration::from_millis(1500));
        statistics.gauge("alive", 1);
        statistics.increment("backend.failures");
        let received = || {
            let mut packet = [0; 512];
            let length = server.recv(&mut packet).expect("a packet");
            String::from_utf8_lossy(&packet[..length]).into_owned()
        };
        assert_eq!(received(), "registrar-service.processing.ms:1500|ms");
        assert_eq!(received(), "registrar-service.alive:1|g");
        assert_eq!(received(), "registrar-service.backend.failures:1|c");
    }

    #[test]
    fn a_statsd_that_is_away_harms_nobody() {
        for away in [None, Some(statsd("127.0.0.1", 9)), Some(statsd("no-such-host.invalid", 8125))] {
            let statistics = Statistics::new(away.as_ref());
            for _ in 0..2 * QUEUE {
                statistics.increment("backend.failures");
            }
        }
    }
}
