//! TCP connections to whatever is asked how it does: replicas, ZooKeeper's members.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::model::Address;

/// How much of a replica's answer is read, in bytes.
pub(crate) const ANSWER: usize = 64 * 1024;

/// Connects to the first of the host's addresses that accepts.
pub(crate) async fn connect(address: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    // A port out of the range that outgoing connections get, with nobody listening, may be connected to itself.
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) if local == peer => Err(rustix::io::Errno::CONNREFUSED.into()),
        _ => Ok(stream),
    }
}

/// Says one of ZooKeeper's four-letter words, and reads the answer until the server closes, or `most` bytes of it.
pub(crate) async fn say(word: &str, address: &Address, most: usize) -> io::Result<String> {
    let mut stream = connect(address).await?;
    stream.write_all(word.as_bytes()).await?;
    let answer = read(&mut stream, most).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Reads until the other side ends, or enough. What came before an error counts: a server may reset what it has said.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Vec<u8>> {
    let mut answer = Vec::new();
    let mut limited = stream.take(most as u64);
    match limited.read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// What went wrong, without the system's error number.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_owned()
}
