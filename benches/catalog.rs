//! What the read model costs: `cargo bench --bench catalog`. Changes taken in, read by
//! cursors whose filters match and by those whose do not, and whole snapshots.

#![allow(missing_docs, clippy::unwrap_used)]

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leasehold::{
    catalog::{Catalog, Change, Commit, Cursor, Kind, Reason},
    types::{
        Content, Epoch, Filter, Head, Info, Instance, LeaseId, LeaseTimes, Moment, Parts, Revision,
        ServiceName, ServiceUrl, Status, Ttl, WallTime,
    },
};

const HISTORY_BYTES: usize = 64 << 20;
/// Instances of one service.
const REPLICAS: u32 = 10;
const SIZES: [u32; 2] = [10_000, 1_000_000];

/// An instance as the catalog holds it: the one place that knows how they are made.
fn instance(number: u32, revision: Revision) -> Instance {
    let label = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let content = Content::from(Parts {
        service: service(number),
        url: ServiceUrl::parse(&format!("http://10.0.0.1:{}/{number}", number % 50_000 + 1)).unwrap(),
        info: Info(vec![0; 64].into()),
        labels: [("env", "production"), ("team", "logistics")].map(label).into(),
        zone: "eu-central-1a".to_owned(),
        weight: 100,
    });
    content.instance(Head {
        id: LeaseId(number.into()),
        service: content.service().clone(),
        status: Status::Alive,
        ttl: Ttl(30),
        registered_at: WallTime(0),
        last_updated: WallTime(0),
        revision,
    })
}

/// A change of the catalog: the one place that knows how they are made.
fn change(kind: Kind, reason: Reason, before: Option<&Instance>, after: Option<&Instance>) -> Change {
    let times = LeaseTimes { renewed: Moment(0), deadline: Moment(0) };
    Change { kind, reason, before: before.cloned(), after: after.cloned(), times, braked: false }
}

/// Whether a filter wants an instance: the one place that knows how that is asked.
fn matches(filter: &Filter, instance: &Instance) -> bool {
    filter.matches(instance.content())
}

fn service(number: u32) -> ServiceName {
    ServiceName::fold(&format!("service-{}", number / REPLICAS)).unwrap()
}

fn filter(services: &[u32], labels: &[(&str, &str)]) -> Filter {
    let labels: BTreeMap<_, _> = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Filter::new(services.iter().map(|number| service(*number)).collect(), labels)
}

/// A catalog of so many instances, each of them registered in a revision of its own.
fn catalog(size: u32) -> Catalog {
    let mut catalog = Catalog::new(Epoch(1), HISTORY_BYTES);
    for number in 0..size {
        let revision = catalog.revision().next();
        let new = change(Kind::Registered, Reason::New, None, Some(&instance(number, revision)));
        catalog.publish(Arc::new(Commit { revision, changes: vec![new] }));
    }
    catalog
}

/// One update of one of many.
fn publish(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish");
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let mut catalog = catalog(size);
            let before = catalog.get(&service(size / 2), LeaseId(u128::from(size / 2))).unwrap().clone();
            bencher.iter(|| {
                let revision = catalog.revision().next();
                let update = change(Kind::Updated, Reason::Content, Some(&before), Some(&before));
                catalog.publish(Arc::new(Commit { revision, changes: vec![update] }));
            });
        });
    }
}

/// Reading 1,000 revisions from a cursor.
fn since(criterion: &mut Criterion) {
    const READ: u64 = 1000;
    let size = 10_000;
    let catalog = catalog(size);
    let cursor = Cursor(Revision(u64::from(size) - READ));
    let mut group = criterion.benchmark_group("since");
    group.throughput(Throughput::Elements(READ));
    for (name, filter) in [
        ("all_match", filter(&[], &[])),
        ("one_service_of_100", filter(&[size - 1], &[])),
        ("other_service", filter(&[0], &[])),
        ("labels_match", filter(&[], &[("env", "production"), ("team", "logistics")])),
        ("other_labels", filter(&[], &[("env", "test")])),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(catalog.since(cursor, &filter, 64 << 10)));
        });
    }
}

/// A watcher of another service, woken by one change.
fn since_one(criterion: &mut Criterion) {
    let catalog = catalog(10_000);
    let cursor = Cursor(Revision(9_999));
    let mut group = criterion.benchmark_group("since_one_change");
    for (name, filter) in [("matches", filter(&[9_999], &[])), ("other_service", filter(&[0], &[]))] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(catalog.since(cursor, &filter, 64 << 10)));
        });
    }
}

fn snapshot(criterion: &mut Criterion) {
    let size = 100_000;
    let catalog = catalog(size);
    let mut group = criterion.benchmark_group("snapshot");
    group.bench_function("one_service", |bencher| {
        let filter = filter(&[size / 2], &[]);
        bencher.iter(|| black_box(catalog.snapshot(&filter)));
    });
    group.sample_size(20).throughput(Throughput::Elements(size.into()));
    group.bench_function("all", |bencher| {
        let filter = filter(&[], &[]);
        bencher.iter(|| black_box(catalog.snapshot(&filter)));
    });
}

fn filters(criterion: &mut Criterion) {
    let instance = instance(5, Revision(1));
    let thousand: Vec<u32> = (0..1000).map(|service| service * REPLICAS).collect();
    let mut group = criterion.benchmark_group("filter");
    for (name, filter) in [
        ("all", filter(&[], &[])),
        ("this_service", filter(&[5], &[])),
        ("other_service", filter(&[500], &[])),
        ("any_of_1000_services", filter(&thousand, &[])),
        ("these_labels", filter(&[], &[("env", "production"), ("team", "logistics")])),
        ("other_labels", filter(&[], &[("env", "production"), ("team", "billing")])),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(matches(black_box(&filter), black_box(&instance))));
        });
    }
}

criterion_group!(benches, publish, since, since_one, snapshot, filters);
criterion_main!(benches);
