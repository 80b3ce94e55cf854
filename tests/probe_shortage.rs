//! What a probe finds while the agent itself has no descriptor left. In a process of its own, as it takes all of them.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{collections::BTreeMap, fs::File, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use zkops::{
    model::{ExecCheck, Probe, Probing, ReplicaId, Span, TcpCheck, Verdict},
    probe::Probers,
};

const LONG: Duration = Duration::from_secs(30);

fn id(number: u64) -> ReplicaId {
    format!("webapp.{number:010}").parse().unwrap()
}

fn strict(probe: Probe) -> Probing {
    let probe = Probe { period: Span::from_millis(20), failure_threshold: 1, ..probe };
    Probing { readiness: Some(probe.clone()), liveness: Some(probe), ..Probing::default() }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(LONG, wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test]
async fn a_shortage_of_the_agents_own_is_no_failure_of_a_replica() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // The kernel accepts; to take a connection, this process would need a descriptor.
    let tcp = strict(Probe { tcp: Some(TcpCheck { port: Some(port), host: None }), ..Probe::default() });
    let exec = ExecCheck { command: vec!["/bin/true".to_owned()] };
    let exec = strict(Probe { exec: Some(exec), ..Probe::default() });
    let mut probers = Probers::new();
    probers.set(BTreeMap::from([(id(1), ("a".to_owned(), tcp)), (id(2), ("a".to_owned(), exec))]));
    until("ready", || (1..=2).all(|number| probers.get(&id(number)).ready)).await;

    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), ..limit }).unwrap();
    let mut all = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        all.push(file);
    }
    until("not asked", || probers.not_asked().is_some()).await;
    assert!(probers.not_asked().unwrap().contains("Too many open files"), "{:?}", probers.not_asked());
    sleep(Duration::from_millis(500)).await;
    for number in 1..=2 {
        assert_eq!(probers.get(&id(number)), Verdict { ready: true, alive: true, message: None });
    }

    drop(all);
    until("asked again", || probers.not_asked().is_none()).await;
    assert!(probers.get(&id(1)).ready);
}
