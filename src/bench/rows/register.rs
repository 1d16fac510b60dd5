//! Register, one a call and many a call.

use std::rc::Rc;

use prost::encoding::{WireType, encode_key, encode_varint};

use super::against;
use crate::bench::{
    Bench, Comparison, Goal, Metric, Row, Subject,
    load::{
        record::{SERVICES, SIZE, Template},
        unary::{self, Calls},
    },
    peers::etcd::{self, Disk},
    subject::{Keeps, Load, Served},
};

/// Registrations in a call of `BatchRegister`.
const BATCH: u64 = 64;
const NULL: &str = "null tonic";

/// Register, one a call.
pub struct Register;

impl Row for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    fn about(&self) -> String {
        format!("Register over gRPC: one {SIZE}-byte record a call, every url new, {SERVICES} services")
    }

    fn metric(&self) -> Metric {
        Metric::Rate
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let load: Load = Rc::new(|bench, server| {
            Box::pin(unary::load(bench, server, |index, step| Records::new(index, step, None)))
        });
        subjects(bench, &load)
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        let (memory, sync) = (Keeps::Memory.name(), Keeps::Sync.name());
        let (fast, safe) = (Disk::Unsafe.name(), Disk::Fsync.name());
        let ratio = |subject: &str, against: &str| Comparison::ratio(subject, against, Metric::Rate);
        let mut all = vec![
            ratio(memory, NULL).must(Goal::AtLeast(0.6)).moonshot(Goal::AtLeast(0.85)),
            Comparison::ratio(memory, NULL, Metric::Cpu),
            ratio(memory, fast).moonshot(Goal::AtLeast(5.5)),
            Comparison::ratio(memory, fast, Metric::Cpu).moonshot(Goal::AtMost(0.125)),
            ratio(Keeps::Os.name(), NULL),
            ratio(sync, NULL),
            ratio(sync, safe).must(Goal::AtLeast(3.0)).moonshot(Goal::AtLeast(5.0)),
        ];
        all.extend(against::other_builds());
        all
    }
}

/// Register, many a call.
pub struct Batch;

impl Row for Batch {
    fn name(&self) -> &'static str {
        "register-batch"
    }

    fn about(&self) -> String {
        format!(
            "BatchRegister over gRPC: {BATCH} records of {SIZE} bytes a call; a figure is a registration. \
             etcd has no batch: one Put each"
        )
    }

    fn metric(&self) -> Metric {
        Metric::Rate
    }

    fn subjects(&self, bench: &Bench) -> Vec<Box<dyn Subject>> {
        let load: Load = Rc::new(|bench, server| {
            Box::pin(unary::load(bench, server, |index, step| Records::new(index, step, Some(BATCH))))
        });
        subjects(bench, &load)
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        let (memory, sync) = (Keeps::Memory.name(), Keeps::Sync.name());
        let goal = |subject: &str, against: &str| {
            let ratio = Comparison::ratio(subject, against, Metric::Rate);
            ratio.must(Goal::AtLeast(20.0)).moonshot(Goal::AtLeast(50.0))
        };
        let mut all = vec![
            Comparison::ratio(memory, NULL, Metric::Rate),
            Comparison::ratio(memory, NULL, Metric::Cpu),
            goal(memory, Disk::Unsafe.name()),
            goal(sync, Disk::Fsync.name()),
        ];
        all.extend(against::other_builds());
        all
    }
}

fn subjects(bench: &Bench, load: &Load) -> Vec<Box<dyn Subject>> {
    let mut subjects = vec![Served::null("tonic", load)];
    for keeps in [Keeps::Memory, Keeps::Os, Keeps::Sync] {
        subjects.extend(Served::leasehold(bench, keeps, load));
    }
    subjects.extend(etcd::register(bench));
    subjects
}

/// New records without end, each connection's its own; one a call, or a batch.
struct Records {
    template: Template,
    next: u64,
    step: u64,
    batch: Option<u64>,
}

impl Records {
    fn new(connection: u64, connections: u64, batch: Option<u64>) -> Self {
        Self { template: Template::protobuf(), next: connection, step: connections, batch }
    }

    fn write_one(&mut self, out: &mut Vec<u8>) {
        self.template.write(self.next, out);
        self.next += self.step;
    }
}

impl Calls for Records {
    fn path(&self) -> &'static str {
        match self.batch {
            None => "/leasehold.v1.Registry/Register",
            Some(_) => "/leasehold.v1.Registry/BatchRegister",
        }
    }

    fn write(&mut self, out: &mut Vec<u8>) {
        let Some(batch) = self.batch else { return self.write_one(out) };
        for _ in 0..batch {
            encode_key(1, WireType::LengthDelimited, out);
            encode_varint(self.template.len() as u64, out);
            self.write_one(out);
        }
    }

    fn operations(&self) -> u64 {
        self.batch.unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::proto::BatchRegisterRequest;

    #[test]
    fn a_batch_is_a_batch() {
        let mut records = Records::new(1, 8, Some(BATCH));
        let mut bytes = Vec::new();
        records.write(&mut bytes);
        let batch = BatchRegisterRequest::decode(bytes.as_slice()).unwrap();
        let urls: Vec<_> = batch.entries().map(|entry| entry.unwrap().url).collect();
        assert_eq!(urls.len(), BATCH as usize);
        assert!(urls[1].contains("000000009"), "{}", urls[1]);
        assert_eq!(records.operations(), BATCH);
    }
}
