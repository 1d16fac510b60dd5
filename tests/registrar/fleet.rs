//! Containers that are started and killed at random, several at a time.

use std::{collections::BTreeSet, sync::Mutex, thread};

use crate::support::docker::Engine;

/// How many calls of Docker's client run at once.
const AT_ONCE: usize = 4;

/// Containers of one engine, by name.
pub struct Fleet {
    names: Vec<String>,
    random: Random,
}

/// What was asked for in a round.
pub struct Orders {
    start: Vec<String>,
    kill: Vec<String>,
}

impl Fleet {
    /// Makes so many of them, each with a published port and with `env` besides. None runs yet. Every third
    /// one is started again with the engine.
    pub fn create(engine: &Engine, count: usize, env: &str) -> Self {
        let seed = std::env::var("LEASEHOLD_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(rand::random);
        println!("LEASEHOLD_TEST_SEED={seed}");
        engine.build("web:1", &["EXPOSE 80", "CMD [\"serve\", \"tcp:80\"]"]);
        let names: Vec<String> = (0..count).map(|number| format!("web-{number:02}")).collect();
        each(&names, |name| {
            let number: usize = name[4..].parse().unwrap();
            let restart = if number.is_multiple_of(3) { "--restart=always" } else { "--restart=no" };
            engine.docker(&[
                "create",
                "--name",
                name,
                "--publish=80",
                restart,
                "--env=ENVIRONMENT=test",
                "--env=TAGS=blue,green",
                &format!("--env={env}"),
                "web:1",
            ]);
        });
        Self { names, random: Random(seed) }
    }

    /// Starts and kills some, at random, in an order that is as random; returns when all of it was done.
    pub fn round(&mut self, engine: &Engine) {
        let orders = self.orders(engine);
        let all: Vec<(bool, &String)> = orders
            .start
            .iter()
            .map(|name| (true, name))
            .chain(orders.kill.iter().map(|name| (false, name)))
            .collect();
        let all = self.random.shuffled(all);
        each(&all, |(start, name)| drop(engine.docker(&[if *start { "start" } else { "kill" }, name])));
    }

    /// About half of those that do not run are to be started, a third of those that do are to be killed.
    fn orders(&mut self, engine: &Engine) -> Orders {
        let running = names_of_running(engine);
        let mut orders = Orders { start: Vec::new(), kill: Vec::new() };
        for name in &self.names {
            match (running.contains(name), self.random.below(6)) {
                (false, 0..3) => orders.start.push(name.clone()),
                (true, 0..2) => orders.kill.push(name.clone()),
                _ => {}
            }
        }
        orders
    }

    /// Starts all that do not run.
    pub fn start_all(&self, engine: &Engine) {
        let running = names_of_running(engine);
        let resting: Vec<&String> = self.names.iter().filter(|name| !running.contains(*name)).collect();
        each(&resting, |name| drop(engine.docker(&["start", name])));
    }
}

fn names_of_running(engine: &Engine) -> BTreeSet<String> {
    engine.docker(&["ps", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
}

/// Runs `work` on each of `items`, some at once.
fn each<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = Mutex::new(items.iter());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(item) = next.lock().unwrap().next() else { return };
                    work(item);
                }
            });
        }
    });
}

/// Numbers that a seed repeats: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        // Zero is the one state that it does not leave.
        self.0 = self.0.max(1);
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn shuffled<T>(&mut self, items: Vec<T>) -> Vec<T> {
        let mut keyed: Vec<(u64, T)> = items.into_iter().map(|item| (self.below(u64::MAX), item)).collect();
        keyed.sort_by_key(|(key, _)| *key);
        keyed.into_iter().map(|(_, item)| item).collect()
    }
}
