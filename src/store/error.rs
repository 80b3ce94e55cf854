//! What can go wrong between zkops and ZooKeeper, told apart by what a caller can do about it.

use zookeeper_client as zk;

/// Why a read, or a connection, failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The connection string is not `host:port,host:port/chroot`.
    #[error("\"{servers}\" is not a list of ZooKeeper servers: {reason}")]
    BadServers {
        /// The string as given.
        servers: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No server could be reached, or none of those reached would serve.
    #[error("no ZooKeeper server of \"{servers}\" can be reached: {reason}")]
    Unreachable {
        /// The connection string.
        servers: String,
        /// What each server answered.
        reason: String,
    },
    /// There is no connection now, or it was lost before the answer came.
    #[error("the connection to ZooKeeper is down")]
    Disconnected,
    /// The chroot of the connection string is not there: nothing can be created below it.
    #[error("the root {chroot} does not exist in ZooKeeper: run `zkops init` first")]
    NoChroot {
        /// The chroot's path.
        chroot: String,
    },
    /// ZooKeeper refused.
    #[error("ZooKeeper refused to {what}")]
    Refused {
        /// What was asked, as in `read /services`.
        what: String,
        /// Its answer.
        #[source]
        source: zk::Error,
    },
}

impl StoreError {
    /// Sorts the client library's error: a lost connection, or a refusal of `what`.
    pub(super) fn of(source: zk::Error, what: impl FnOnce() -> String) -> Self {
        if connection_lost(&source) { Self::Disconnected } else { Self::Refused { what: what(), source } }
    }
}

/// Whether the answer never came, so that the request may or may not have been carried out.
pub(super) fn connection_lost(error: &zk::Error) -> bool {
    use zk::Error::{
        ClientClosed, ConnectionLoss, Custom, NoHosts, SessionExpired, SessionMoved, Timeout, UnexpectedError,
    };
    matches!(
        error,
        ConnectionLoss
            | SessionExpired
            | SessionMoved
            | ClientClosed
            | NoHosts
            | Timeout
            | Custom(_)
            | UnexpectedError(_)
    )
}

/// Why an operation of a transaction could not be carried out: the tree is not as the caller thought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The node is at another version.
    #[error("it has changed meanwhile")]
    BadVersion,
    /// The node, or for a create its parent, does not exist.
    #[error("it does not exist")]
    NoNode,
    /// The node to create exists.
    #[error("it exists already")]
    NodeExists,
    /// The node to delete has children.
    #[error("it has children")]
    NotEmpty,
    /// The parent is ephemeral.
    #[error("its parent is ephemeral")]
    EphemeralParent,
}

impl Conflict {
    /// The conflict that the library's error stands for, if it is one.
    pub(super) fn of(error: &zk::Error) -> Option<Self> {
        Some(match error {
            zk::Error::BadVersion => Self::BadVersion,
            zk::Error::NoNode => Self::NoNode,
            zk::Error::NodeExists => Self::NodeExists,
            zk::Error::NotEmpty => Self::NotEmpty,
            zk::Error::NoChildrenForEphemerals => Self::EphemeralParent,
            _ => return None,
        })
    }
}

/// Why a transaction failed, told apart by what is known of its effect.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// An operation did not fit the tree. Nothing landed.
    #[error("{path}: {cause}")]
    Conflict {
        /// The first operation that failed, counted from 0.
        index: usize,
        /// Its path.
        path: String,
        /// Why.
        cause: Conflict,
    },
    /// The connection was down. Nothing was sent.
    #[error("the connection to ZooKeeper is down")]
    Disconnected,
    /// The answer never came: it may or may not have landed. Read again before deciding.
    #[error("the connection to ZooKeeper was lost before the answer came: the change may or may not be in force")]
    Unknown {
        /// What became of the request.
        #[source]
        source: zk::Error,
    },
    /// Larger than ZooKeeper takes. Nothing was sent.
    #[error("{path}: {bytes} bytes are more than fit into one write")]
    TooLarge {
        /// The document, or the operation at which the transaction became too large.
        path: String,
        /// The document's size, or the transaction's up to there.
        bytes: usize,
    },
    /// ZooKeeper refused for another reason (permissions, quota). Nothing landed.
    #[error("ZooKeeper refused the change to {path}")]
    Other {
        /// The operation's path.
        path: String,
        /// Its answer.
        #[source]
        source: zk::Error,
    },
}
