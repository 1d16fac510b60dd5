//! Fifty containers, started and killed at random: after each round every registry shows what `docker ps`
//! shows, registrars and registries that were killed meanwhile included.

use crate::{
    fleet::Fleet,
    registrars::Registrars,
    registries::Registries,
    support::{docker::Engine, secret},
};

#[test]
fn every_registry_shows_what_docker_runs() {
    let engine = Engine::start_with(&["--storage-driver=vfs", "--userland-proxy=false"]);
    let mut registries = Registries::start();
    let password = secret("database password");
    let mut fleet = Fleet::create(&engine, 50, &format!("DB_PASSWORD={password}"));
    let registrars = Registrars::start(&engine, &registries);
    for _ in 0..3 {
        fleet.round(&engine);
        registrars.settle(&registries, &engine.running());
    }

    // Registrars that are killed leave all as it is; those started after them take it up, and make good
    // what happened in between.
    let before = registries.identities("ttl");
    registrars.kill();
    let registrars = Registrars::start(&engine, &registries);
    registrars.settle(&registries, &engine.running());
    assert_eq!(registries.identities("ttl"), before, "the same ids");
    let before = registries.identities("prune");
    registrars.kill();
    fleet.round(&engine);
    let running = engine.running();
    let mut registrars = Registrars::start(&engine, &registries);
    registrars.settle(&registries, &running);
    let after = registries.identities("prune");
    for (service, url, id) in &before {
        let same_pair = after.iter().find(|(s, u, _)| (s, u) == (service, url));
        assert!(same_pair.is_none_or(|(_, _, after)| after == id), "{url} has another id");
    }

    // Registries that are killed come back to what runs then.
    registries.kill();
    registrars.expect("trying again");
    fleet.round(&engine);
    registries.start_again();
    registrars.settle(&registries, &engine.running());

    // An orderly end removes nothing either.
    let running = engine.running();
    registrars.terminate();
    registrars.assert_shown(&registries, &running);
    registries.assert_strangers();
    let everything = registries.everything() + &registrars.logs();
    assert!(!everything.contains(&password), "a variable that nobody asked for was published");
}
