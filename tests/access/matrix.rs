//! Every call by every kind of key about every kind of service, at every door; a table says what is
//! to come of each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use leasehold::proto::{Instance, ListRequest, registry_client::RegistryClient};
use tonic::transport::Channel;

use super::{
    doors::{Call, Door, Grpc, Json, Names, Whom},
    rig::{Key, Keyed, fresh_url, with_key},
    support::{replica, secret},
};

/// Who asks, in the order of the table's columns.
const KEYS: [&str; 8] = ["none", "wrong", "shared", "all", "register", "read", "admin", "revoked"];

/// What is asked, and what comes of it for each key. `+` is done, `U` `UNAUTHENTICATED`, `D`
/// `PERMISSION_DENIED`, `N` `NOT_FOUND`; `{b,o}` the services that are seen, `[+,D]` each entry's.
/// The keys `register` and `read` are good for `billing-*`.
type Row = (&'static str, Call, [&'static str; 8]);

/// The two replicas that a row is about, freshly registered.
struct Cast {
    billing: Whom,
    other: Whom,
}

fn by_name(whom: &Whom) -> Whom {
    Whom { id: whom.service.clone(), ..whom.clone() }
}

/// One that was never registered.
fn nobody(service: &str) -> Whom {
    let id = "01K83B5V85PQZ1HTH4DQ7NC9JM".to_owned();
    Whom { service: service.to_owned(), url: "http://nobody:80".to_owned(), id }
}

fn fresh(service: &str) -> Whom {
    Whom { service: service.to_owned(), url: fresh_url(), id: String::new() }
}

#[rustfmt::skip]
fn writes(Cast { billing, other }: &Cast) -> Vec<Row> {
    let (billing, other) = (|| billing.clone(), || other.clone());
    let unknown = || nobody("nobody");
    let all = || vec![billing(), other(), unknown()];
    vec![
        //                                                            none wrong shared all register read admin revoked
        ("register billing", Call::Register(fresh("billing-new")),  ["U", "U", "+", "+", "+", "D", "D", "U"]),
        ("register other", Call::Register(fresh("other-new")),      ["U", "U", "+", "+", "D", "D", "D", "U"]),
        ("update billing", Call::Register(billing()),               ["U", "U", "+", "+", "+", "D", "D", "U"]),
        ("update other", Call::Register(other()),                   ["U", "U", "+", "+", "D", "D", "D", "U"]),
        ("batch", Call::Batch(vec![fresh("billing-x"), fresh("other-x"), fresh("billing-y")]),
            ["U", "U", "[+,+,+]", "[+,+,+]", "[+,D,+]", "D", "D", "U"]),
        ("ping billing", Call::Ping(billing()),                     ["U", "U", "+", "+", "+", "D", "D", "U"]),
        ("ping other", Call::Ping(other()),                         ["U", "U", "+", "+", "D", "D", "D", "U"]),
        ("ping unknown", Call::Ping(unknown()),                     ["U", "U", "N", "N", "D", "D", "D", "U"]),
        ("ping billing by name", Call::Ping(by_name(&billing())),   ["U", "U", "+", "+", "+", "D", "D", "U"]),
        ("ping other by name", Call::Ping(by_name(&other())),       ["U", "U", "+", "+", "D", "D", "D", "U"]),
        ("ping unknown billing by name", Call::Ping(by_name(&nobody("billing-none"))),
            ["U", "U", "N", "N", "N", "D", "D", "U"]),
        ("ping unknown by name", Call::Ping(by_name(&unknown())),   ["U", "U", "N", "N", "D", "D", "D", "U"]),
        ("deregister billing", Call::Deregister(billing()),         ["U", "U", "+", "+", "+", "D", "D", "U"]),
        ("deregister other", Call::Deregister(other()),             ["U", "U", "+", "+", "D", "D", "D", "U"]),
        ("deregister unknown", Call::Deregister(unknown()),         ["U", "U", "N", "N", "D", "D", "D", "U"]),
        ("deregister billing by name", Call::Deregister(by_name(&billing())),
            ["U", "U", "+", "+", "+", "D", "D", "U"]),
        ("deregister other by name", Call::Deregister(by_name(&other())),
            ["U", "U", "+", "+", "D", "D", "D", "U"]),
        ("deregister unknown billing by name", Call::Deregister(by_name(&nobody("billing-none"))),
            ["U", "U", "N", "N", "N", "D", "D", "U"]),
        ("deregister unknown by name", Call::Deregister(by_name(&unknown())),
            ["U", "U", "N", "N", "D", "D", "D", "U"]),
        ("attach", Call::Attach(all()),        ["U", "U", "[+,+,N]", "[+,+,N]", "[+,D,D]", "D", "D", "U"]),
        ("detach", Call::Detach(all()),        ["U", "U", "[+,+,N]", "[+,+,N]", "[+,D,D]", "D", "D", "U"]),
        // One key is for that, so no other is.
        ("backup", Call::Backup,                                    ["U", "U", "D", "+", "D", "D", "+", "U"]),
        ("health", Call::Health, ["[+,+]"; 8]),
    ]
}

#[rustfmt::skip]
fn protected_reads(Cast { billing, other }: &Cast) -> Vec<Row> {
    let unknown = nobody("nobody");
    vec![
        //                                                            none wrong shared all register read admin revoked
        ("list", Call::List(None),              ["U", "U", "{b,o}", "{b,o}", "D", "{b}", "D", "U"]),
        ("list billing", Call::List(Some("billing-api")),   ["U", "U", "{b}", "{b}", "D", "{b}", "D", "U"]),
        ("list other", Call::List(Some("other")),           ["U", "U", "{o}", "{o}", "D", "D", "D", "U"]),
        ("list unknown", Call::List(Some("nobody")),        ["U", "U", "{}", "{}", "D", "D", "D", "U"]),
        ("watch", Call::Watch(None),            ["U", "U", "{b,o}", "{b,o}", "D", "{b}", "D", "U"]),
        ("watch billing", Call::Watch(Some("billing-api")), ["U", "U", "{b}", "{b}", "D", "{b}", "D", "U"]),
        ("watch other", Call::Watch(Some("other")),         ["U", "U", "{o}", "{o}", "D", "D", "D", "U"]),
        ("watch unknown", Call::Watch(Some("nobody")),      ["U", "U", "{}", "{}", "D", "D", "D", "U"]),
        ("get billing", Call::Get(billing.clone()),                 ["U", "U", "+", "+", "D", "+", "D", "U"]),
        ("get other", Call::Get(other.clone()),                     ["U", "U", "+", "+", "D", "D", "D", "U"]),
        ("get unknown", Call::Get(unknown.clone()),                 ["U", "U", "N", "N", "D", "D", "D", "U"]),
        ("get billing by name", Call::Get(by_name(billing)),        ["U", "U", "+", "+", "D", "+", "D", "U"]),
        ("get other by name", Call::Get(by_name(other)),            ["U", "U", "+", "+", "D", "D", "D", "U"]),
        ("get unknown billing by name", Call::Get(by_name(&nobody("billing-none"))),
            ["U", "U", "N", "N", "D", "N", "D", "U"]),
        ("get unknown by name", Call::Get(by_name(&unknown)),       ["U", "U", "N", "N", "D", "D", "D", "U"]),
        ("reflection", Call::Reflection,                            ["U", "U", "+", "+", "D", "+", "D", "U"]),
        ("metrics", Call::Metrics,                                  ["U", "U", "+", "+", "D", "+", "D", "U"]),
        ("openapi", Call::OpenApi,                                  ["U", "U", "+", "+", "D", "+", "D", "U"]),
    ]
}

/// Whatever key is shown, and whether it is one.
fn open_reads(Cast { billing, other }: &Cast) -> Vec<Row> {
    vec![
        ("list", Call::List(None), ["{b,o}"; 8]),
        ("list other", Call::List(Some("other")), ["{o}"; 8]),
        ("watch", Call::Watch(None), ["{b,o}"; 8]),
        ("watch other", Call::Watch(Some("other")), ["{o}"; 8]),
        ("get billing", Call::Get(billing.clone()), ["+"; 8]),
        ("get other by name", Call::Get(by_name(other)), ["+"; 8]),
        ("get unknown", Call::Get(nobody("nobody")), ["N"; 8]),
        ("reflection", Call::Reflection, ["+"; 8]),
        ("metrics", Call::Metrics, ["+"; 8]),
        ("openapi", Call::OpenApi, ["+"; 8]),
    ]
}

/// One server, its keys, and a way to see all that it knows.
struct Stage {
    keyed: Keyed,
    secrets: [Option<String>; 8],
    client: RegistryClient<Channel>,
}

impl Stage {
    async fn new(args: &[&str]) -> Self {
        let all = Key::new("all", "allow = [\"register\", \"read\", \"admin\"]");
        let register = Key::new("register", "allow = [\"register\"]\nservices = [\"billing-*\"]");
        let read = Key::new("read", "allow = [\"read\"]\nservices = [\"billing-*\"]");
        let admin = Key::new("admin", "allow = [\"admin\"]");
        let revoked = Key::new("revoked", "allow = [\"register\", \"read\", \"admin\"]");
        let keys = [&all, &register, &read, &admin];
        let mut keyed = Keyed::start(&[&all, &register, &read, &admin, &revoked], args);
        keyed.replica(&revoked.secret, "billing-old").await;
        keyed.write_keys(&keys);
        let secrets = [None, Some(secret("wrong")), Some(keyed.shared.clone())].into_iter();
        let secrets = secrets.chain([all, register, read, admin, revoked].map(|key| Some(key.secret)));
        let secrets = secrets.collect::<Vec<_>>().try_into().unwrap();
        let client = keyed.server.registry().await;
        Self { keyed, secrets, client }
    }

    /// All that lives, as it stands: a renewal shows in it.
    async fn listed(&mut self) -> BTreeMap<String, Instance> {
        let request = with_key(&self.keyed.shared, ListRequest::default());
        let listed = self.client.list(request).await.unwrap().into_inner().services;
        listed.into_iter().map(|one| (one.id.clone(), one)).collect()
    }

    /// One replica of `billing-api`, and one of `other`, and nothing else.
    async fn cast(&mut self) -> Cast {
        for id in self.listed().await.into_keys() {
            let request = leasehold::proto::DeregisterRequest { id, ..Default::default() };
            self.client.deregister(with_key(&self.keyed.shared, request)).await.unwrap();
        }
        let mut registered = Vec::new();
        for (service, url) in [("billing-api", "http://billing:80"), ("other", "http://other:80")] {
            let request = with_key(&self.keyed.shared, replica(service, url));
            let id = self.client.register(request).await.unwrap().into_inner().id;
            registered.push(Whom { service: service.to_owned(), url: url.to_owned(), id });
        }
        let other = registered.pop().unwrap();
        Cast { billing: registered.pop().unwrap(), other }
    }

    /// Every row at one door. Faults are gathered, so that one does not hide the others.
    async fn play<D: Door>(
        &mut self,
        door: &mut D,
        rows: fn(&Cast) -> Vec<Row>,
        faults: &mut String,
    ) -> usize {
        let names: Vec<&str> = rows(&self.cast().await).iter().map(|(name, ..)| *name).collect();
        let mut cells = 0;
        // What is said of what lies beyond a key, by call.
        let mut denials: BTreeMap<(usize, String), BTreeSet<String>> = BTreeMap::new();
        for (row, name) in names.iter().enumerate() {
            for (column, key) in KEYS.iter().enumerate() {
                // Afresh: the cell before may have changed something.
                let cast = self.cast().await;
                let (_, call, expect) = rows(&cast).swap_remove(row);
                let before = self.listed().await;
                let Some(outcome) = door.call(self.secrets[column].as_deref(), &call).await else { break };
                cells += 1;
                let place = format!("{} · {name} · {key}", door.name());
                if outcome.short != expect[column] {
                    writeln!(faults, "{place}: {} {}, not {}", outcome.short, outcome.text, expect[column])
                        .unwrap();
                }
                let after = self.listed().await;
                if matches!(expect[column], "U" | "D" | "N") && before != after {
                    writeln!(faults, "{place}: refused, and yet {before:#?} became {after:#?}").unwrap();
                }
                let other = &cast.other.id;
                if expect[column].contains('D')
                    && before[other] != after.get(other).cloned().unwrap_or_default()
                {
                    writeln!(faults, "{place}: what was denied was touched").unwrap();
                }
                if outcome.short == "D" {
                    denials.entry((column, kind(name))).or_default().insert(outcome.text);
                }
            }
        }
        for ((column, kind), texts) in denials {
            if texts.len() > 1 {
                writeln!(faults, "{} · {kind} · {}: told apart by {texts:#?}", door.name(), KEYS[column])
                    .unwrap();
            }
        }
        cells
    }
}

/// The call of a row, whomever it is about.
fn kind(name: &str) -> String {
    name.split(' ').next().unwrap().to_owned()
}

async fn play(args: &[&str], reads: fn(&Cast) -> Vec<Row>) -> usize {
    let mut stage = Stage::new(args).await;
    let (mut cells, mut faults) = (0, String::new());
    for rows in [writes, reads] {
        let mut grpc = Grpc::new(stage.keyed.server.channel().await);
        cells += stage.play(&mut grpc, rows, &mut faults).await;
        let mut json = Json { addr: stage.keyed.server.addr, bearer: false };
        cells += stage.play(&mut json, rows, &mut faults).await;
        let mut names = Names { addr: stage.keyed.names(), bearer: false };
        cells += stage.play(&mut names, rows, &mut faults).await;
    }
    assert!(faults.is_empty(), "{faults}");
    cells
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_where_reads_are_open() {
    assert_eq!(play(&[], open_reads).await, 8 * (22 + 20 + 11 + 8 + 9 + 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_cell_where_reads_are_protected() {
    assert_eq!(play(&["--protect-reads"], protected_reads).await, 8 * (22 + 20 + 11 + 16 + 17 + 4));
}
