//! `zkops ensemble` against a real server, and against members that misbehave.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use predicates::{prelude::PredicateBooleanExt as _, str::contains};
use serde_json::Value;
use support::ZooKeeper;

/// What a member says to `srvr` and to `mntr`.
type Words = (&'static str, &'static str);

const LEADER: Words = (
    include_str!("../src/model/ensemble/answers/leader-3.8.srvr"),
    include_str!("../src/model/ensemble/answers/leader-3.8.mntr"),
);
const FOLLOWER: Words = (
    include_str!("../src/model/ensemble/answers/follower-3.8.srvr"),
    include_str!("../src/model/ensemble/answers/follower-3.8.mntr"),
);
const SRVR_ALONE: Words = (FOLLOWER.0, "mntr is not executed because it is not in the whitelist.\n");

/// A member that answers like this, as long as the test process lives.
fn member((srvr, mntr): Words) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut word = [0; 4];
            let answer = match stream.read_exact(&mut word).map(|()| &word) {
                Ok(b"ruok") => "imok",
                Ok(b"srvr") => srvr,
                Ok(b"mntr") => mntr,
                _ => continue,
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    address
}

/// A member that accepts connections and says nothing.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

fn zkops(servers: &[&str], words: &[&str]) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_zkops"));
    command.args(["ensemble"]).args(words).env("ZKOPS_ZOOKEEPER", servers.join(",")).env("NO_COLOR", "1");
    command.timeout(Duration::from_secs(60));
    command
}

fn status(servers: &[&str], code: i32) -> Value {
    let output =
        zkops(servers, &["status", "-o", "json", "--timeout", "1s"]).assert().code(code).get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

#[test]
fn a_member_that_is_silent_costs_nobody_elses_time() {
    let ((_one, one), (_two, two), (_three, three)) = (silent(), silent(), silent());
    let (leader, follower) = (member(LEADER), member(FOLLOWER));
    let began = Instant::now();
    let said = status(&[&one, &leader, &two, &follower, &three], 9);
    assert!(began.elapsed() < Duration::from_millis(4500), "one after the other: {:?}", began.elapsed());
    assert_eq!((&said["state"], &said["serving"], &said["voters"]), (&"degraded".into(), &2.into(), &5.into()));
    assert_eq!(said["problems"][0], format!("{one} is down: no answer within 1s"));
    let item = &said["members"][1];
    assert_eq!((&item["mode"], &item["zxid"]), (&"leader".into(), &"0x100000009".into()));
    assert_eq!((&item["synced_followers"], &item["latency_ms"]["max"]), (&2.into(), &18.into()));
}

#[test]
fn nobody_there_is_no_quorum() {
    let (one, two) = (support::free_port(), support::free_port());
    let servers = [one, two].map(|listener| listener.local_addr().unwrap().to_string());
    let said = status(&[&servers[0], &servers[1]], 6);
    assert_eq!(said["state"], "no-quorum");
    assert_eq!(said["members"][0]["problem"], "down: connection refused");
    let refused = zkops(&[&servers[0]], &["rolling-restart"]).assert().code(4);
    refused.stderr(contains("nothing was restarted").and(contains("is down: connection refused")));
}

#[test]
fn an_endless_answer_is_not_read_to_its_end() {
    let endless: &'static str = Box::leak("x".repeat(8 << 20).into_boxed_str());
    let said = status(&[&member((endless, endless))], 6);
    assert!(said["problems"][0].as_str().unwrap().contains("more than 1048576 bytes"), "{said}");
}

#[test]
fn what_srvr_alone_tells() {
    let (leader, follower) = (member(LEADER), member(SRVR_ALONE));
    let shown = zkops(&[&leader, &follower, &member(FOLLOWER)], &["status"]).assert().code(0);
    let note = format!("{follower}: mntr not in its 4lw.commands.whitelist");
    shown.stdout(contains("healthy: 3 of 3 voting members serve, 2 are needed").and(contains(note)));
    let refused = zkops(&[&leader, &follower, &member(FOLLOWER)], &["rolling-restart"]).assert().code(4);
    refused.stderr(contains("mntr is not in its 4lw.commands.whitelist").and(contains("srvr,ruok,mntr")));
}

#[test]
fn a_dry_run_tells_the_order_and_restarts_nothing() {
    let members = [member(LEADER), member(FOLLOWER), member(FOLLOWER)];
    let servers: Vec<&str> = members.iter().map(String::as_str).collect();
    let words = ["rolling-restart", "--dry-run", "--skip", &members[1], "--via", "no-such-command {port}"];
    let port = |member: &String| member.split(':').next_back().unwrap().to_owned();
    let first = format!("1. {} (follower): no-such-command {}", members[2], port(&members[2]));
    let second = format!("2. {} (leader): no-such-command {}", members[0], port(&members[0]));
    zkops(&servers, &words).assert().success().stdout(format!("{first}\n{second}\n"));
    zkops(&servers, &["rolling-restart", "--skip", "zk9"]).assert().code(2).stderr(contains("zk9 is not a member"));
}

#[test]
fn what_is_skipped_is_not_said_to_be_restarted() {
    let members = [member(LEADER), member(FOLLOWER), member(FOLLOWER)];
    let servers: Vec<&str> = members.iter().map(String::as_str).collect();
    let leader = &members[0];
    let refused = zkops(&servers, &["rolling-restart", "--skip", leader, "--via", "false {host}"]).assert().code(4);
    refused
        .stdout("")
        .stderr(contains(format!("nothing was restarted: {leader} leads and is skipped: restart it first")));
    let fails = zkops(&servers, &["rolling-restart", "--skip", &members[1], "--via", "false {host}"]).assert().code(1);
    fails.stderr(contains("restarted: ").not());
    let all = zkops(&servers, &["rolling-restart", "--skip", &members.join(",")]).assert().success();
    all.stdout(contains("all members are restarted but for those skipped: ").and(contains(leader)));
    let waits = ["rolling-restart", "--timeout", "300ms", "--via", "tail -f /dev/null {host}"];
    zkops(&servers, &waits).assert().code(5).stderr(contains(format!("waiting for {} to be back, 0 s", members[1])));
}

#[test]
fn a_command_that_fails_stops_it() {
    let members = [member(LEADER), member(FOLLOWER), member(FOLLOWER)];
    let servers: Vec<&str> = members.iter().map(String::as_str).collect();
    let fails = zkops(&servers, &["rolling-restart", "--via", "false {host}"]).assert().code(1);
    fails.stderr(contains(format!("{}: `false 127.0.0.1` failed: exit status: 1", members[1])));
    let missing = zkops(&servers, &["rolling-restart", "--via", "/no/such/command {host}"]).assert().code(1);
    missing.stderr(contains("cannot run `/no/such/command 127.0.0.1`: No such file or directory"));
    let slow = zkops(&servers, &["rolling-restart", "--timeout", "300ms", "--via", "tail -f /dev/null {host}"])
        .assert()
        .code(5);
    slow.stderr(contains("took longer than 300ms, and was ended"));
    let nothing = zkops(&servers, &["rolling-restart", "--timeout", "300ms", "--via", "true {host}"]).assert().code(5);
    nothing.stderr(contains("has not restarted yet: it is still the same process"));
}

#[test]
fn a_real_server_is_restarted_for_real() {
    let mut server = ZooKeeper::start();
    let address = server.address();
    zkops(&[&address], &["status"]).assert().code(0).stdout(contains("standalone").and(contains("healthy: 1 of 1")));
    let refused = zkops(&[&address], &["rolling-restart"]).assert().code(4);
    refused.stderr(contains("a server without an ensemble: nothing serves while it restarts (--force does it)"));
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("told");
    let mut child = Command::new(env!("CARGO_BIN_EXE_zkops"))
        .args(["-z", &address, "ensemble", "rolling-restart", "--force", "--via"])
        .arg(format!("touch {} {}/{{port}}", told.display(), folder.path().display()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&told);
    server.kill();
    server.resume();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert!(
        said.contains("is back as standalone and in sync after") && said.contains("all members are restarted"),
        "{said}"
    );
}

fn wait_for(file: &Path) {
    let patience = Instant::now() + support::PATIENCE;
    while !file.exists() {
        assert!(Instant::now() < patience, "{} does not appear", file.display());
        thread::sleep(Duration::from_millis(10));
    }
}
