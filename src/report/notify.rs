//! A daemon's conversation with the service manager: `sd_notify(3)`, its watchdog, its signals.

use std::{
    env,
    future::pending,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    pin::pin,
    time::Duration,
};

use crate::model::one_line;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::{Interval, MissedTickBehavior, interval},
};

/// What the service manager wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// SIGTERM or SIGINT: stop.
    Stop,
    /// The watchdog was fed: nothing to do, the loop has shown that it turns.
    Fed,
}

/// The service manager, as the daemon's loop sees it. Polled in that loop and nowhere else, so that the watchdog is
/// only fed while the loop turns.
#[derive(Debug)]
pub struct ServiceManager {
    socket: Option<Socket>,
    watchdog: Option<Interval>,
    term: Signal,
    int: Signal,
    ready: bool,
    status: String,
    /// Whether it does not take what it is told: it is busy, and has a queue for a few messages alone.
    is_deaf: bool,
}

impl ServiceManager {
    /// Takes the signals over and reads the watchdog's interval from the environment.
    ///
    /// # Errors
    /// When the signal handlers cannot be installed, or the service manager's socket cannot be reached.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            socket: Socket::open()?,
            watchdog: sd_notify::watchdog_enabled().map(feeding),
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            ready: false,
            status: String::new(),
            is_deaf: false,
        })
    }

    /// Waits for the service manager to want something; feeds the watchdog when that is due. Cancel-safe.
    pub async fn call(&mut self) -> Call {
        let fed = async {
            match &mut self.watchdog {
                Some(interval) => interval.tick().await,
                None => pending().await,
            };
        };
        tokio::select! {
            () = fed => { self.send(&[NotifyState::Watchdog]); Call::Fed }
            _ = self.term.recv() => Call::Stop,
            _ = self.int.recv() => Call::Stop,
        }
    }

    /// Waits for the work and feeds the watchdog meanwhile; `None` when the daemon is told to stop before it is done.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                call = self.call() => if call == Call::Stop { return None },
                done = &mut work => return Some(done),
            }
        }
    }

    /// Says `READY=1`, once.
    pub fn ready(&mut self) {
        self.ready = self.ready || self.send(&[NotifyState::Ready]);
    }

    /// Says `STATUS=…`, when it changed.
    pub fn status(&mut self, status: &str) {
        if self.status != status && self.send(&[NotifyState::Status(status)]) {
            status.clone_into(&mut self.status);
        }
    }

    /// Says `STOPPING=1`.
    pub fn stopping(&mut self, status: &str) {
        self.send(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }

    /// Whether the service manager was told; it is when there is none.
    fn send(&mut self, states: &[NotifyState<'_>]) -> bool {
        let Some(socket) = &mut self.socket else { return true };
        let sent = socket.send(&message(states));
        match &sent {
            Err(error) if !self.is_deaf => {
                tracing::warn!("the service manager cannot be told how this daemon is: {error}");
            }
            Ok(()) if self.is_deaf => tracing::info!("the service manager listens again"),
            _ => {}
        }
        self.is_deaf = sent.is_err();
        sent.is_ok()
    }
}

/// The message of the protocol, which is one of lines: whoever could begin another (`MAINPID=…`) could have the manager do
/// things.
fn message(states: &[NotifyState<'_>]) -> String {
    states.iter().map(|state| one_line(&state.to_string()).into_owned()).collect::<Vec<_>>().join("\n")
}

/// The service manager's socket. It is kept open, so that a daemon that has no descriptor left can still feed the
/// watchdog; and one that is full is not waited for.
#[derive(Debug)]
struct Socket {
    address: SocketAddr,
    open: UnixDatagram,
}

impl Socket {
    /// `None` = this is not run by a service manager.
    fn open() -> io::Result<Option<Self>> {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else { return Ok(None) };
        let name = path.as_encoded_bytes().strip_prefix(b"@").map(SocketAddr::from_abstract_name);
        let address = name.unwrap_or_else(|| SocketAddr::from_pathname(&path))?;
        Ok(Some(Self { open: Self::connect(&address)?, address }))
    }

    fn connect(address: &SocketAddr) -> io::Result<UnixDatagram> {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(address)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    fn send(&mut self, text: &str) -> io::Result<()> {
        match self.open.send(text.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
            // The manager may have been started again, with a socket of the same name.
            Err(_) => {
                self.open = Self::connect(&self.address)?;
                self.open.send(text.as_bytes()).map(drop)
            }
        }
    }
}

/// A third of the limit, so that one late turn costs nothing: `sd_watchdog_enabled(3)` asks for half of it.
fn feeding(limit: Duration) -> Interval {
    let mut interval = interval(limit / 3);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn socket(address: &SocketAddr) -> Socket {
        Socket { address: address.clone(), open: Socket::connect(address).unwrap() }
    }

    #[test]
    fn no_status_begins_another_line() {
        let said = "waits for x\nMAINPID=243\nSTATUS=fine\u{1b}[2J";
        let message = message(&[NotifyState::Stopping, NotifyState::Status(said)]);
        assert_eq!(message, "STOPPING=1\nSTATUS=waits for x\\nMAINPID=243\\nSTATUS=fine\\u{1b}[2J");
    }

    #[test]
    fn a_manager_that_does_not_listen_is_not_waited_for() {
        let address = SocketAddr::from_abstract_name(format!("zkops-notify-{}", std::process::id())).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let mut socket = socket(&address);
        let sent = (0..100_000).find_map(|_| socket.send("WATCHDOG=1\n").err()).unwrap();
        assert_eq!(sent.kind(), io::ErrorKind::WouldBlock);
        let mut text = [0; 100];
        assert_eq!(manager.recv(&mut text).unwrap(), "WATCHDOG=1\n".len());
        assert!(socket.send("READY=1\n").is_ok());
    }

    #[test]
    fn a_manager_that_was_started_again_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let address = SocketAddr::from_pathname(&path).unwrap();
        let before = UnixDatagram::bind_addr(&address).unwrap();
        let mut socket = socket(&address);
        drop(before);
        std::fs::remove_file(&path).unwrap();
        let after = UnixDatagram::bind_addr(&address).unwrap();
        socket.send("WATCHDOG=1\n").unwrap();
        assert_eq!(after.recv(&mut [0; 100]).unwrap(), "WATCHDOG=1\n".len());
    }
}
