//! What this host is called and where it is, as far as it can tell by itself.

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

/// Addresses for documentation: nobody has them, and the default route leads there.
const ELSEWHERE: [SocketAddr; 2] = [
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9),
];

/// The host's full name as `/etc/hosts` has it, else its plain one. No name server is asked.
pub fn name() -> String {
    let read = |file| fs::read_to_string(file).ok().map(|text| text.trim().to_owned());
    let plain = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname"));
    let plain = plain.filter(|name| !name.is_empty()).unwrap_or_else(|| "localhost".to_owned());
    full_name(&plain, &read("/etc/hosts").unwrap_or_default()).unwrap_or(plain)
}

/// The first name with a dot on a line of `hosts` that has `plain`.
fn full_name(plain: &str, hosts: &str) -> Option<String> {
    hosts.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let names = || line.split_whitespace().skip(1);
        names().find(|name| name.eq_ignore_ascii_case(plain))?;
        names().find(|name| name.contains('.')).map(str::to_owned)
    })
}

/// The address that this host has towards others: the source of a datagram that would leave by the default
/// route. None is sent. Without a route, the loopback address.
pub fn address() -> String {
    let source = |to: SocketAddr| {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok().map(|addr| addr.ip())
    };
    let found = ELSEWHERE.into_iter().find_map(source);
    found.unwrap_or_else(|| Ipv4Addr::LOCALHOST.into()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_full_name_is_that_of_its_line_in_hosts() {
        let hosts = "127.0.0.1 localhost\n# 10.0.0.9 web.commented web\n10.0.0.1 Web.example.net web\n";
        assert_eq!(full_name("web", hosts).as_deref(), Some("Web.example.net"));
        assert_eq!(full_name("localhost", hosts), None, "no name with a dot");
        assert_eq!(full_name("db", hosts), None);
    }

    #[test]
    fn a_host_always_has_a_name_and_an_address() {
        assert!(!name().is_empty());
        let ip: std::net::IpAddr = address().parse().expect("an IP address");
        assert!(!ip.is_unspecified());
    }
}
