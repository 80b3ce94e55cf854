//! Connections of whoever likes: any local user reaches a port on 127.0.0.1. They may be many, silent or slow, and must
//! take neither descriptors nor time from what the daemon is for.
//!
//! Few are open at once: the newest takes the place of the oldest, so that who asks and reads is served whoever else
//! sits there. One request each, within a limit. While the process itself runs out of descriptors, none at all.

use std::{collections::VecDeque, io, os::fd::AsRawFd, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use rustix::process::{Resource, getrlimit};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinHandle,
    time::{sleep, timeout},
};

/// What the connections to one socket may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// So many at once.
    pub(super) connections: usize,
    /// For so long each, from its first byte to its last.
    pub(super) time: Duration,
    /// So many descriptors are left to everything else: probes, the bus, ZooKeeper, files.
    pub(super) spare: u64,
}

impl Limits {
    /// Enough for every collector of metrics and a few people.
    pub(super) const LOCAL: Self = Self { connections: 32, time: Duration::from_secs(10), spare: 128 };
}

/// How long nobody is let in after the system refused a connection.
const REST: Duration = Duration::from_millis(500);

/// A socket that connections come in by.
pub(super) trait Listener: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + AsRawFd + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<TcpStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

impl Listener for UnixListener {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Self::accept(self).await.map(|(stream, _)| stream)
    }
}

/// Serves the socket, for ever.
pub(super) async fn serve(listener: impl Listener, app: Router, limits: Limits) {
    let mut open: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let Ok(stream) = listener.accept().await else {
            // It has no descriptor to give, or whoever came is gone.
            sleep(REST).await;
            continue;
        };
        open.retain(|connection| !connection.is_finished());
        if is_short(&stream, limits.spare) {
            continue;
        }
        if open.len() >= limits.connections
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
            // Its descriptor is free when it has ended.
            let _ = oldest.await;
        }
        open.push_back(tokio::spawn(converse(stream, app.clone(), limits.time)));
        // A flood of connections must not keep the thread to itself.
        tokio::task::yield_now().await;
    }
}

/// One request, one answer.
async fn converse<S>(stream: S, app: Router, limit: Duration)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut server = http1::Builder::new();
    let connection = server.keep_alive(false).serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    // What goes wrong is the other side's to know.
    let _ = timeout(limit, connection).await;
}

/// Whether few descriptors are left: a new one has the lowest number that is free (open(2)).
fn is_short(stream: &impl AsRawFd, spare: u64) -> bool {
    let number = u64::try_from(stream.as_raw_fd()).unwrap_or_default();
    getrlimit(Resource::Nofile).current.is_some_and(|most| number.saturating_add(spare) >= most)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        time::Instant,
    };

    use super::*;

    const LIMITS: Limits = Limits { connections: 4, time: Duration::from_secs(60), spare: 0 };

    async fn start(limits: Limits) -> std::net::SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Router::new().route("/metrics", get(|| async { "up 1" })), limits));
        address
    }

    /// What the server says before it closes; `None` = it was closed without a word.
    async fn ask(stream: &mut TcpStream) -> Option<String> {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(String::from_utf8(answer).unwrap()).filter(|answer| !answer.is_empty())
    }

    #[tokio::test]
    async fn many_silent_connections_keep_nobody_from_an_answer() {
        let address = start(LIMITS).await;
        let mut silent = Vec::new();
        for _ in 0..50 {
            silent.push(TcpStream::connect(address).await.unwrap());
            let answer = ask(&mut TcpStream::connect(address).await.unwrap()).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("up 1"), "{answer}");
            assert!(answer.to_ascii_lowercase().contains("connection: close"));
        }
        let mut closed = 0;
        for stream in &mut silent {
            let ended = timeout(Duration::from_millis(50), stream.read(&mut [0; 1])).await;
            closed += usize::from(matches!(ended, Ok(Ok(0) | Err(_))));
        }
        assert!(closed >= 50 - LIMITS.connections, "{closed} were closed");
    }

    #[tokio::test]
    async fn one_that_is_slow_is_closed_when_its_time_is_up() {
        let address = start(Limits { time: Duration::from_millis(200), ..LIMITS }).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        let began = Instant::now();
        // Each byte in time, the whole never.
        while slow.write_all(b"G").await.is_ok() && began.elapsed() < Duration::from_secs(30) {
            sleep(Duration::from_millis(20)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    #[tokio::test]
    async fn nobody_is_let_in_while_descriptors_are_short() {
        let address = start(Limits { spare: u64::MAX, ..LIMITS }).await;
        assert_eq!(ask(&mut TcpStream::connect(address).await.unwrap()).await, None);
    }
}
