//! Register as JSON over real sockets, against a bare axum handler that sends a body back:
//! `cargo bench --bench json_register`. Both servers run in processes of their own and take
//! turns, round by round, under the same load; what counts is the ratio.
//!
//! Settings, by environment: `ROUNDS` (5), `SECONDS` of a round (2), `IN_FLIGHT` (64).

use std::{
    env, fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{Router, body::Bytes, routing::post};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Makes this program the bare handler.
const ECHO: &str = "--serve-echo";

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if env::args().any(|argument| argument == ECHO) {
        return runtime.block_on(echo());
    }
    runtime.block_on(compare())
}

/// Sends every body back, until standard input closes.
async fn echo() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    let app = Router::new().route("/services/$register", post(|body: Bytes| async { body }));
    let closed = tokio::task::spawn_blocking(|| std::io::stdin().lines().count());
    tokio::select! {
        served = axum::serve(listener, app) => served?,
        _ = closed => {}
    }
    Ok(())
}

async fn compare() -> Result<()> {
    let (rounds, seconds) = (setting("ROUNDS", 5), setting("SECONDS", 2));
    let in_flight = setting("IN_FLIGHT", 64);
    let bare = Server::start(Command::new(env::current_exe()?).arg(ECHO))?;
    let registry = Server::start(Command::new(env!("CARGO_BIN_EXE_leasehold")).args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--store",
        "memory",
    ]))?;
    println!("{in_flight} in flight, one a connection; rounds of {seconds} s, {rounds} of each in turn");
    let unique = Arc::new(AtomicU64::new(0));
    let (mut bare_rounds, mut registry_rounds) = (Vec::new(), Vec::new());
    // The first round of each warms up.
    for round in 0..=rounds {
        for (server, done) in [(&bare, &mut bare_rounds), (&registry, &mut registry_rounds)] {
            let length = Duration::from_secs(seconds);
            let measured = server.measure(in_flight as usize, length, &unique).await?;
            if round > 0 {
                done.push(measured);
            }
        }
    }
    print("bare axum echo", &bare_rounds);
    print("leasehold Register", &registry_rounds);
    let ratios = registry_rounds.iter().zip(&bare_rounds).map(|(ours, bare)| ours.rate / bare.rate);
    println!("ratio {}", spread(ratios, 2));
    Ok(())
}

fn setting(name: &str, default: u64) -> u64 {
    env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

struct Server {
    process: Child,
    address: String,
}

struct Round {
    /// Requests a second.
    rate: f64,
    /// Microseconds of the server's CPU a request.
    cpu: f64,
}

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let stdout = process.stdout.take().ok_or("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let said = lines.find_map(|line| Some(line.ok()?.split_once("http://")?.1.to_owned()));
        // Whatever else it says has to be taken off it.
        std::thread::spawn(move || lines.count());
        let address = said.ok_or("the server did not say where it listens")?;
        let address = address.split(['/', ' ']).next().unwrap_or_default().to_owned();
        Ok(Self { process, address })
    }

    async fn measure(&self, in_flight: usize, length: Duration, unique: &Arc<AtomicU64>) -> Result<Round> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for _ in 0..in_flight {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            clients.push(tokio::spawn(client(stream, Arc::clone(&stop), Arc::clone(unique))));
        }
        let (begin, cpu) = (Instant::now(), self.cpu()?);
        tokio::time::sleep(length).await;
        stop.store(true, Ordering::Relaxed);
        let mut requests = 0;
        for client in clients {
            requests += client.await??;
        }
        let (elapsed, cpu) = (begin.elapsed(), self.cpu()?.saturating_sub(cpu));
        Ok(Round {
            rate: requests as f64 / elapsed.as_secs_f64(),
            cpu: cpu.as_secs_f64() * 1e6 / requests as f64,
        })
    }

    /// User and system time of the process so far, to a hundredth of a second.
    fn cpu(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let after_name = stat.rsplit_once(')').ok_or("an unknown form of /proc/…/stat")?.1;
        let ticks: u64 =
            after_name.split(' ').skip(12).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Registers one service after another; how many.
async fn client(mut stream: TcpStream, stop: Arc<AtomicBool>, unique: Arc<AtomicU64>) -> Result<u64> {
    let mut requests = 0;
    let mut answer = Vec::with_capacity(4096);
    while !stop.load(Ordering::Relaxed) {
        let n = unique.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"url":"http://10.{}.{}.{}:8000","info":{{"id":"service-{}","display_name":"A service of the benchmark","version":"1.0.0","summary":"Registers and is never pinged","tags":["bench","json"]}}}}"#,
            n >> 16 & 255,
            n >> 8 & 255,
            n & 255,
            n / 64,
        );
        let request = format!(
            "POST /services/$register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        read_answer(&mut stream, &mut answer).await?;
        requests += 1;
    }
    Ok(requests)
}

/// Reads one answer of known length; anything but a 200 is an error.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
        let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
        if !head.starts_with("http/1.1 200") {
            return Err(head.into());
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.ok_or("an answer without a length")?.parse()?;
        while answer.len() < end + 4 + length {
            if stream.read_buf(answer).await? == 0 {
                return Err("the server closed the connection".into());
            }
        }
        return Ok(());
    }
}

fn print(name: &str, rounds: &[Round]) {
    let rates = spread(rounds.iter().map(|round| round.rate), 0);
    let cpu = spread(rounds.iter().map(|round| round.cpu), 1);
    println!("{name:20} {rates} requests/s, {cpu} µs server CPU each");
}

/// The median, and the ends.
fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(min), Some(median), Some(max)) => {
            format!("{median:.digits$} [{min:.digits$}..{max:.digits$}]")
        }
        _ => "nothing".to_owned(),
    }
}
