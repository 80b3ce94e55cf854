//! Connecting to a replica.

use std::{fmt, io};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    net::TcpStream,
};

/// How much of an answer is read, in bytes.
pub(super) const ANSWER: usize = 64 * 1024;

/// Where a check connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// A name or an address; an IPv6 one without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    /// This machine when no host is named. An IPv6 address may be in brackets.
    pub(super) fn new(host: Option<&str>, port: u16) -> Self {
        let host = host.unwrap_or("127.0.0.1");
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self { host: bare.to_owned(), port }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// Connects; over TCP, to the first of the host's addresses that accepts.
pub(super) async fn connect(address: &Address) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|error| words(&error))?;
    // A port out of the range that outgoing connections get, with nobody listening, may be connected to itself.
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) if local == peer => Err(words(&io::Error::from(rustix::io::Errno::CONNREFUSED))),
        _ => Ok(stream),
    }
}

/// Reads until the other side ends, or enough. What came before an error counts: a server may reset what it has said.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, String> {
    let mut answer = Vec::new();
    let mut limited = stream.take(ANSWER as u64);
    match limited.read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => Err(words(&error)),
        _ => Ok(answer),
    }
}

/// What went wrong, without the system's error number.
pub(super) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}
