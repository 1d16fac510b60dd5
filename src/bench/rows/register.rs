//! Register, one a call and many a call.

use std::rc::Rc;

use crate::bench::{
    Bench, Comparison, Goal, Metric, Row, Subject,
    load::{
        record::{SERVICES, SIZE, Template},
        unary::{self, Calls},
    },
    subject::{Keeps, Load, Served},
};

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
        let load: Load = Rc::new(|bench, server| Box::pin(unary::load(bench, server, Records::new)));
        let mut subjects = vec![Served::null("tonic", &load)];
        for keeps in [Keeps::Memory, Keeps::Os, Keeps::Sync] {
            subjects.extend(Served::leasehold(bench, keeps, &load));
        }
        subjects
    }

    fn comparisons(&self, _bench: &Bench) -> Vec<Comparison> {
        let memory = Keeps::Memory.name();
        let null = |subject: &str| Comparison::ratio(subject, "null tonic", Metric::Rate);
        vec![
            null(memory).must(Goal::AtLeast(0.6)).moonshot(Goal::AtLeast(0.85)),
            null(&format!("other {memory}")),
            Comparison::ratio(memory, format!("other {memory}"), Metric::Rate),
            Comparison::ratio(memory, format!("other {memory}"), Metric::Cpu),
            null(Keeps::Os.name()),
            null(Keeps::Sync.name()),
        ]
    }
}

/// New records without end, each connection's its own.
struct Records {
    template: Template,
    next: u64,
    step: u64,
}

impl Records {
    fn new(connection: u64, connections: u64) -> Self {
        Self { template: Template::protobuf(), next: connection, step: connections }
    }
}

impl Calls for Records {
    const PATH: &'static str = "/leasehold.v1.Registry/Register";

    fn write(&mut self, out: &mut Vec<u8>) {
        self.template.write(self.next, out);
        self.next += self.step;
    }
}
