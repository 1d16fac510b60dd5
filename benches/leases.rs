//! What leases cost in the pure core, with 10,000 and with 1,000,000 of them:
//! `cargo bench --bench leases`. Figures are for one operation.

#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use leasehold::{
    lease::{Handle, Leases, Rules, StreamEnd, Terms},
    types::{LeaseId, Moment, Ttl},
};

const SECOND: u64 = 1_000_000;
const TERMS: Terms = Terms { ttl: Ttl(30), grace_micros: None };
const SIZES: [u32; 2] = [10_000, 1_000_000];
/// How many leases an operation on many is done with.
const MANY: usize = 1000;

/// So many leases, a microsecond apart, and their handles in no order of the memory.
fn leases(count: u32) -> (Leases, Vec<Handle>) {
    let mut leases = Leases::new(Rules { window_micros: 600 * SECOND, grace_micros: 0, brake: false });
    leases.tick(Moment(0), Moment(SECOND));
    let mut handles: Vec<Handle> =
        (0..count).map(|n| leases.insert(LeaseId(n.into()), TERMS, Moment(n.into()))).collect();
    shuffle(&mut handles);
    (leases, handles)
}

/// The same order every time.
fn shuffle<T>(items: &mut [T]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..items.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        items.swap(last, (state >> 33) as usize % (last + 1));
    }
}

/// Walks a slice round and round.
fn round<T: Copy>(items: &[T]) -> impl FnMut() -> T {
    let mut next = 0;
    move || {
        next = if next + 1 == items.len() { 0 } else { next + 1 };
        items[next]
    }
}

fn insert(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("insert");
    group.throughput(Throughput::Elements(MANY as u64));
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let (mut leases, _) = leases(size);
            // Forgotten at once, so that the table is as large for the next.
            bencher.iter(|| {
                let new: [Handle; MANY] =
                    std::array::from_fn(|n| leases.insert(LeaseId(n as u128), TERMS, Moment(SECOND)));
                for handle in new {
                    leases.forget(handle);
                }
            });
        });
    }
}

fn renew(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("renew");
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let (mut leases, handles) = leases(size);
            let mut next = round(&handles);
            bencher.iter(|| leases.renew(next(), Moment(2 * SECOND)));
        });
    }
}

/// Every lease moves between two streams: the dearest way to attach.
fn attach(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attach");
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let (mut leases, handles) = leases(size);
            let streams = [leases.open_stream(false), leases.open_stream(false)];
            let mut stream = round(&streams);
            let (mut next, mut left, mut to) = (round(&handles), 0, stream());
            bencher.iter(|| {
                if left == 0 {
                    // Each stream hears what it lost, or it would remember ever more.
                    (left, to) = (handles.len(), stream());
                    black_box(leases.answer(to));
                }
                left -= 1;
                leases.attach(next(), to, Moment(2 * SECOND));
            });
        });
    }
}

/// One beat, whatever hangs on the stream.
fn beat(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("beat");
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            let (mut leases, handles) = leases(size);
            let stream = leases.open_stream(false);
            for handle in handles {
                leases.attach(handle, stream, Moment(SECOND));
            }
            let mut now = SECOND;
            bencher.iter(|| {
                now += 1;
                leases.beat(stream, Moment(now));
                black_box(leases.answer(stream))
            });
        });
    }
}

/// A tick in which nothing is due, one in which renewed leases are looked at again, and
/// one in which all lapse.
fn tick(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("tick");
    for size in SIZES {
        group.bench_function(BenchmarkId::new("idle", size), |bencher| {
            let (mut leases, _) = leases(size);
            let mut now = SECOND;
            bencher.iter(|| {
                now += 1;
                leases.tick(Moment(now), Moment(now + SECOND))
            });
        });
    }
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(SIZES[0])));
    for (name, renewed) in [("rearm", true), ("lapse", false)] {
        group.bench_function(BenchmarkId::new(name, SIZES[0]), |bencher| {
            let setup = || {
                let (mut leases, handles) = leases(SIZES[0]);
                for handle in handles.into_iter().filter(|_| renewed) {
                    leases.renew(handle, Moment(20 * SECOND));
                }
                leases
            };
            bencher.iter_batched_ref(
                setup,
                |leases| leases.tick(Moment(31 * SECOND), Moment(32 * SECOND)),
                BatchSize::LargeInput,
            );
        });
    }
}

/// A stream ends with all that hangs on it.
fn drop_stream(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drop_stream");
    group.sample_size(20).throughput(Throughput::Elements(u64::from(SIZES[0])));
    group.bench_function(BenchmarkId::from_parameter(SIZES[0]), |bencher| {
        let setup = || {
            let (mut leases, handles) = leases(SIZES[0]);
            let stream = leases.open_stream(false);
            for handle in handles {
                leases.attach(handle, stream, Moment(SECOND));
            }
            (leases, stream)
        };
        let now = Moment(2 * SECOND);
        bencher.iter_batched_ref(
            setup,
            |(leases, stream)| leases.end_stream(*stream, StreamEnd::Client, now, now),
            BatchSize::LargeInput,
        );
    });
}

criterion_group!(benches, insert, renew, attach, beat, tick, drop_stream);
criterion_main!(benches);
