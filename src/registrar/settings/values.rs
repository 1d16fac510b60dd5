//! What each setting may be. An error says what is wrong and what to do; which setting it was and its value are said
//! around it.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Mode, sources::Given};

const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const SHORTEST_TTL: Duration = Duration::from_secs(1);
/// As long as a leasehold grants.
const LONGEST: Duration = Duration::from_hours(24);

/// A path, with or without `unix://`. What is there must be a socket; what is not there may come later.
pub fn socket(text: &str) -> Result<PathBuf, String> {
    let path = match text.split_once("://") {
        None => text,
        Some(("unix", path)) => path,
        Some(_) => return Err("only a socket in the file system can be followed; write its path".to_owned()),
    };
    let path = PathBuf::from(path);
    match other_than_socket(&path) {
        None => Ok(path),
        Some("a directory") => {
            Err("it is a directory, not Docker's socket; Docker makes one where a volume's source \
                                    is missing, so look whether the socket is there on the host"
                .to_owned())
        }
        Some(what) => Err(format!("it is {what}, not Docker's socket")),
    }
}

#[cfg(unix)]
fn other_than_socket(path: &Path) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;

    let kind = fs::metadata(path).ok()?.file_type();
    if kind.is_socket() { None } else { Some(if kind.is_dir() { "a directory" } else { "a file" }) }
}

#[cfg(not(unix))]
fn other_than_socket(_: &Path) -> Option<&'static str> {
    None
}

/// Milliseconds.
pub fn interval(text: &str) -> Result<Duration, String> {
    milliseconds(text, SHORTEST_INTERVAL)
}

/// Milliseconds, made up to whole seconds: that is what the registries count in.
pub fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = milliseconds(text, SHORTEST_TTL)?;
    Ok(Duration::from_secs(ttl.as_millis().div_ceil(1000) as u64))
}

fn milliseconds(text: &str, shortest: Duration) -> Result<Duration, String> {
    let given: u64 =
        text.parse().map_err(|_| "it is a number of milliseconds; for 5 s write 5000".to_owned())?;
    let given = Duration::from_millis(given);
    if given < shortest || given > LONGEST {
        let (shortest, longest) = (shortest.as_millis(), LONGEST.as_millis());
        return Err(format!("it is between {shortest} and {longest} milliseconds"));
    }
    Ok(given)
}

/// A file, or none for stdout.
pub fn log(given: &Given) -> Option<PathBuf> {
    let stdout = given.text == "-" || given.text.eq_ignore_ascii_case("stdout");
    (!stdout).then(|| PathBuf::from(&given.text))
}

/// Whether it is `debug`; another level than that and `info` is read as `info`, with a warning.
pub fn debug(given: &Given, warnings: &mut Vec<String>) -> bool {
    let is = |level: &str| given.text.eq_ignore_ascii_case(level);
    if !is("debug") && !is("info") {
        warnings.push(format!("{} is {:?}: it is info or debug; info is taken", given.whence, given.text));
    }
    is("debug")
}

/// `ttl` or `prune`.
pub fn mode(text: &str) -> Result<Mode, String> {
    match text {
        "ttl" => Ok(Mode::Ttl),
        "prune" => Ok(Mode::Prune),
        _ => Err("it is ttl or prune".to_owned()),
    }
}

/// What paths begin with, with a slash in front and none at the end.
pub fn prefix_services(text: &str) -> Result<String, String> {
    let segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.is_empty() {
        return Err("everything there would count as ours; write a path of its own, as /services".to_owned());
    }
    Ok(format!("/{}", segments.join("/")))
}

/// The Docker host's name.
pub fn hostname(text: &str) -> Result<String, String> {
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
        return Err("it is one name, without blanks and slashes".to_owned());
    }
    Ok(text.to_owned())
}

/// An address that others can connect to, or a name of one.
pub fn address(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            Err("nobody can connect to it; give the host's own address".to_owned())
        }
        Ok(ip) => Ok(ip.to_string()),
        Err(_) if is_host_name(bare) => Ok(bare.to_owned()),
        Err(_) => Err("it is one IP address, or one host name".to_owned()),
    }
}

/// Letters, digits, `.`, `-` and `_`, and not only digits and dots, which would be a misspelt address.
pub fn is_host_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    text.len() <= 253
        && text.bytes().all(allowed)
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && !text.starts_with(['.', '-'])
}

/// A port to send to.
pub fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 => Ok(port),
        _ => Err("a port is between 1 and 65535".to_owned()),
    }
}

/// A host to send to.
pub fn statsd_host(text: &str) -> Result<String, String> {
    address(text)
}

/// What stands in front of every name, without the dot.
pub fn statsd_prefix(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/');
    if !text.chars().all(allowed) {
        return Err("it is of letters, digits, '.', '-', '_' and '/'".to_owned());
    }
    Ok(text.trim_end_matches('.').to_owned())
}
