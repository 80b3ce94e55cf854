//! Everything ZooKeeper. Paths and changes are values of [`tree`](crate::tree).
//!
//! ```text
//!            Session ── keeps one session alive, publishes Link { Down | Suspended | Up { epoch, joins, client } }
//!               │
//!      ┌────────┼──────────┐
//!   Mirror   Presence   Election        each acts again on every (epoch, joins)
//!   what is  our ephemerals  who leads
//!      └────────┴──────────┘
//!            Client ── get, children, commit (one transaction)
//! ```
//!
//! Every connection is one `(epoch, joins)`: `epoch` counts sessions, `joins` the connections of a session. Watches
//! belong to a connection, ephemerals to a session, and whatever happened between two connections is found by
//! reading again, never by hoping for an event.

mod client;
mod commit;
mod connection;
pub mod election;
mod error;
pub mod init;
pub mod mirror;
pub mod presence;
mod servers;
pub mod session;
pub mod subtree;
mod watch;

pub use client::Client;
pub use commit::OpResult;
pub use election::{Election, Leadership, Lock};
pub use error::{CommitError, Conflict, StoreError};
pub use mirror::{Barrier, Mirror};
pub use presence::{Applied, Presence, PresenceError};
pub use servers::addresses;
pub use session::{Link, Session, SessionConfig, Up, connect_once};
