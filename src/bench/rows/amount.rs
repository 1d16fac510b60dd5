//! Subjects that do the same with different amounts.

use crate::bench::{
    Bench, Result, Subject,
    process::Server,
    subject::{Keeps, Load, Served},
};

/// What a subject is called that does its work with so many: `leasehold (memory), 1000 watchers`.
pub fn name(subject: &str, amount: usize, what: &str) -> String {
    format!("{subject}, {amount} {what}")
}

/// leasehold with further arguments, by the name of `keeps` as `named` completes it; and another
/// build of it, if there is one.
pub fn leasehold(
    bench: &Bench,
    keeps: Keeps,
    args: &'static [&'static str],
    named: impl Fn(&str) -> String,
    load: &Load,
) -> Vec<Box<dyn Subject>> {
    let args = [keeps.args(), args].concat();
    let own = {
        let args = args.clone();
        let start = move |bench: &Bench| -> Result<Server> { Server::leasehold(bench, &args) };
        Served::new(named(keeps.name()), keeps.promise(), start, load)
    };
    let other = bench.peers.leasehold.clone().map(|binary| {
        let start = move |bench: &Bench| Server::leasehold_of(&binary, bench, &args);
        Served::new(named(&other(keeps)), keeps.promise(), start, load)
    });
    std::iter::once(own).chain(other).collect()
}

/// The name of another build's subject.
pub fn other(keeps: Keeps) -> String {
    format!("other {}", keeps.name())
}
