//! Which web servers may connect.

use std::io;
use std::net::{IpAddr, Ipv6Addr};

use log::warn;

use super::socket::Socket;
use crate::error::{Error, Result};

/// The web servers that may connect; without entries all may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    /// For TCP. `None` allows all, an empty list nobody.
    networks: Option<Vec<Network>>,
    /// For Unix sockets: user and group numbers. Empty allows all.
    users: Vec<u32>,
    groups: Vec<u32>,
}

/// A range of addresses. IPv4 addresses are those mapped to IPv6, so that both forms of one compare equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: u128,
    prefix_len: u32,
}

impl Peers {
    /// Adds an address, or a range such as `10.0.0.0/8`.
    pub(crate) fn allow_address(&mut self, text: &str) -> Result<()> {
        self.add(text).ok_or_else(|| Error::new(format!("not an address or range: {text:?}")))
    }

    pub(crate) fn allow_user(&mut self, uid: u32) {
        self.users.push(uid);
    }

    pub(crate) fn allow_group(&mut self, gid: u32) {
        self.groups.push(gid);
    }

    /// Takes over FCGI_WEB_SERVER_ADDRS (FastCGI 3.2): addresses, separated by commas. Once it is set only those
    /// listed may connect, so that an empty one allows nobody.
    pub(crate) fn allow_listed(&mut self, list: &str) -> Result<()> {
        self.networks.get_or_insert_with(Vec::new);
        let entries: Vec<&str> = list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        if entries.is_empty() {
            warn!("FCGI_WEB_SERVER_ADDRS is empty: no web server may connect over TCP");
        }
        for entry in entries {
            self.add(entry).ok_or_else(|| Error::new(format!("FCGI_WEB_SERVER_ADDRS: not an address: {entry:?}")))?;
        }
        Ok(())
    }

    fn add(&mut self, text: &str) -> Option<()> {
        let network = Network::parse(text)?;
        self.networks.get_or_insert_with(Vec::new).push(network);
        Some(())
    }

    /// Whether the peer of this connection may be served.
    pub(crate) fn allow(&self, socket: &Socket) -> io::Result<bool> {
        match socket {
            Socket::Tcp(stream) => match &self.networks {
                None => Ok(true),
                Some(networks) => {
                    let address = stream.peer_addr()?.ip();
                    Ok(networks.iter().any(|network| network.contains(address)))
                }
            },
            Socket::Unix(_) if self.users.is_empty() && self.groups.is_empty() => Ok(true),
            Socket::Unix(stream) => {
                let (uid, gid) = credentials(stream)?;
                Ok(self.users.contains(&uid) || self.groups.contains(&gid))
            }
        }
    }
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (address, prefix_len) = match text.split_once('/') {
            Some((address, prefix_len)) => (address, Some(prefix_len.parse().ok()?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len: u32 = prefix_len.unwrap_or(width);
        (prefix_len <= width).then(|| Network { address: mapped(address), prefix_len: 128 - width + prefix_len })
    }

    fn contains(self, address: IpAddr) -> bool {
        // A shift by all 128 bits is none that the type has.
        (mapped(address) ^ self.address).checked_shr(128 - self.prefix_len).unwrap_or(0) == 0
    }
}

fn mapped(address: IpAddr) -> u128 {
    let mapped: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    u128::from(mapped)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn credentials(stream: &std::os::unix::net::UnixStream) -> io::Result<(u32, u32)> {
    let credentials = rustix::net::sockopt::socket_peercred(stream)?;
    Ok((credentials.uid.as_raw(), credentials.gid.as_raw()))
}

/// Where the system does not tell, nobody is allowed.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn credentials(_: &std::os::unix::net::UnixStream) -> io::Result<(u32, u32)> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_contain_their_addresses_and_no_others() {
        let rows = [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("127.0.0.1", "::ffff:127.0.0.1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "::1", false),
            ("::1", "::1", true),
            ("::1", "::2", false),
            ("2001:db8::1", "2001:db8::1:1", false),
            ("2001:db8:0:0:0:0:1:2", "2001:db8:0:0:0:0:9:9", false),
            ("10.0.0.0/8", "10.255.1.2", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("0.0.0.0/0", "203.0.113.9", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "203.0.113.9", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
        ];
        for (range, address, expected) in rows {
            let network = Network::parse(range).expect("a range");
            assert_eq!(network.contains(address.parse().expect("an address")), expected, "{range} {address}");
        }
    }

    #[test]
    fn what_is_no_range_is_an_error() {
        for text in ["", "localhost", "127.0.0.1/33", "::1/129", "127.0.0.1/", "127.0.0.1/x", "127.0.0", "unix:"] {
            let error = Peers::default().allow_address(text).expect_err("no range").to_string();
            assert_eq!(error, format!("not an address or range: {text:?}"));
        }
    }

    #[test]
    fn the_list_may_have_spaces_and_empty_places_but_no_junk() {
        let listed = |list| {
            let mut peers = Peers::default();
            peers.allow_listed(list).map(|()| peers.networks.map_or(0, |networks| networks.len()))
        };
        assert_eq!(listed("127.0.0.1, ::1 ,,10.0.0.1,").ok(), Some(3));
        assert_eq!(listed("").ok(), Some(0));
        assert!(listed("127.0.0.1,junk").is_err());
    }

    #[test]
    fn the_users_of_a_unix_socket_are_told_apart() {
        if !cfg!(target_os = "linux") {
            return;
        }
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let (uid, gid) = credentials(&ours).expect("credentials");
        let socket = Socket::Unix(ours);
        let allows = |users: &[u32], groups: &[u32]| {
            let peers = Peers { users: users.to_vec(), groups: groups.to_vec(), networks: None };
            peers.allow(&socket).expect("known")
        };
        assert!(allows(&[], &[]) && allows(&[uid], &[]) && allows(&[], &[gid]) && allows(&[uid], &[gid + 1]));
        assert!(!allows(&[uid + 1], &[]) && !allows(&[], &[gid + 1]));
    }
}
