//! A daemon's conversation with the service manager: `sd_notify(3)`, its watchdog, its signals.

use std::{future::pending, io, time::Duration};

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
    watchdog: Option<Interval>,
    term: Signal,
    int: Signal,
    ready: bool,
    status: String,
}

impl ServiceManager {
    /// Takes the signals over and reads the watchdog's interval from the environment.
    ///
    /// # Errors
    /// When the signal handlers can't be installed.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            watchdog: sd_notify::watchdog_enabled().map(feeding),
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            ready: false,
            status: String::new(),
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
            () = fed => { send(&[NotifyState::Watchdog]); Call::Fed }
            _ = self.term.recv() => Call::Stop,
            _ = self.int.recv() => Call::Stop,
        }
    }

    /// Says `READY=1`, once.
    pub fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            send(&[NotifyState::Ready]);
        }
    }

    /// Says `STATUS=…`, when it changed.
    pub fn status(&mut self, status: &str) {
        if self.status != status {
            status.clone_into(&mut self.status);
            send(&[NotifyState::Status(status)]);
        }
    }

    /// Says `STOPPING=1`.
    pub fn stopping(&mut self, status: &str) {
        send(&[NotifyState::Stopping, NotifyState::Status(status)]);
    }
}

/// A third of the limit, so that one late turn costs nothing: `sd_watchdog_enabled(3)` asks for half of it.
fn feeding(limit: Duration) -> Interval {
    let mut interval = interval(limit / 3);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager can't be told");
    }
}
