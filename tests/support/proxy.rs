//! A TCP proxy in front of ZooKeeper that cuts, stalls and heals, and counts what passes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Connections stay, nothing passes, nobody is told.
    Stalled,
    /// Requests pass, answers do not.
    Deaf,
    /// Connections are closed, new ones refused.
    Cut,
}

pub struct Proxy {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// In front of the server at `upstream`. To be called on a runtime.
    pub fn start(upstream: String) -> Self {
        let listener = super::free_port();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            mode: watch::Sender::new(Mode::Open),
            requests: AtomicUsize::new(0),
            last: AtomicUsize::new(usize::MAX),
        });
        let task = tokio::spawn(listen(listener, port, upstream, state.clone()));
        Self { port, state, task }
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn cut(&self) {
        self.state.mode.send_replace(Mode::Cut);
    }

    pub fn stall(&self) {
        self.state.mode.send_replace(Mode::Stalled);
    }

    pub fn deafen(&self) {
        self.state.mode.send_replace(Mode::Deaf);
    }

    pub fn heal(&self) {
        self.state.mode.send_replace(Mode::Open);
    }

    /// Closes all connections; new ones are welcome.
    pub async fn flap(&self) {
        self.cut();
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.heal();
    }

    /// How many requests, other than pings, have come from clients.
    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Stalls once so many more requests have come.
    pub fn stall_after(&self, requests: usize) {
        self.state.last.store(self.requests() + requests, Ordering::Relaxed);
    }

    /// Waits until it stalls.
    pub async fn stalled(&self) {
        self.state.mode.subscribe().wait_for(|mode| *mode == Mode::Stalled).await.unwrap();
    }
}

struct State {
    mode: watch::Sender<Mode>,
    requests: AtomicUsize,
    /// The number of the request after which it stalls.
    last: AtomicUsize,
}

impl State {
    fn count(&self) {
        if self.requests.fetch_add(1, Ordering::Relaxed) + 1 == self.last.load(Ordering::Relaxed) {
            self.mode.send_replace(Mode::Stalled);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn listen(first: TcpListener, port: u16, upstream: String, state: Arc<State>) {
    let mut mode = state.mode.subscribe();
    let mut listener = Some(first);
    loop {
        if *mode.borrow() == Mode::Cut {
            listener = None;
        }
        if mode.wait_for(|mode| *mode != Mode::Cut).await.is_err() {
            return;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => TcpListener::bind(("127.0.0.1", port)).await.unwrap(),
        };
        let mut cut = mode.clone();
        let accept = async {
            loop {
                if let Ok((client, _)) = open.accept().await {
                    tokio::spawn(relay(client, upstream.clone(), state.clone()));
                }
            }
        };
        tokio::select! {
            _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
            () = accept => {}
        }
    }
}

async fn relay(client: TcpStream, upstream: String, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (mode, mut cut) = (state.mode.subscribe(), state.mode.subscribe());
    let mut count = Counter::new(state);
    tokio::select! {
        _ = cut.wait_for(|mode| *mode == Mode::Cut) => {}
        () = pump(from_client, to_server, mode.clone(), &[Mode::Open, Mode::Deaf], |data| count.take(data)) => {}
        () = pump(from_server, to_client, mode, &[Mode::Open], |_| {}) => {}
    }
}

/// Passes data on while the mode is one of `passing`. What was held back when its sender goes is lost, as packets are.
async fn pump(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut mode: watch::Receiver<Mode>,
    passing: &[Mode],
    mut seen: impl FnMut(&[u8]),
) {
    let mut held = Vec::new();
    loop {
        let passes = passing.contains(&*mode.borrow_and_update());
        if passes && !held.is_empty() {
            if to.write_all(&held).await.is_err() {
                return;
            }
            held.clear();
        }
        let before = held.len();
        tokio::select! {
            changed = mode.changed() => if changed.is_err() { return },
            read = from.read_buf(&mut held) => match read {
                Ok(1..) => seen(&held[before..]),
                _ => return,
            },
        }
    }
}

/// Counts the requests in a client's stream of frames: a length, and after the first frame a number and a type.
struct Counter {
    pending: Vec<u8>,
    connected: bool,
    state: Arc<State>,
}

impl Counter {
    const PING: i32 = 11;

    fn new(state: Arc<State>) -> Self {
        Self { pending: Vec::new(), connected: false, state }
    }

    fn take(&mut self, data: &[u8]) {
        self.pending.extend_from_slice(data);
        let number = |bytes: &[u8]| i32::from_be_bytes(bytes.try_into().unwrap());
        while self.pending.len() >= 4 {
            let end = 4 + usize::try_from(number(&self.pending[..4])).unwrap();
            if self.pending.len() < end {
                return;
            }
            if self.connected && number(&self.pending[8..12]) != Self::PING {
                self.state.count();
            }
            self.connected = true;
            self.pending.drain(..end);
        }
    }
}
