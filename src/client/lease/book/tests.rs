//! The book against the model of a registry, in virtual time.

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use super::{
    Handle, How,
    model::{BAD, World},
    slot::{Step, pair},
};
use crate::{
    client::{Ended, State},
    proto::RegisterRequest,
};

/// The replica of this number, with content of this version.
fn replica(number: u64, version: u32) -> RegisterRequest {
    RegisterRequest {
        service: "a".to_owned(),
        url: format!("http://{number}"),
        // Whatever the TTL of one is, all hang on one stream.
        ttl_seconds: 2 + (number as u32 % 3) * 9,
        weight: version,
        ..Default::default()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_waits_together_is_registered_and_attached_together() {
    let mut world = World::new();
    for number in 0..2_000 {
        world.hold(number, replica(number, 0));
    }
    world.pass(seconds(5));
    assert_eq!(world.calls, 4);
    assert_eq!(world.biggest_batch, 500);
    check_settled(&world);
    // And ended in turn.
    for number in 0..2_000 {
        world.end(number, How::Deregister);
    }
    world.pass(seconds(5));
    assert!(world.registry.records.is_empty() && world.book.is_idle());
    assert!(world.ended.values().all(|end| *end == (Ended::Deregistered, Ok(()))));
}

#[test]
fn what_is_refused_within_a_batch_ends_alone() {
    let mut world = World::new();
    for number in 0..50 {
        world.hold(number, replica(number, 0));
    }
    world.hold(50, RegisterRequest { url: BAD.to_owned(), ..replica(50, 0) });
    world.pass(seconds(5));
    assert_eq!(world.ended.len(), 1);
    assert!(matches!(world.ended[&Handle(50)], (Ended::Refused(_), Ok(()))));
    check_settled(&world);
}

#[test]
fn what_is_at_risk_is_lost_when_its_ttl_has_passed_and_comes_back() {
    let mut world = World::new();
    world.hold(0, replica(0, 0));
    world.pass(seconds(3));
    world.go_down(false);
    world.pass(Duration::from_millis(200));
    let State::AtRisk { until, .. } = world.shown[&Handle(0)].clone() else { panic!("{:?}", world.shown) };
    assert!(until <= world.now + seconds(2));
    world.pass(seconds(2));
    assert!(matches!(world.shown[&Handle(0)], State::Lost { .. }), "{:?}", world.shown);
    world.down = false;
    world.pass(seconds(5));
    check_settled(&world);
}

#[test]
fn a_registry_that_drains_is_left_alone_for_as_long_as_it_asks() {
    let mut world = World::new();
    world.hold(0, replica(1, 0));
    world.pass(seconds(3));
    world.drain();
    world.pass(Duration::from_millis(990));
    assert!(matches!(world.shown[&Handle(0)], State::AtRisk { .. }), "{:?}", world.shown);
    let record = world.registry.records.values().next().expect("it lives");
    assert!(record.alive && record.stream.is_none());
    world.pass(seconds(5));
    check_settled(&world);
}

#[test]
fn who_is_ended_again_and_again_slows_down() {
    let mut world = World::new();
    world.hold(0, replica(1, 0));
    for _ in 0..600 {
        world.pass(Duration::from_millis(100));
        let ids: Vec<String> = world.registry.records.keys().cloned().collect();
        for id in ids {
            world.registry.deregister(&id, "").expect("it is there");
        }
    }
    assert!(world.calls < 30, "{}", world.calls);
}

/// What can happen.
#[derive(Clone, Copy, Debug)]
enum Act {
    Hold(u64, u32),
    Update { holder: u64, number: u64, version: u32 },
    UpdateBadly(u64),
    End(u64, bool),
    Pass(u64),
    Cut,
    Down { forgets: bool },
    Up,
    Partition(bool),
    Drain,
    LoseAnswers(usize),
    Operator(usize),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..8_u64, 0..3_u32).prop_map(|(number, version)| Act::Hold(number, version)),
        3 => (0..12_u64, 0..8_u64, 0..3_u32)
            .prop_map(|(holder, number, version)| Act::Update { holder, number, version }),
        1 => (0..12_u64).prop_map(Act::UpdateBadly),
        3 => (0..12_u64, any::<bool>()).prop_map(|(holder, leave)| Act::End(holder, leave)),
        8 => prop_oneof![0..50_u64, 0..3_000_u64, 0..40_000_u64].prop_map(Act::Pass),
        1 => Just(Act::Cut),
        1 => any::<bool>().prop_map(|forgets| Act::Down { forgets }),
        2 => Just(Act::Up),
        2 => any::<bool>().prop_map(Act::Partition),
        1 => Just(Act::Drain),
        1 => (0..3_usize).prop_map(Act::LoseAnswers),
        1 => (0..5_usize).prop_map(Act::Operator),
    ]
}

fn play(world: &mut World, act: Act, holders: &mut u64) {
    match act {
        Act::Hold(number, version) => {
            world.hold(*holders, replica(number, version));
            *holders += 1;
        }
        Act::Update { holder, number, version } => world.update(holder, replica(number, version)),
        // It is held as the registry took it last, so that has to be what is wanted.
        Act::UpdateBadly(holder) => {
            let slot = world.book.holders.get(&Handle(holder)).and_then(|key| world.book.slots.get(key));
            if let Some(slot) = slot.filter(|slot| {
                let rests = matches!(slot.step, Step::Attach | Step::Attaching | Step::Held);
                rests && slot.accepted.as_ref() == Some(&slot.wanted) && slot.is_held()
            }) {
                let labels = [(BAD.to_owned(), String::new())].into();
                let bad = RegisterRequest { labels, ..(*slot.wanted).clone() };
                world.book.update(world.now, Handle(holder), bad);
            }
        }
        Act::End(holder, leave) => world.end(holder, if leave { How::Leave } else { How::Deregister }),
        Act::Pass(millis) => world.pass(Duration::from_millis(millis)),
        Act::Cut => world.cut(),
        Act::Down { forgets } => world.go_down(forgets),
        Act::Up => world.down = false,
        Act::Partition(is) => world.partition = is,
        Act::Drain => world.drain(),
        Act::LoseAnswers(count) => world.lose = count,
        Act::Operator(index) => {
            let id = world.registry.records.keys().nth(index).cloned();
            if let Some(id) = id {
                world.registry.deregister(&id, "").expect("it is there");
            }
        }
    }
}

/// Everything that is held is registered, as it is wanted, on the one stream, and nothing else lives.
fn check_settled(world: &World) {
    let alive: Vec<_> = world.registry.records.iter().filter(|(_, record)| record.alive).collect();
    for (handle, wanted) in &world.wants {
        let State::Registered { id, ttl } = &world.shown[handle] else {
            panic!("{handle:?} is {:?}", world.shown[handle]);
        };
        let record = &world.registry.records[id];
        assert!(record.alive && record.stream.is_some(), "{handle:?}: {record:?}");
        assert_eq!(ttl.as_secs(), u64::from(wanted.ttl_seconds));
        assert_eq!((pair(&record.content), record.content.weight), (pair(wanted), wanted.weight));
    }
    assert_eq!(alive.len(), world.wants.len(), "{alive:?}");
}

#[test]
fn whatever_happens_all_is_well_in_the_end_and_nothing_better_is_shown_than_is() {
    let mut runner = TestRunner::new(Config { cases: 400, ..Config::default() });
    runner
        .run(&prop::collection::vec(act(), 1..60), |acts| {
            let (mut world, mut holders) = (World::new(), 0);
            for act in acts {
                play(&mut world, act, &mut holders);
            }
            (world.down, world.partition, world.lose) = (false, false, 0);
            world.pass(seconds(200));
            check_settled(&world);
            prop_assert_eq!(world.ended.len() + world.wants.len(), holders as usize);
            Ok(())
        })
        .expect("it holds");
}
