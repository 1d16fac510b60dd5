//! Single facts about leases, in virtual time. What they do together is in the engine's
//! model test.

use super::{Cause, Counts, Handle, Lapse, Leases, Loss, Past, Renewals, Rules, Standing, StreamEnd, Terms};
use crate::types::{LeaseId, Moment, Ttl};

const MS: u64 = 1000;
const SECOND: u64 = 1_000_000;
const DAY: u32 = 86_400;

struct World {
    leases: Leases,
    now: Moment,
    ids: u128,
}

impl World {
    fn new(brake: bool) -> Self {
        let mut leases = Leases::new(Rules { window_micros: 600 * SECOND, grace_micros: 0, brake });
        leases.tick(Moment(0), Moment(100 * MS));
        Self { leases, now: Moment(0), ids: 0 }
    }

    fn lease(&mut self, ttl: u32, grace_micros: impl Into<Option<u64>>) -> Handle {
        self.ids += 1;
        self.leases.insert(
            LeaseId(self.ids),
            Terms { ttl: Ttl(ttl), grace_micros: grace_micros.into() },
            self.now,
        )
    }

    /// Ticks as the writer does until `end` and returns what lapsed, and when.
    fn until(&mut self, end: u64) -> Vec<(u64, Lapse)> {
        let mut lapses = Vec::new();
        while self.now.0 < end {
            let wake = self.leases.next_wake().map_or(end, |at| at.0);
            self.now = Moment(wake.clamp(self.now.0 + 1, self.now.0 + 100 * MS).min(end));
            assert_eq!(self.leases.notice(self.now), None, "no stall was made");
            let due = self.leases.tick(self.now, self.now.plus_micros(100 * MS));
            lapses.extend(due.into_iter().map(|lapse| (self.now.0, lapse)));
        }
        lapses
    }

    /// Nothing ticks until `end`.
    fn stall_until(&mut self, end: u64) -> Option<u64> {
        self.now = Moment(end);
        self.leases.notice(self.now)
    }
}

#[test]
fn a_lease_lapses_at_its_deadline_to_the_millisecond() {
    let mut world = World::new(false);
    world.now = Moment(1);
    let lease = world.lease(1, 0);
    let lapses = world.until(2 * SECOND);
    // Due at 1 s + 1 µs: looked at in the millisecond after, never before.
    assert_eq!(lapses.len(), 1);
    assert_eq!(lapses[0].0, SECOND + MS);
    assert_eq!(lapses[0].1.handle, lease);
    assert_eq!(world.leases.standing(lease), Standing::Lapsed);
}

#[test]
fn a_deadline_that_moves_from_a_day_to_a_second_is_kept() {
    let mut world = World::new(false);
    let lease = world.lease(DAY, 0);
    world.until(SECOND);
    world.leases.regrant(lease, Terms { ttl: Ttl(1), grace_micros: None }, world.now);
    let lapses = world.until(3 * SECOND);
    assert_eq!(lapses.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [2 * SECOND]);
}

#[test]
fn a_renewal_that_meets_its_expiry_wins_if_it_is_first() {
    let mut world = World::new(false);
    let (first, second) = (world.lease(1, 0), world.lease(1, 0));
    world.until(SECOND - 1);
    world.now = Moment(SECOND);
    // Decided before the tick at the same moment: it lives. After it: it has lapsed.
    assert_eq!(world.leases.renew(first, world.now), Standing::Live);
    let lapses = world.leases.tick(world.now, world.now.plus_micros(100 * MS));
    assert_eq!(lapses.iter().map(|lapse| lapse.handle).collect::<Vec<_>>(), [second]);
    assert_eq!(world.leases.renew(second, world.now), Standing::Lapsed);
    assert_eq!(world.leases.standing(second), Standing::Lapsed, "a renewal alone revives nothing");
}

#[test]
fn one_beat_renews_a_whole_stream() {
    let mut world = World::new(false);
    let stream = world.leases.open_stream(false);
    let members: Vec<Handle> = (0..1000).map(|_| world.lease(2, 0)).collect();
    for member in &members {
        world.leases.attach(*member, stream, world.now);
    }
    for second in 1..=10 {
        assert_eq!(world.until(second * SECOND), []);
        world.leases.beat(stream, world.now);
    }
    // Silence: all lapse two seconds after the last beat, and the stream hears of it once.
    let lapses = world.until(13 * SECOND);
    assert_eq!(lapses.len(), 1000);
    assert!(lapses.iter().all(|(at, _)| *at == 12 * SECOND));
    assert_eq!(world.leases.answer(stream).lost, [], "nobody may know yet");
    world.leases.settle();
    let lost = world.leases.answer(stream).lost;
    assert_eq!(lost.len(), 1000);
    assert!(lost.iter().all(|(_, loss)| *loss == Loss::Lapsed));
    assert_eq!(world.leases.answer(stream).lost, []);
}

#[test]
fn the_member_that_is_named_next_needs_no_index() {
    let mut world = World::new(false);
    let stream = world.leases.open_stream(false);
    assert!(!world.leases.attach_next(LeaseId(1), stream, world.now), "nothing is attached");
    let members: Vec<Handle> = (0..3).map(|_| world.lease(2, 0)).collect();
    for member in &members {
        world.leases.attach(*member, stream, world.now);
    }
    world.now = Moment(SECOND);
    for id in [1, 2, 3, 1] {
        assert!(world.leases.attach_next(LeaseId(id), stream, world.now), "in turn, and round again");
    }
    assert!(!world.leases.attach_next(LeaseId(3), stream, world.now), "out of turn");
    world.leases.attach(members[2], stream, world.now);
    assert!(world.leases.attach_next(LeaseId(1), stream, world.now), "the turn goes on from there");
    assert_eq!(world.leases.view(members[1]).renewed, world.now);

    // What was ended and forgotten is never found, nor is what has its place now.
    world.leases.end(members[1], world.now);
    world.leases.forget(members[1]);
    let other = world.lease(2, 0);
    assert_eq!(other, members[1], "the same place");
    for id in [2, 4, 2, 4] {
        assert!(!world.leases.attach_next(LeaseId(id), stream, world.now));
    }
    // Nor is what hangs on another stream.
    let elsewhere = world.leases.open_stream(false);
    world.leases.attach(members[0], elsewhere, world.now);
    assert!(!world.leases.attach_next(LeaseId(1), stream, world.now));
    assert!(world.leases.attach_next(LeaseId(1), elsewhere, world.now));
}

#[test]
fn what_a_stall_put_off_takes_no_room_for_ever() {
    let mut world = World::new(false);
    let leases: Vec<Handle> = (0..10).map(|_| world.lease(3, 0)).collect();
    assert!(world.stall_until(2 * SECOND).is_some());
    world.leases.renew(leases[0], world.now);
    assert!(!world.leases.deferrals.is_empty());
    assert_eq!(world.until(5 * SECOND - MS).len(), 0, "shifted");
    assert_eq!(world.until(8 * SECOND).len(), 10);
    assert!(world.leases.deferrals.is_empty());
}

#[test]
fn a_moved_lease_is_deaf_to_its_old_stream() {
    let mut world = World::new(false);
    let (old, new) = (world.leases.open_stream(false), world.leases.open_stream(false));
    let lease = world.lease(5, 0);
    world.leases.attach(lease, old, world.now);
    world.leases.attach(lease, new, world.now);
    assert_eq!(world.leases.end_stream(old, StreamEnd::Client, world.now, world.now), []);
    assert_eq!(world.leases.standing(lease), Standing::Live);
    let lapses = world.leases.end_stream(new, StreamEnd::Client, world.now, world.now);
    assert_eq!(lapses.len(), 1);
    assert_eq!(lapses[0].cause, Cause::StreamDropped);
}

#[test]
fn a_ping_after_the_drop_keeps_the_lease() {
    let mut world = World::new(false);
    let stream = world.leases.open_stream(false);
    let (pinged, silent) = (world.lease(5, 0), world.lease(5, 0));
    world.leases.attach(pinged, stream, world.now);
    world.leases.attach(silent, stream, world.now);
    let dropped = Moment(SECOND);
    // The ping comes while the stream's end is still on its way to the table.
    world.until(SECOND + MS);
    world.leases.renew(pinged, world.now);
    let lapses = world.leases.end_stream(stream, StreamEnd::Client, dropped, world.now);
    assert_eq!(lapses.iter().map(|lapse| lapse.handle).collect::<Vec<_>>(), [silent]);
    assert_eq!(world.leases.standing(pinged), Standing::Live);
}

#[test]
fn only_the_grace_counts_after_a_drop() {
    let mut world = World::new(false);
    let stream = world.leases.open_stream(false);
    let lease = world.lease(1, 3 * SECOND);
    world.leases.attach(lease, stream, world.now);
    let lapses = world.leases.end_stream(stream, StreamEnd::Client, world.now, world.now);
    assert_eq!(lapses[0].cause, Cause::Suspect);
    let lapses = world.until(4 * SECOND);
    assert_eq!(lapses.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3 * SECOND]);
    assert_eq!(lapses[0].1.cause, Cause::StreamDropped);
}

#[test]
fn a_grace_is_the_leases_own_or_the_streams() {
    let mut world = World::new(false);
    // On a stream through a proxy: its own grace, none by its own wish, else its TTL.
    let stream = world.leases.open_stream(true);
    for (grace, expect) in [(Some(SECOND), Some(SECOND)), (Some(0), None), (None, Some(5 * SECOND))] {
        let lease = world.lease(5, grace);
        world.leases.attach(lease, stream, world.now);
        let until = world.leases.end_stream(stream, StreamEnd::Client, world.now, world.now);
        assert_eq!(world.leases.standing(lease) == Standing::Suspect, expect.is_some());
        assert_eq!(until[0].cause == Cause::Suspect, expect.is_some());
        if let Some(expect) = expect {
            assert_eq!(until[0].times.deadline, Moment(expect));
        }
        assert_eq!(world.leases.open_stream(true), stream);
    }
}

#[test]
fn a_stall_expires_nobody_who_can_still_renew() {
    let mut world = World::new(false);
    let stream = world.leases.open_stream(false);
    let (pinged, attached, dead) = (world.lease(3, 0), world.lease(3, 0), world.lease(3, 0));
    world.leases.attach(attached, stream, world.now);
    assert_eq!(world.until(SECOND), []);
    // Stopped for twice the TTL.
    assert!(world.stall_until(7 * SECOND).is_some());
    // What ended in the stall is the server's doing.
    assert_eq!(world.leases.end_stream(stream, StreamEnd::Client, world.now, world.now), []);
    // Renewals that waited are read within a second; the dead one goes after it.
    assert_eq!(world.until(8 * SECOND - MS), []);
    world.leases.renew(pinged, world.now);
    world.leases.renew(attached, world.now);
    let lapses = world.until(9 * SECOND);
    assert_eq!(
        lapses.iter().map(|(at, lapse)| (*at, lapse.handle)).collect::<Vec<_>>(),
        [(8 * SECOND, dead)]
    );
}

#[test]
fn endless_stalls_do_not_keep_a_dead_lease_for_ever() {
    let mut world = World::new(false);
    let lease = world.lease(3, 0);
    let mut at = 0;
    for _ in 0..100 {
        at += 700 * MS;
        assert!(world.stall_until(at).is_some());
        let lapsed = world.leases.tick(world.now, world.now.plus_micros(100 * MS));
        if !lapsed.is_empty() {
            assert_eq!(lapsed[0].handle, lease);
            // One TTL of its own, one of shifts, and one floor.
            assert!(at <= 2 * 3 * SECOND + 2 * SECOND, "{at}");
            return;
        }
    }
    panic!("the lease outlived a hundred stalls");
}

#[test]
fn a_late_tick_below_the_tolerance_is_no_stall() {
    let mut world = World::new(false);
    assert_eq!(world.stall_until(600 * MS), None);
    assert_eq!(world.stall_until(600 * MS + 1), Some(600 * MS + 1));
    assert_eq!(world.leases.stalls(), 1);
}

#[test]
fn nothing_expires_once_frozen() {
    let mut world = World::new(false);
    let stream = world.leases.open_stream(false);
    let (lease, attached) = (world.lease(1, 0), world.lease(1, 0));
    world.leases.attach(attached, stream, world.now);
    world.leases.freeze();
    assert_eq!(world.leases.end_stream(stream, StreamEnd::Client, world.now, world.now), []);
    assert_eq!(world.until(10 * SECOND), []);
    assert_eq!(world.leases.standing(lease), Standing::Live);
}

// === the brake ===

/// Of `all` leases of 10 s, `dead` are never renewed: when do they lapse?
fn mass(all: usize, dead: usize, brake: bool) -> Vec<(u64, Lapse)> {
    let mut world = World::new(brake);
    let leases: Vec<Handle> = (0..all).map(|_| world.lease(10, 0)).collect();
    let mut lapses = Vec::new();
    for second in 1..=30 {
        lapses.extend(world.until(second * SECOND));
        for live in &leases[dead..] {
            world.leases.renew(*live, world.now);
        }
    }
    assert_eq!(lapses.len(), dead);
    assert!(lapses.iter().all(|(at, _)| *at >= 10 * SECOND), "never early");
    lapses
}

fn braked(lapses: &[(u64, Lapse)]) -> usize {
    lapses.iter().filter(|(_, lapse)| lapse.cause == Cause::TtlLapsed { braked: true }).count()
}

#[test]
fn a_mass_expiry_is_spread_over_a_further_ttl() {
    let lapses = mass(1000, 600, true);
    assert_eq!(braked(&lapses), 600);
    let last = lapses.iter().map(|(at, _)| *at).max();
    assert!(last.is_some_and(|at| at <= 20 * SECOND + MS), "{last:?}");
    // Evenly: about a tenth in each second.
    for second in 10..20 {
        let range = second * SECOND..(second + 1) * SECOND;
        let count = lapses.iter().filter(|(at, _)| range.contains(at)).count();
        assert!((45..=75).contains(&count), "{count} in second {second}");
    }
}

#[test]
fn the_brake_leaves_small_and_partial_waves_alone() {
    for (all, dead) in [(99, 99), (1000, 500), (150, 75), (1000, 99)] {
        let lapses = mass(all, dead, true);
        assert_eq!(braked(&lapses), 0, "{dead} of {all}");
        assert!(lapses.iter().all(|(at, _)| *at == 10 * SECOND));
    }
    assert_eq!(braked(&mass(1000, 1000, false)), 0);
}

#[test]
fn a_renewal_lets_go_of_the_brake() {
    let mut world = World::new(true);
    let leases: Vec<Handle> = (0..200).map(|_| world.lease(10, 0)).collect();
    world.until(10 * SECOND + MS);
    // Held back, and renewed in time: they live on for a full TTL from here.
    let survivors: Vec<Handle> =
        leases.into_iter().filter(|lease| world.leases.standing(*lease) == Standing::Live).collect();
    assert!(survivors.len() > 190);
    for lease in &survivors {
        world.leases.renew(*lease, world.now);
    }
    assert_eq!(world.until(20 * SECOND), []);
}

#[test]
fn a_stall_does_not_bring_an_old_brake_back() {
    let mut world = World::new(true);
    let leases: Vec<Handle> = (0..200).map(|_| world.lease(10, 0)).collect();
    world.until(10 * SECOND + MS);
    for lease in &leases {
        world.leases.renew(*lease, world.now);
    }
    let live = world.leases.live();
    assert!(world.stall_until(12 * SECOND).is_some());
    // Silence from here on: the next wave is held back anew, not let through as one that was.
    let lapses = world.until(50 * SECOND);
    assert_eq!((lapses.len(), braked(&lapses)), (live, live));
    let moments: std::collections::BTreeSet<u64> = lapses.iter().map(|(at, _)| *at).collect();
    assert!(moments.len() > 100, "{} moments", moments.len());
}

#[test]
fn a_hold_lets_nothing_go_and_leaves_time_to_come_back() {
    let mut world = World::new(false);
    let (renewed, silent) = (world.lease(2, 0), world.lease(2, 0));
    let suspect = world.lease(2, SECOND);
    let stream = world.leases.open_stream(false);
    world.leases.attach(suspect, stream, world.now);
    world.leases.end_stream(stream, StreamEnd::Client, world.now, world.now);
    let began = world.now;
    while world.now.0 < 10 * SECOND {
        world.now = world.now.plus_micros(100 * MS);
        assert_eq!(world.leases.notice(world.now), None, "a hold is no stall");
        world.leases.hold(world.now, world.now.plus_micros(100 * MS));
    }
    assert_eq!(world.leases.renew(renewed, world.now), Standing::Live);
    world.leases.release(began, world.now);
    // What was due lives for another second, in which it can be renewed; what ends of
    // streams was ended by us.
    let stream = world.leases.open_stream(false);
    world.leases.attach(renewed, stream, world.now);
    assert!(world.leases.end_stream(stream, StreamEnd::Client, world.now, world.now).is_empty());
    let mut lapses: Vec<(u64, Handle)> =
        world.until(13 * SECOND).into_iter().map(|(at, lapse)| (at, lapse.handle)).collect();
    lapses.sort_unstable();
    assert_eq!(lapses, [(11 * SECOND, silent), (11 * SECOND, suspect), (12 * SECOND, renewed)]);
}

#[test]
fn leases_of_an_earlier_process_have_a_full_ttl_and_their_window() {
    let mut world = World::new(false);
    world.now = Moment(1000 * SECOND);
    let terms = |ttl, grace| Terms { ttl: Ttl(ttl), grace_micros: Some(grace) };
    let at = world.now;
    let mut resume = |id, terms, past| world.leases.resume(LeaseId(id), terms, past, at);
    let live = resume(1, terms(5, 0), Past::Live);
    let short = resume(2, terms(5, SECOND), Past::Suspect);
    let long = resume(3, terms(5, 9 * SECOND), Past::Suspect);
    let lapsed = resume(4, terms(5, 0), Past::Lapsed(at.plus_micros(2 * SECOND)));
    let dead = resume(5, terms(5, 0), Past::Dead(at.plus_micros(3 * SECOND)));
    world.leases.resumed(at);
    assert_eq!(world.leases.standing(short), Standing::Suspect);
    assert_eq!(world.leases.standing(lapsed), Standing::Lapsed);
    assert_eq!(world.leases.standing(dead), Standing::Dead);
    assert_eq!(world.leases.ended(lapsed), Some(Moment(at.0 + 2 * SECOND - 600 * SECOND)));
    assert_eq!(world.leases.live(), 1);
    // The first tick comes at once, the others as they are due.
    world.leases.tick(at, at.plus_micros(100 * MS));
    let gone: Vec<(u64, Handle, Cause)> = world
        .until(at.0 + 10 * SECOND)
        .into_iter()
        .map(|(when, lapse)| ((when - at.0) / SECOND, lapse.handle, lapse.cause))
        .collect();
    let ttl = Cause::TtlLapsed { braked: false };
    let expect = [
        (2, lapsed, Cause::Forgotten { lapsed: true }),
        (3, dead, Cause::Forgotten { lapsed: false }),
        (5, live, ttl),
        (5, short, Cause::StreamDropped),
        (9, long, Cause::StreamDropped),
    ];
    for one in expect {
        assert!(gone.contains(&one), "{one:?} in {gone:?}");
    }
    assert_eq!(gone.len(), expect.len(), "{gone:?}");
}

#[test]
fn what_stands_how_and_what_renews_is_counted() {
    let mut world = World::new(false);
    let terms = |grace| Terms { ttl: Ttl(10), grace_micros: Some(grace) };
    let alone = world.leases.insert(LeaseId(1), terms(0), world.now);
    let suspect = world.leases.insert(LeaseId(2), terms(60 * SECOND), world.now);
    let ended = world.leases.insert(LeaseId(3), terms(0), world.now);
    let stream = world.leases.open_stream(false);
    let at = |seconds: u64| Moment(world.now.0 + seconds * SECOND);
    let [two, four, seven] = [at(2), at(4), at(7)];
    world.leases.attach(suspect, stream, two);
    world.leases.beat(stream, four);
    world.leases.beat(stream, seven);
    world.leases.renew(alone, four);
    world.leases.end(ended, seven);
    assert_eq!(world.leases.end_stream(stream, StreamEnd::Client, seven, seven).len(), 1);
    let tally = world.leases.tally();
    assert_eq!(tally.renewals, Renewals { ping: 1, beat: 2, attach: 1 });
    assert_eq!(tally.standing, Counts { live: 1, suspect: 1, lapsed: 0 });
    // By name after 2 s, by beats after 2 and 3 s more, by itself after 4 s.
    let (left, buckets) = tally.margin.seconds();
    assert!((left - (8.0 + 8.0 + 7.0 + 6.0)).abs() < 1e-6, "{left}");
    assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 4);
    world.until(20 * SECOND);
    assert_eq!(world.leases.tally().standing, Counts { live: 0, suspect: 1, lapsed: 1 });
}
