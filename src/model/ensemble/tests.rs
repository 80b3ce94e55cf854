#![allow(clippy::unwrap_used)]
use rstest::rstest;

use super::{
    answers::ruok,
    file::{Conf, List, differences, in_zoo_cfg, moved, named},
    *,
};

/// The answers of real servers; of `mntr` only the beginning.
const LEADER: &str = include_str!("answers/leader-3.8.srvr");
const FOLLOWER: &str = include_str!("answers/follower-3.8.srvr");
const LEADER_39: &str = include_str!("answers/leader-3.9.srvr");
const LEADER_MNTR: &str = include_str!("answers/leader-3.8.mntr");
const FOLLOWER_MNTR: &str = include_str!("answers/follower-3.8.mntr");
const LEADER_39_MNTR: &str = include_str!("answers/leader-3.9.mntr");

#[test]
fn srvr_of_real_servers() {
    let leader = Srvr::parse(LEADER).unwrap();
    let expected = Srvr {
        version: "3.8.0".into(),
        latency: Latency { min: 1, avg: 7.2, max: 18 },
        connections: 1,
        outstanding: 0,
        zxid: Zxid(0x1_0000_0009),
        mode: Mode::Leader,
        znodes: 12,
    };
    assert_eq!(leader, expected);
    assert_eq!(Srvr::parse(FOLLOWER).unwrap().mode, Mode::Follower);
    let new = Srvr::parse(LEADER_39).unwrap();
    assert_eq!((new.version.as_str(), new.mode, new.znodes), ("3.9.3", Mode::Leader, 5));
    assert!(new.zxid.is_epochs_first() && !leader.zxid.is_epochs_first());
}

#[rstest]
#[case("3.8.4-9316c2a7a97e1666d8f4593f34dd6fc36ecc436c, built on 2024-02-12 22:16 UTC", "3.8.4")]
#[case("3.9.3", "3.9.3")]
fn versions_lose_their_build(#[case] told: &str, #[case] expected: &str) {
    let text = format!("Zookeeper version: {told}\nZxid: 0x0\nMode: standalone\n");
    assert_eq!(Srvr::parse(&text).unwrap().version, expected);
}

#[test]
fn mntr_of_real_servers() {
    let leader = Mntr::parse(LEADER_MNTR).unwrap();
    assert_eq!((leader.synced_followers, leader.learners, leader.quorum_size), (Some(2), Some(3), Some(3)));
    assert_eq!((leader.sessions, leader.watches), (Some(0), Some(0)));
    assert_eq!(leader.counters["zk_bytes_received_count"], 540);
    let follower = Mntr::parse(FOLLOWER_MNTR).unwrap();
    assert_eq!((follower.synced_followers, follower.quorum_size, follower.watches), (None, Some(3), Some(0)));
    let new = Mntr::parse(LEADER_39_MNTR).unwrap();
    assert_eq!((new.synced_followers, new.learners, new.quorum_size), (Some(2), Some(3), Some(3)));
}

#[test]
fn a_lower_counter_is_another_process() {
    let with = |name, value| Mntr { counters: BTreeMap::from([(name, value)]), ..Mntr::default() };
    assert!(with("zk_looking_count", 1).is_another_process(&with("zk_looking_count", 2)));
    assert!(!with("zk_looking_count", 2).is_another_process(&with("zk_looking_count", 2)));
    assert!(!with("zk_commit_count", 0).is_another_process(&with("zk_looking_count", 2)));
}

#[rstest]
#[case("This ZooKeeper instance is not currently serving requests\n", Silence::NotServing)]
#[case("mntr is not executed because it is not in the whitelist.\n", Silence::NotAllowed)]
#[case("", Silence::Unreachable("an empty answer".into()))]
#[case("HTTP/1.1 400 Bad\x1b[2J Request\r\n", Silence::Strange("HTTP/1.1 400 Bad[2J Request".into()))]
fn what_is_no_answer(#[case] text: &str, #[case] expected: Silence) {
    assert_eq!(Srvr::parse(text), Err(expected.clone()));
    assert_eq!(Mntr::parse(text), Err(expected.clone()));
    assert_eq!(ruok(text), Err(expected));
}

#[test]
fn half_an_answer_is_none() {
    let cut = FOLLOWER.split("Mode").next().unwrap();
    assert!(matches!(Srvr::parse(cut), Err(Silence::Strange(_))));
    assert_eq!((ruok("imok"), ruok("imok\n")), (Ok(()), Ok(())));
}

#[test]
fn servers_of_a_configuration() {
    let text = "server.1=zk1:2888:3888:participant\nserver.2=10.0.0.2:2888:3888;0.0.0.0:2182\nnonsense\nserver.x=zk9\n\
                server.3=[::1]:2888:3888:observer;[::2]:2183\nserver.4=a:1:2|b:1:2\nserver.5=-oProxyCommand=x:1:2\nversion=0";
    let found = servers(text);
    let clients: Vec<_> = found.iter().map(|(number, server)| format!("{number} {}", server.client(2181))).collect();
    assert_eq!(clients, ["1 zk1:2181", "2 10.0.0.2:2182", "3 [::2]:2183", "4 a:2181"]);
}

#[rstest]
#[case("zk1", "zk1:2888:3888")]
#[case("[::1]", "[::1]:2888:3888")]
#[case("zk1:2889:3889", "zk1:2889:3889")]
#[case("zk1:2888:3888:observer;2181", "zk1:2888:3888:observer;2181")]
#[case("a:2889:3889|b:2888:3888", "a:2889:3889|b:2888:3888")]
fn members_get_the_usual_ports(#[case] given: &str, #[case] expected: &str) {
    let server = Server::parse(given).unwrap();
    assert_eq!((server.text.as_str(), server.short()), (expected, given));
}

#[rstest]
#[case("")]
#[case("-o")]
#[case("zk1:2888")]
#[case("zk 1")]
#[case("::1")]
#[case("zk1:0:3888")]
#[case("zk1;2181")]
#[case("zk1|zk2")]
#[case("zk1:2888:3888|zk2")]
#[case("zk1:2888:3888|")]
#[case("zk1:2888:3888;")]
#[case("zk1:2888:3888;2181;2182")]
#[case("zk1:2888:3888;-o:2181")]
#[case("zk1:2888:3888:voter")]
#[case("zk1:2888:3888:")]
#[case("zk1:2888:3888:observer:observer")]
#[case("[zk1]:2888:3888")]
#[case("[::ffff:192.0.2.1]")]
#[case("[::1")]
#[case("[::1]2888:3888")]
fn what_is_no_member(#[case] text: &str) {
    assert!(Server::parse(text).is_err(), "{text}");
}

#[rstest]
#[case("zk1,zk2,zk1", "zk1 is there twice")]
#[case("zk1,,zk2", "\"\" is not a member")]
#[case("1=zk1,zk2", "to all members, or to none")]
#[case("1=zk1,1=zk2", "two members have the number 1")]
#[case("0=zk1", "\"0\": a member's number is 1 to 255")]
#[case("zk1,zk2:1", "\"zk2:1\" is not a member")]
fn lists_that_are_none_say_why(#[case] text: &str, #[case] why: &str) {
    let error = text.parse::<List>().unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
}

fn members(text: &str) -> file::Members {
    text.parse::<List>().unwrap().0
}

#[test]
fn a_file_keeps_what_is_not_about_members() {
    let before = "# ours\ntickTime = 1000\nserver.1 = old\nid = 1\n# more\nserver.2=older\nsyncLimit=3\n";
    let conf = Conf { members: members("1=zk1,2=zk2,4=zk4"), id: Some(4) };
    let after = conf.write_into(before);
    assert_eq!(
        after,
        "# ours\ntickTime = 1000\nserver.1 = zk1\nserver.2 = zk2\nserver.4 = zk4\nid = 4\n# more\nsyncLimit=3\n"
    );
    assert_eq!(Conf::parse(&after), Ok(conf.clone()));
    assert_eq!(conf.write_into(&after), after);
    assert_eq!(conf.write_into(""), "server.1 = zk1\nserver.2 = zk2\nserver.4 = zk4\nid = 4\n");
}

#[rstest]
#[case("server.1 zk1", "line 1: \"server.1 zk1\" is not KEY = VALUE")]
#[case("#\nserver.256 = zk1", "line 2: \"256\": a member's number is 1 to 255")]
#[case("server.1 = a\nserver.1 = b", "line 2: \"server.1\" is there twice")]
#[case("id = x", "line 1: \"x\": a member's number is 1 to 255")]
fn files_that_are_none_say_where(#[case] text: &str, #[case] why: &str) {
    assert_eq!(Conf::parse(text).unwrap_err().to_string(), why);
}

#[rstest]
#[case("zk1,zk2,zk3", "zk1,zk2,zk3", 0)]
#[case("zk1,zk2,zk3", "zk1,zk2,zk3,zk4", 1)]
#[case("zk1,zk2,zk3", "zk1,zk9,zk3", 1)]
#[case("zk1,zk2,zk3", "1=zk1,3=zk3,4=zk4", 2)]
#[case("zk1,zk2,zk3", "zk1,zk2,zk3,zk4,zk5", 2)]
#[case("zk1,zk2,zk3", "zk1:2888:3888,zk2,zk3", 0)]
fn differences_are_counted_by_member(#[case] before: &str, #[case] after: &str, #[case] expected: usize) {
    assert_eq!(differences(&members(before), &members(after)), expected);
}

#[test]
fn a_number_with_another_host_has_moved() {
    let (before, after) = (members("zk1,zk2,zk3"), members("ZK1,zk2:2889:3889,zk9,zk4"));
    assert_eq!(moved(&before, &after), [(3, "zk3", "zk9")]);
    assert_eq!(moved(&before, &members("1=zk1,2=zk2,4=zk4")), []);
}

#[test]
fn a_zoo_cfg_names_the_members_of_the_file() {
    let text = "# Written\ndataDir=/var\nclientPort=2181\nserver.1=zk1:2888:3888\nserver.2=zk2:2888:3888\nserver.3=zk3:2888:3888\n";
    assert_eq!(in_zoo_cfg(text), members("zk1,zk2,zk3"));
    assert_eq!(in_zoo_cfg("clientPort=2181\n"), file::Members::new());
}

#[rstest]
#[case("zk2", &[2])]
#[case("ZK2", &[2])]
#[case("zk3.example.org", &[3])]
#[case("zk3", &[3])]
#[case("zk4", &[4])]
#[case("web1", &[])]
fn a_host_knows_itself(#[case] host: &str, #[case] expected: &[u8]) {
    let members = members("zk1,zk2,zk3.example.org,10.0.0.4");
    assert_eq!(named(&members, host, |address| address == "10.0.0.4" && host == "zk4"), expected);
}
