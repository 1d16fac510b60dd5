//! Unary calls over gRPC.

use std::{net::SocketAddr, rc::Rc, time::Instant};

use super::{
    Meter, Pace, explain,
    http2::{Connection, Heard, What, prefixed},
    measure, shares,
};
use crate::bench::{Bench, Result, Sample, process::Server};

/// What is called, and with what.
pub trait Calls {
    /// `/package.Service/Method`.
    fn path(&self) -> &'static str;

    /// Appends the next request's message.
    fn write(&mut self, out: &mut Vec<u8>);

    /// What a call is worth.
    fn operations(&self) -> u64 {
        1
    }
}

/// Calls `server` as `bench` says; `calls` makes each connection's requests, told which of how
/// many connections it is for.
pub async fn load<C: Calls>(bench: &Bench, server: &Server, calls: impl Fn(u64, u64) -> C) -> Result<Sample> {
    let meter = Rc::new(Meter::default());
    let shares = shares(bench.in_flight, bench.connections);
    let count = shares.len();
    let begin = Instant::now();
    let clients = shares.into_iter().enumerate().map(|(index, share)| {
        let pace = Pace::new(bench.rate, index, count, share, begin);
        client(server.address(), calls(index as u64, count as u64), pace, Rc::clone(&meter))
    });
    let clients = clients.collect();
    measure(bench, server, meter, clients).await
}

async fn client<C: Calls>(address: SocketAddr, mut calls: C, mut pace: Pace, meter: Rc<Meter>) -> Result<()> {
    let (path, mut connection) = (calls.path(), Connection::open(address).await?);
    let (mut heard, mut message) = (Vec::<Heard>::new(), Vec::new());
    loop {
        let now = Instant::now();
        while let Some(since) = pace.take(now) {
            message.clear();
            prefixed(&mut message, |out| calls.write(out));
            let stream = connection.call(path, since);
            connection.send(stream, &message, true);
        }
        connection.exchange_until(&mut heard, pace.wakes()).await?;
        let now = Instant::now();
        for Heard { since, what, .. } in heard.drain(..) {
            match what {
                What::Message(_) => {}
                What::End { in_order: true, messages: 1 } => {
                    meter.done(calls.operations(), since, now);
                    pace.give_back();
                }
                What::End { .. } => {
                    message.clear();
                    calls.write(&mut message);
                    return Err(explain::refusal(address, path, message).await);
                }
            }
        }
    }
}
