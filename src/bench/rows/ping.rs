//! Pings over HTTP, as services built on servicekit do it.

use std::rc::Rc;

use super::against;
use crate::bench::{
    Bench, Comparison, Metric, Row, Subject,
    load::{http1, setup},
    peers::python,
    subject::{Keeps, Load, Served},
};

/// Registrations that are pinged in turn.
const PINGED: u64 = 1_024;

/// PUT /services/{id}/$ping.
pub struct Ping {
    /// Connections are kept, or opened for each ping.
    pub keep_alive: bool,
}

impl Row for Ping {
    fn name(&self) -> &'static str {
        if self.keep_alive { "ping" } else { "ping-anew" }
    }

    fn about(&self) -> String {
        let connections =
            if self.keep_alive { "connections kept" } else { "a new connection each, as servicekit" };
        format!("PUT /services/{{id}}/$ping over HTTP/1.1: {connections}, {PINGED} leases in turn")
    }

    fn metric(&self) -> Metric {
        Metric::Rate
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let keep_alive = self.keep_alive;
        let registered: Load = Rc::new(move |bench, server| {
            Box::pin(async move {
                let ids = Rc::new(setup::register(server.address(), 0, PINGED).await?);
                http1::load(bench, server, keep_alive, |client, clients| pings(&ids, client, clients)).await
            })
        });
        let invented: Load = Rc::new(move |bench, server| {
            Box::pin(async move {
                let ids = Rc::new(setup::invented(PINGED));
                http1::load(bench, server, keep_alive, |client, clients| pings(&ids, client, clients)).await
            })
        });
        let python: Load = Rc::new(move |bench, server| {
            Box::pin(async move {
                python::await_start(server.address()).await?;
                let ids = Rc::new(setup::register_json(server.address(), PINGED).await?);
                http1::load(bench, server, keep_alive, |client, clients| pings(&ids, client, clients)).await
            })
        });
        let mut subjects = vec![Served::null("axum", &invented)];
        subjects.extend(Served::leasehold(bench, Keeps::Sync, &registered));
        subjects.extend(python::subject(bench, &python));
        subjects
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        let sync = Keeps::Sync.name();
        let ratio = |against: &str| Comparison::ratio(sync, against, Metric::Rate);
        let mut all =
            vec![ratio("null axum"), Comparison::ratio(sync, "null axum", Metric::Cpu), ratio(python::NAME)];
        all.extend(against::other_builds());
        all
    }
}

fn pings(ids: &Rc<Vec<String>>, client: u64, clients: u64) -> impl FnMut(&mut Vec<u8>) + use<> {
    let requests: Vec<String> = ids
        .iter()
        .map(|id| {
            format!(
                "PUT /services/{id}/$ping HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\
                 User-Agent: leasehold-bench\r\nContent-Length: 0\r\n\r\n"
            )
        })
        .collect();
    let mut next = client as usize;
    move |out| {
        out.extend_from_slice(requests[next % requests.len()].as_bytes());
        next += clients as usize;
    }
}
