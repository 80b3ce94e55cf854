//! What integration tests stand on: a real Apache ZooKeeper, a proxy that cuts and stalls, and patience.
//!
//! Include it with `#[path = "../support/mod.rs"] mod support;` from a test target in a folder of its own, or with
//! `mod support;` from a file right below `tests/`.

#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

pub mod proxy;
pub mod zookeeper;

use std::{
    future::Future,
    net::TcpListener,
    sync::atomic::{AtomicU16, AtomicU32, Ordering},
    time::Duration,
};

use zkops::store::{Client, Link, Session, SessionConfig, Up, connect_once, init::init};

pub use proxy::Proxy;
pub use zookeeper::ZooKeeper;

/// Longer than anything takes on a busy machine: only a failing test waits this long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A session timeout that survives a busy machine.
pub const LONG: Duration = Duration::from_secs(20);

/// A listener on a port that the kernel gives to nobody by itself: one from the ephemeral range may be taken by
/// another process while its server is down, and a client that tries to connect to it may even reach itself.
pub fn free_port() -> TcpListener {
    static COUNT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 1000).unwrap() * 12;
    loop {
        let port = 20_000 + (first + COUNT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}

/// Waits for `future`, and fails the test with `what` when it takes too long.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, future).await;
    waited.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
}

/// Asks `condition` again and again until it holds.
pub async fn eventually(what: &str, condition: impl AsyncFnMut() -> bool) {
    assert!(holds_in_time(condition).await, "waited {PATIENCE:?} for {what}");
}

/// Whether `condition`, asked again and again, comes to hold: for callers that can tell what they saw instead.
pub async fn holds_in_time(mut condition: impl AsyncFnMut() -> bool) -> bool {
    let holds = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.is_ok()
}

/// A chroot of its own on the shared server, with the tree's roots, and a client that no fault reaches.
pub struct Tree {
    pub chroot: String,
    pub client: Client,
    pub server: &'static ZooKeeper,
}

impl Tree {
    pub async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let chroot = format!("/t{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let server = ZooKeeper::shared();
        let servers = format!("{}{chroot}", server.address());
        let client = connect_once(SessionConfig { servers, session_timeout: LONG }).await.unwrap();
        init(&client).await.unwrap();
        Self { chroot, client, server }
    }

    /// A session straight to the server.
    pub fn session(&self) -> Session {
        self.session_at(&self.server.address(), LONG)
    }

    /// A session to `address`, as of a [`Proxy`].
    pub fn session_at(&self, address: &str, session_timeout: Duration) -> Session {
        Session::start(SessionConfig { servers: format!("{address}{}", self.chroot), session_timeout })
    }

    pub fn proxy(&self) -> Proxy {
        Proxy::start(self.server.address())
    }

    pub async fn exists(&self, path: &str) -> bool {
        self.client.exists(path).await.unwrap()
    }
}

/// The first connection.
pub async fn up(session: &Session) -> Up {
    within("a connection", session.up()).await.unwrap()
}

/// Waits for a link that is as `condition` says.
pub async fn link(session: &Session, what: &str, condition: impl FnMut(&Link) -> bool) -> Link {
    let mut link = session.link();
    within(what, link.wait_for(condition)).await.unwrap().clone()
}

/// Waits for the connection `joins` of session `epoch`.
pub async fn joined(session: &Session, epoch: u64, joins: u64) -> Up {
    let wanted = |link: &Link| link.up().is_some_and(|up| (up.epoch, up.joins) >= (epoch, joins));
    link(session, &format!("connection {joins} of session {epoch}"), wanted).await.up().unwrap().clone()
}
