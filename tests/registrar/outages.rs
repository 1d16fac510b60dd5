//! Docker itself is away: nothing is removed because it does not answer.

use std::time::Duration;

use crate::{
    fleet::Fleet,
    registrars::Registrars,
    registries::Registries,
    support::{docker::Engine, wait_for},
};

#[test]
fn an_engine_that_does_not_answer_removes_nothing() {
    let mut engine = Engine::start_with(&["--storage-driver=vfs", "--userland-proxy=false"]);
    let registries = Registries::start();
    let fleet = Fleet::create(&engine, 9, "A=1");
    fleet.start_all(&engine);
    let running = engine.running();
    let mut registrars = Registrars::start(&engine, &registries);
    registrars.settle(&registries, &running);

    // It hangs.
    engine.signal("STOP");
    registrars.expect("Docker does not tell what runs within 10 s");
    registrars.assert_shown(&registries, &running);
    engine.signal("CONT");
    engine.docker(&["kill", "web-01"]);
    let running = engine.running();
    registrars.settle(&registries, &running);

    // It dies, and containers live on: they go on being advertised, beyond every TTL.
    engine.kill();
    let ttl = Duration::from_secs(12);
    let died = std::time::Instant::now();
    wait_for("the end of a TTL", 20 * ttl, || {
        registrars.assert_shown(&registries, &running);
        (died.elapsed() > ttl + ttl / 2).then_some(())
    });
    engine.start_again();
    registrars.settle(&registries, &engine.running());

    // It is restarted as its service is: its containers end with it, and some come back with it.
    fleet.start_all(&engine);
    let running = engine.running();
    registrars.settle(&registries, &running);
    engine.stop();
    registrars.assert_shown(&registries, &running);
    engine.start_again();
    registrars.settle(&registries, &engine.running());
    fleet.start_all(&engine);
    registrars.settle(&registries, &engine.running());
    registries.assert_strangers();
}
