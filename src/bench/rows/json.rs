//! Register as JSON, as services built on servicekit do it.

use std::rc::Rc;

use super::against;
use crate::bench::{
    Bench, Comparison, Goal, Metric, Row, Subject,
    load::{http1, record::Template},
    peers::python,
    subject::{Keeps, Load, Served},
};

/// POST /services/$register.
pub struct Register;

impl Row for Register {
    fn name(&self) -> &'static str {
        "register-json"
    }

    fn about(&self) -> String {
        format!(
            "POST /services/$register over HTTP/1.1: {} bytes as servicekit sends them, connections kept, one request \
             at a time on each",
            Template::json().len()
        )
    }

    fn metric(&self) -> Metric {
        Metric::Rate
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let load: Load = Rc::new(|bench, server| Box::pin(http1::load(bench, server, true, requests)));
        let mut subjects = vec![Served::null("axum", &load), Served::null("axum-json", &load)];
        for keeps in [Keeps::Memory, Keeps::Sync] {
            subjects.extend(Served::leasehold(bench, keeps, &load));
        }
        let python: Load = Rc::new(|bench, server| {
            Box::pin(async move {
                python::await_start(server.address()).await?;
                http1::load(bench, server, true, requests).await
            })
        });
        subjects.extend(python::subject(bench, &python));
        subjects
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        let memory = Keeps::Memory.name();
        let ratio = |subject: &str, against: &str| Comparison::ratio(subject, against, Metric::Rate);
        let mut all = vec![
            ratio(memory, "null axum").must(Goal::AtLeast(0.5)).moonshot(Goal::AtLeast(0.8)),
            Comparison::ratio(memory, "null axum", Metric::Cpu),
            ratio(memory, "null axum-json"),
            ratio(memory, python::NAME).moonshot(Goal::AtLeast(80.0)),
            ratio(Keeps::Sync.name(), "null axum"),
            ratio(Keeps::Sync.name(), python::NAME),
        ];
        all.extend(against::other_builds());
        all
    }
}

fn requests(client: u64, clients: u64) -> impl FnMut(&mut Vec<u8>) {
    let body = Template::json();
    let head = format!(
        "POST /services/$register HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nUser-Agent: leasehold-bench\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut next = client;
    move |out| {
        out.extend_from_slice(head.as_bytes());
        body.write(next, out);
        next += clients;
    }
}
