//! What steps are told about this machine's network: resolv.conf and addresses (D-140).

use std::fs;
use std::net::{IpAddr, UdpSocket};

use castoff_solver::HostFiles;

/// Where systemd-resolved keeps the servers that its stub asks.
const STUB_UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// Reads what steps are told.
pub fn host_files() -> HostFiles {
    HostFiles {
        resolv_conf: resolv_conf(),
        gateway: own_address().map_or_else(|| "127.0.0.1".to_owned(), |address| address.to_string()),
        ipv6: fs::metadata("/proc/net/if_inet6").is_ok_and(|_| {
            fs::read_to_string("/proc/net/if_inet6").is_ok_and(|text| !text.trim().is_empty())
        }),
    }
}

/// Steps share the machine's network, so its own servers work for them, loopback ones included. Only
/// when the file is missing or names nothing is the stub's upstream file tried.
fn resolv_conf() -> Vec<u8> {
    let names_a_server = |text: &String| text.lines().any(|line| line.trim_start().starts_with("nameserver"));
    let candidates = ["/etc/resolv.conf", STUB_UPSTREAM];
    let found = candidates.iter().filter_map(|path| fs::read_to_string(path).ok()).find(names_a_server);
    let first = || fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    found.unwrap_or_else(first).into_bytes()
}

/// Returns the address this machine uses towards others. Connecting a datagram socket sends nothing.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // TEST-NET-1 of RFC 5737: never a real host, but routed like one.
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}
