//! The probers as a whole, and what the tests of the single checks share: servers with one thing to say.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime::Handle,
    time::{sleep, timeout},
};

use super::*;
use crate::model::{Probe, Span, SystemdCheck, TcpCheck};

/// Longer than anything takes, however busy the machine is.
pub(super) const LONG: Span = Span::from_secs(30);
/// Short enough to be waited for.
pub(super) const SHORT: Span = Span::from_millis(100);

/// A server on this machine that treats each of its connections so; its port. Ends with the runtime.
pub(super) async fn server<F>(treat: impl Fn(TcpStream) -> F + Send + 'static) -> u16
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(treat(stream));
        }
    });
    port
}

/// A server that reads something, answers this and closes.
pub(super) async fn answering(answer: impl Into<Vec<u8>>) -> u16 {
    let answer = Arc::new(answer.into());
    server(move |mut stream| {
        let answer = Arc::clone(&answer);
        async move {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&answer).await;
        }
    })
    .await
}

/// A server that resets what connects to it, after it has read something.
pub(super) async fn resetting() -> u16 {
    server(|mut stream| async move {
        let _ = stream.read(&mut [0; 4096]).await;
        stream.set_zero_linger().unwrap();
    })
    .await
}

/// A server that accepts and says nothing.
pub(super) async fn silent() -> u16 {
    server(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await
}

/// A port that nobody listens at, for so long as the socket is kept.
pub(super) fn closed() -> (TcpSocket, u16) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

fn id(number: u64) -> ReplicaId {
    format!("webapp.{number:010}").parse().unwrap()
}

fn systemd() -> Probe {
    Probe { systemd: Some(SystemdCheck {}), ..Probe::default() }
}

/// Cannot succeed: there is no port.
fn failing() -> Probe {
    Probe { tcp: Some(TcpCheck::default()), ..Probe::default() }
}

fn tcp(port: u16) -> Probe {
    let tcp = Some(TcpCheck { port: Some(port), host: None });
    Probe { tcp, period: Span::from_millis(20), timeout: LONG, ..Probe::default() }
}

fn ready_by(probe: Probe) -> Probing {
    Probing { readiness: Some(probe), ..Probing::default() }
}

fn alive_by(probe: Probe) -> Probing {
    Probing { liveness: Some(probe), ..Probing::default() }
}

fn set(probers: &mut Probers, invocation: &str, target: &Probing) {
    probers.set([(id(1), (invocation.to_owned(), target.clone()))].into());
}

async fn until(probers: &mut Probers, wanted: impl Fn(&Verdict) -> bool) {
    let wait = async {
        while !wanted(&probers.get(&id(1))) {
            probers.changed().await;
        }
    };
    timeout(LONG.get(), wait).await.expect("the verdict comes");
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until no task is left but those that were there.
async fn until_tasks(left: usize) {
    while tasks() > left {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_check_of_the_hosts_own_address_asks_what_agent_toml_has() {
    let tcp = TcpCheck { host: Some(crate::model::OWN_ADDRESS.to_owned()), port: Some(80) };
    let probe = Probe { tcp: Some(tcp), ..Probe::default() };
    for (address, asked) in [("192.0.2.7", "192.0.2.7:80"), ("2001:db8::7", "[2001:db8::7]:80"), ("web1", "web1:80")] {
        let target = Probing { address: Some(address.to_owned()), ..Probing::default() };
        let check = check::Check::new(&probe, &target);
        assert!(matches!(&check, check::Check::Tcp(tcp) if tcp.to_string() == asked), "{check:?}");
    }
    let check = check::Check::new(&probe, &Probing::default());
    assert!(matches!(&check, check::Check::Impossible(why) if why.contains("set `address`")), "{check:?}");
}

#[tokio::test(start_paused = true)]
async fn what_has_no_probes_is_ready_at_once_and_costs_nothing() {
    let mut probers = Probers::new();
    assert_eq!(probers.get(&id(1)), Verdict { ready: false, alive: true, message: None });
    let both = Probing { liveness: Some(systemd()), ..ready_by(systemd()) };
    for (invocation, target) in [("a", Probing::default()), ("b", both)] {
        set(&mut probers, invocation, &target);
        assert_eq!(probers.get(&id(1)), Verdict { ready: true, alive: true, message: None });
        assert_eq!(tasks(), 0);
    }
    let _ = timeout(LONG.get(), probers.changed()).await.expect_err("nothing else changes");
}

#[tokio::test(start_paused = true)]
async fn an_initial_delay_is_waited_for_and_not_begun_again_by_the_same_input() {
    let (mut probers, began) = (Probers::new(), Instant::now());
    let target = ready_by(Probe { initial_delay: Span::from_secs(30), ..systemd() });
    set(&mut probers, "a", &target);
    sleep(Duration::from_secs(20)).await;
    assert!(!probers.get(&id(1)).ready);
    let entry = |number| (id(number), ("a".to_owned(), target.clone()));
    probers.set([entry(1), entry(2)].into());
    until(&mut probers, |verdict| verdict.ready).await;
    assert_eq!(began.elapsed().as_secs(), 30);
    assert!(!probers.get(&id(2)).ready);
    sleep(Duration::from_secs(21)).await;
    assert!(probers.get(&id(2)).ready);
    until_tasks(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_liveness_that_failed_is_final_until_the_next_invocation() {
    let (mut probers, began) = (Probers::new(), Instant::now());
    set(&mut probers, "a", &alive_by(failing()));
    assert_eq!(probers.get(&id(1)), Verdict { ready: true, alive: true, message: None });
    until(&mut probers, |verdict| !verdict.alive).await;
    assert_eq!(began.elapsed().as_secs(), 20, "three failures, a period apart");
    let message = "liveness: the probe names no port, and the service has none";
    assert_eq!(probers.get(&id(1)).message.as_deref(), Some(message));
    until_tasks(0).await;
    set(&mut probers, "b", &alive_by(failing()));
    assert!(probers.get(&id(1)).alive);
}

#[tokio::test(start_paused = true)]
async fn what_was_ready_before_is_ready_until_it_has_failed() {
    let (mut probers, began) = (Probers::new(), Instant::now());
    let target = Probing { was_ready: true, ..ready_by(Probe { initial_delay: LONG, ..failing() }) };
    set(&mut probers, "a", &target);
    assert!(probers.get(&id(1)).ready);
    set(&mut probers, "a", &Probing { was_ready: false, ..target.clone() });
    until(&mut probers, |verdict| !verdict.ready).await;
    assert_eq!(began.elapsed().as_secs(), 20);
    assert!(probers.get(&id(1)).message.is_some_and(|message| message.starts_with("readiness: ")));
}

#[tokio::test(start_paused = true)]
async fn another_probe_of_the_same_invocation_takes_over() {
    let mut probers = Probers::new();
    set(&mut probers, "a", &ready_by(systemd()));
    set(&mut probers, "a", &ready_by(failing()));
    assert!(probers.get(&id(1)).ready, "until the new one has failed");
    until(&mut probers, |verdict| !verdict.ready).await;
    set(&mut probers, "a", &ready_by(Probe { initial_delay: Span::from_secs(10), ..systemd() }));
    assert!(!probers.get(&id(1)).ready);
    until(&mut probers, |verdict| verdict.ready).await;
    set(&mut probers, "b", &ready_by(failing()));
    assert!(!probers.get(&id(1)).ready, "another invocation takes nothing over");
}

#[tokio::test]
async fn a_port_that_opens_makes_ready_and_one_that_closes_unready() {
    let (mut probers, (socket, port)) = (Probers::new(), closed());
    set(&mut probers, "a", &ready_by(tcp(port)));
    let refused = format!("readiness: tcp 127.0.0.1:{port}: Connection refused");
    until(&mut probers, |verdict| verdict.message.as_deref() == Some(&refused)).await;
    let listener = socket.listen(16).unwrap();
    until(&mut probers, |verdict| verdict.ready).await;
    assert_eq!(probers.get(&id(1)), Verdict { ready: true, alive: true, message: None });
    drop(listener);
    until(&mut probers, |verdict| !verdict.ready).await;
    assert_eq!(probers.get(&id(1)).message, Some(refused));
}

#[tokio::test]
async fn the_services_port_and_ipv6_will_do() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["::1", "[::1]"] {
        let mut probers = Probers::new();
        let tcp = Some(TcpCheck { host: Some(host.to_owned()), port: None });
        let probe = Probe { tcp, timeout: LONG, ..Probe::default() };
        set(&mut probers, "a", &Probing { port: Some(port), ..ready_by(probe) });
        until(&mut probers, |verdict| verdict.ready).await;
    }
}

#[tokio::test]
async fn dropping_it_or_the_target_ends_the_tasks() {
    let (mut probers, port) = (Probers::new(), silent().await);
    let servers = tasks();
    let target = Probing { liveness: Some(tcp(port)), ..ready_by(tcp(port)) };
    set(&mut probers, "a", &target);
    assert_eq!(tasks(), servers + 2);
    probers.set(BTreeMap::new());
    assert_eq!(probers.get(&id(1)), Verdict::default());
    until_tasks(servers).await;
    set(&mut probers, "a", &target);
    drop(probers);
    until_tasks(servers).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_outlives_a_waiter_that_is_dropped() {
    let mut probers = Probers::new();
    set(&mut probers, "a", &ready_by(Probe { initial_delay: SHORT, ..systemd() }));
    {
        let mut waiting = Box::pin(probers.changed());
        assert!(futures_util::poll!(&mut waiting).is_pending());
        sleep(LONG.get()).await;
        // It is told of the change, and dropped before it looks.
    }
    timeout(LONG.get(), probers.changed()).await.expect("the change is not lost");
    assert!(probers.get(&id(1)).ready);
}

#[test]
fn what_a_replica_says_is_cut_to_a_message() {
    assert_eq!(brief(" a\tb \r\n"), "a b");
    assert_eq!(brief(&"ä".repeat(200)), "ä".repeat(200));
    assert_eq!(brief(&"ä".repeat(201)), "ä".repeat(200) + "…");
}
