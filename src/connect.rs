//! TCP connections to whatever is asked how it does: replicas, ZooKeeper's members.

mod resolve;

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use self::resolve::LookupError;
pub(crate) use self::resolve::Resolver;
use crate::model::Address;

/// The names of what is asked how it does. Others (`ZooKeeper`'s own) have a resolver of theirs: a service whose name
/// server is dead keeps nobody else from being found.
static NAMES: Resolver = Resolver::new(8);

/// How much of a replica's answer is read, in bytes.
pub(crate) const ANSWER: usize = 64 * 1024;

/// The host's addresses.
pub(crate) async fn look_up(address: &Address) -> Result<Vec<SocketAddr>, LookupError> {
    NAMES.look_up(&address.host, address.port).await
}

/// Connects to the first of the host's addresses that accepts.
pub(crate) async fn connect(address: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(look_up(address).await?.as_slice()).await?;
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

/// Whether the error is this process's or this machine's own shortage (descriptors, memory, ports, threads, an answer of
/// the resolver): it says nothing of whoever was to be asked.
pub(crate) fn is_own(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const SHORT: [Errno; 7] =
        [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS, Errno::AGAIN, Errno::ADDRNOTAVAIL, Errno::ADDRINUSE];
    let lookup = error.get_ref().and_then(|inner| inner.downcast_ref::<LookupError>());
    let short = Errno::from_io_error(error).is_some_and(|errno| SHORT.contains(&errno));
    short || matches!(lookup, Some(LookupError::NoAnswer(_)))
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn own_shortages_are_told_from_what_the_other_side_does() {
        for own in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::ADDRNOTAVAIL] {
            assert!(is_own(&own.into()), "{own}");
        }
        assert!(is_own(&LookupError::NoAnswer("\"db\" cannot be looked up".to_owned()).into()));
        for theirs in [Errno::CONNREFUSED, Errno::CONNRESET, Errno::HOSTUNREACH, Errno::NOENT, Errno::ACCESS] {
            assert!(!is_own(&theirs.into()), "{theirs}");
        }
        assert!(!is_own(&LookupError::NoSuchName("db".to_owned()).into()));
        assert!(!is_own(&io::ErrorKind::UnexpectedEof.into()));
    }
}
