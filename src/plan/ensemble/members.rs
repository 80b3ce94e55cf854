//! Which member of the ensemble an address is that somebody listed: `127.0.0.1` on a member's own machine, a tunnel, a
//! second name.

use std::{collections::BTreeSet, net::IpAddr};

use crate::model::Address;

/// An address that the connection string names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Where it was asked.
    pub address: Address,
    /// What the name resolves to; loopback addresses, too, where one of them is this machine's.
    pub ips: BTreeSet<IpAddr>,
    /// The lowest byte of the number of the server that gave a session there ([`server_of`]); `None` without a session.
    pub server: Option<u8>,
}

/// A member that `/zookeeper/config` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its number.
    pub id: u32,
    /// Where clients reach it.
    pub address: Address,
    /// What the name resolves to, as in [`Known::ips`].
    pub ips: BTreeSet<IpAddr>,
    /// Whether the configuration tells the client port; else the address's is a guess.
    pub tells_port: bool,
}

/// The lowest byte of the number of the server that gave this session: the highest of the session's
/// (`SessionTrackerImpl.initializeNextSessionId`, ZooKeeper 3.4 to 3.9).
pub const fn server_of(session: i64) -> u8 {
    session.to_be_bytes()[0]
}

/// The members that nobody listed.
pub fn unlisted<'a>(known: &[Known], named: &'a [Named]) -> Vec<&'a Named> {
    named.iter().filter(|member| !known.iter().any(|listed| is_member(listed, member, named))).collect()
}

/// The addresses that lead to a member which is listed by an earlier one, too.
pub fn doubles<'a>(known: &'a [Known], named: &[Named]) -> Vec<&'a Address> {
    let again = |(at, listed): (usize, &'a Known)| {
        known[..at].iter().any(|first| is_same(first, listed, named)).then_some(&listed.address)
    };
    known.iter().enumerate().filter_map(again).collect()
}

/// The session's word counts, where it is clear; else names and addresses.
fn is_member(listed: &Known, member: &Named, all: &[Named]) -> bool {
    if let Some(id) = member_of(listed, all) {
        return id == member.id;
    }
    let port = listed.address.port == member.address.port || !member.tells_port;
    port && is_host((&listed.address, &listed.ips), (&member.address, &member.ips))
}

fn is_same(one: &Known, other: &Known, all: &[Named]) -> bool {
    match (member_of(one, all), member_of(other, all)) {
        (Some(one), Some(other)) => one == other,
        _ => one.address.port == other.address.port && is_host((&one.address, &one.ips), (&other.address, &other.ips)),
    }
}

/// The one member that gave the session, unless several have that byte.
fn member_of(listed: &Known, all: &[Named]) -> Option<u32> {
    let server = listed.server?;
    let mut ids = all.iter().map(|member| member.id).filter(|id| id.to_be_bytes()[3] == server);
    ids.next().filter(|_| ids.next().is_none())
}

fn is_host((one, ips): (&Address, &BTreeSet<IpAddr>), (other, others): (&Address, &BTreeSet<IpAddr>)) -> bool {
    one.host.eq_ignore_ascii_case(&other.host) || !ips.is_disjoint(others)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rstest::rstest;

    use super::*;

    /// `HOST[:PORT]=IP,…[#SERVER]`
    fn known(text: &str) -> Known {
        let (text, server) = text.split_once('#').map_or((text, None), |(text, server)| (text, server.parse().ok()));
        let (address, ips) = parts(text);
        Known { address, ips, server }
    }

    fn parts(text: &str) -> (Address, BTreeSet<IpAddr>) {
        let (host, ips) = text.split_once('=').unwrap();
        let (host, port) = host.split_once(':').map_or((host, 2181), |(host, port)| (host, port.parse().unwrap()));
        let ips = ips.split(',').filter(|ip| !ip.is_empty()).map(|ip| ip.parse().unwrap()).collect();
        (Address::new(Some(host), port), ips)
    }

    /// zk1 to zk3, seen from zk1's machine; without client ports, as `ensemble.conf` has them.
    fn named() -> Vec<Named> {
        let lines = [(1, "zk1=10.0.0.1,127.0.0.1,::1"), (2, "zk2=10.0.0.2"), (3, "zk3=10.0.0.3")];
        let member = |(id, line)| {
            let (address, ips) = parts(line);
            Named { id, address, ips, tells_port: false }
        };
        lines.map(member).into()
    }

    #[rstest]
    #[case::the_members_own_machine(&["127.0.0.1=127.0.0.1#1"], "zk2 zk3", "")]
    #[case::a_tunnel(&["localhost:9999=127.0.0.1#2"], "zk1 zk3", "")]
    #[case::down_on_its_own_machine(&["127.0.0.1=127.0.0.1", "zk2=10.0.0.2#2"], "zk3", "")]
    #[case::by_address(&["10.0.0.2=10.0.0.2", "ZK3="], "zk1", "")]
    #[case::all_and_one_again(&["zk1=10.0.0.1#1", "zk2=10.0.0.2#2", "zk3=10.0.0.3#3", "other=10.9.9.9#1"], "", "other")]
    #[case::one_again_and_down(&["zk3=10.0.0.3", "10.0.0.3=10.0.0.3"], "zk1 zk2", "10.0.0.3")]
    #[case::two_tunnels(&["localhost:9991=127.0.0.1#1", "localhost:9992=127.0.0.1#2"], "zk3", "")]
    #[case::a_number_that_nobody_has(&["zk1=10.0.0.1#9"], "zk2 zk3", "")]
    fn an_address_is_the_member_that_it_leads_to(#[case] lines: &[&str], #[case] new: &str, #[case] twice: &str) {
        let known: Vec<Known> = lines.iter().map(|line| known(line)).collect();
        let named = named();
        let hosts = |hosts: Vec<&Address>| hosts.into_iter().map(|it| it.host.as_str()).collect::<Vec<_>>().join(" ");
        assert_eq!(hosts(unlisted(&known, &named).into_iter().map(|member| &member.address).collect()), new);
        assert_eq!(hosts(doubles(&known, &named)), twice);
    }

    #[test]
    fn numbers_with_one_lowest_byte_tell_nothing() {
        let mut named = named();
        named[2].id = 0x102;
        let known = [known("tunnel=10.9.9.9#2")];
        assert_eq!(unlisted(&known, &named).len(), 3);
    }

    #[test]
    fn the_highest_byte_is_the_servers() {
        assert_eq!((server_of(0x0100_0000_2b2c_0000), server_of(-1)), (1, 255));
    }
}
