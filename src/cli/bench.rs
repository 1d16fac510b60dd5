//! `leasehold bench`: what this machine is good for, and how near to its limits leasehold comes.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;

use super::{Failure, output};
use crate::bench::{self, Peers, Report, Size, report::table::HEADER, rows};

/// Measure this machine: leasehold against servers that do nothing, and against other registries
///
/// Starts all servers itself, on free ports of 127.0.0.1 and in directories that are removed
/// afterwards. Subjects are measured in turn, round by round; what counts are the ratios within
/// a round, because whatever else the machine does strikes all. The load generator shares the
/// machine with the server.
#[derive(Args, Debug)]
pub struct Bench {
    /// Only these rows, separated by commas; --list names them
    #[arg(long, value_name = "ROW,…", value_delimiter = ',')]
    only: Vec<String>,

    /// Only subjects whose names contain one of these, such as null,sync
    #[arg(long, value_name = "PART,…", value_delimiter = ',')]
    subjects: Vec<String>,

    /// Name the rows, and measure nothing
    #[arg(long)]
    list: bool,

    /// All rows within a minute: fewer and shorter rounds, smaller amounts
    #[arg(long)]
    quick: bool,

    /// How often each subject is measured [default: 5, or 2 with --quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,

    /// How long a measurement lasts [default: 2, or 0.3 with --quick]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,

    /// Requests in flight, where a row does not say otherwise
    #[arg(long, value_name = "N", default_value = "64", value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,

    /// Connections that they are spread over; HTTP/1.1 needs one for each
    #[arg(long, value_name = "N", default_value = "8", value_parser = clap::value_parser!(u16).range(1..=1024))]
    connections: u16,

    /// Send so many a second, answered or not, and count latency from when each should have been
    /// sent; without, the next is sent when one is answered
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,

    /// Where servers keep their data while they are measured [default: the system's temporary
    /// directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Measure another in the same rounds: etcd=BINARY, python=DIR of an environment that has
    /// servicekit, leasehold=BINARY of another build; may be given several times
    #[arg(long = "peer", value_name = "NAME=PATH", value_parser = peer)]
    peers: Vec<(Peer, PathBuf)>,

    /// Write the report as JSON too: every sample, the machine and the settings; - is stdout, and
    /// then no table is written
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write charts of the rows that measure with several amounts to this directory, as SVG
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,

    /// Whether it works at all
    #[arg(long, hide = true, conflicts_with = "quick")]
    tiny: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Etcd,
    Python,
    Leasehold,
}

impl Bench {
    /// Measures, and prints the report.
    pub fn run(self) -> Result<(), Failure> {
        let rows = rows::named(&self.only).map_err(|error| Failure::usage(error.to_string()))?;
        if self.list {
            let mut table = output::table(&["ROW", "WHAT IS MEASURED"]);
            table.add_rows(rows.iter().map(|row| [row.name().to_owned(), row.about()]));
            return output::line(&output::render(table));
        }
        let report = bench::run(&self.settings(), &rows, &mut output::note)?;
        if let Some(dir) = &self.plots {
            plot(&report, dir)?;
        }
        self.print(&report)?;
        let failures = report.failures();
        if failures.is_empty() { Ok(()) } else { Err(Failure::other(failures.join("\n"))) }
    }

    fn settings(&self) -> bench::Bench {
        let size = match (self.tiny, self.quick) {
            (true, _) => Size::Tiny,
            (false, true) => Size::Quick,
            (false, false) => Size::Full,
        };
        let mut settings = bench::Bench::of(size);
        settings.rounds = self.rounds.map_or(settings.rounds, usize::from);
        settings.length = self.seconds.unwrap_or(settings.length);
        settings.in_flight = self.in_flight.into();
        settings.connections = self.connections.into();
        settings.rate = self.rate;
        settings.dir = self.dir.clone().unwrap_or(settings.dir);
        settings.subjects.clone_from(&self.subjects);
        settings.peers = self.peers();
        settings
    }

    fn peers(&self) -> Peers {
        let of = |peer: Peer| {
            let (_, path) = self.peers.iter().rfind(|(name, _)| *name == peer)?;
            Some(path.clone())
        };
        Peers { etcd: of(Peer::Etcd), python: of(Peer::Python), leasehold: of(Peer::Leasehold) }
    }

    fn print(&self, report: &Report) -> Result<(), Failure> {
        match self.json.as_deref() {
            Some(path) if path.as_os_str() == "-" => return output::line(&report.json().to_string()),
            Some(path) => {
                let text = format!("{:#}\n", report.json());
                let written = fs::write(path, text);
                written
                    .map_err(|error| Failure::other(format!("cannot write {}: {error}", path.display())))?;
            }
            None => {}
        }
        let mut table = output::table(&HEADER);
        table.add_rows(report.table());
        output::line(&format!("{}\n\n{}", output::render(table), report.notes().join("\n")))
    }
}

/// Writes the report's charts.
fn plot(report: &Report, dir: &Path) -> Result<(), Failure> {
    let failed = |path: &Path, error| Failure::other(format!("cannot write {}: {error}", path.display()));
    fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    for (name, svg) in bench::plots::svgs(report) {
        let path = dir.join(name);
        fs::write(&path, svg).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.01..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "seconds, 0.01 to 3600".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1.0..=1e7).contains(rate));
    rate.ok_or_else(|| "operations a second, 1 to 10000000".to_owned())
}

fn peer(text: &str) -> Result<(Peer, PathBuf), String> {
    let (name, path) = text.split_once('=').filter(|(_, path)| !path.is_empty()).unwrap_or((text, ""));
    let peer = match name {
        "etcd" => Peer::Etcd,
        "python" => Peer::Python,
        "leasehold" => Peer::Leasehold,
        _ => return Err("etcd=BINARY, python=DIR or leasehold=BINARY".to_owned()),
    };
    let path = PathBuf::from(path);
    if path.exists() { Ok((peer, path)) } else { Err(format!("there is no {}", path.display())) }
}

/// Serve what `bench` compares with
#[derive(Args, Debug)]
pub struct Null {
    #[arg(value_name = "KIND", value_parser = bench::null::KINDS)]
    kind: String,
}

impl Null {
    /// Serves until it is killed.
    pub fn run(self) -> Result<(), Failure> {
        // Nobody has to read it.
        let say = |address| drop(output::line(&format!("listening on http://{address}")));
        Ok(bench::null::serve(&self.kind, say)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_read() {
        assert_eq!(seconds("0.2"), Ok(Duration::from_millis(200)));
        assert!(seconds("0").is_err());
        assert!(seconds("NaN").is_err());
        assert_eq!(rate("5e3"), Ok(5_000.0));
        assert!(rate("0.5").is_err());
        assert_eq!(peer("etcd=/").unwrap(), (Peer::Etcd, PathBuf::from("/")));
        assert_eq!(peer("etcd=/no/such").unwrap_err(), "there is no /no/such");
        assert!(peer("etcd").is_err());
        assert!(peer("consul=/").unwrap_err().contains("etcd=BINARY"));
    }
}
