//! Changes to the tree, as plans state them: `store` carries them out.

/// One change to the tree. Paths are absolute below the chroot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Fails the transaction unless the node exists at this version.
    Check {
        /// The node.
        path: String,
        /// Its znode version (`Stat.version`).
        version: i32,
    },
    /// Creates a persistent node; fails the transaction when it exists.
    Create {
        /// The node.
        path: String,
        /// Its data.
        data: Vec<u8>,
    },
    /// Creates a persistent sequential node: ZooKeeper appends ten digits to `prefix`.
    CreateSequential {
        /// The node's path up to its number.
        prefix: String,
        /// Its data.
        data: Vec<u8>,
    },
    /// Creates an ephemeral node of this session.
    CreateEphemeral {
        /// The node.
        path: String,
        /// Its data.
        data: Vec<u8>,
    },
    /// Replaces a node's data; fails the transaction unless it is at this version. `None` takes any.
    Set {
        /// The node.
        path: String,
        /// Its new data.
        data: Vec<u8>,
        /// The version it must have.
        version: Option<i32>,
    },
    /// Deletes a node without children; fails the transaction unless it is at this version. `None` takes any.
    Delete {
        /// The node.
        path: String,
        /// The version it must have.
        version: Option<i32>,
    },
}

/// Changes that land together or not at all (ZooKeeper's multi).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transaction {
    /// The changes, in order.
    pub ops: Vec<Op>,
    /// Why, for the log: one line.
    pub reason: String,
    /// Why each replica that leaves a host by it without being asked to does so.
    pub moves: Vec<Cause>,
}

/// Why a replica leaves a host without being asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The host is lost.
    Lost,
    /// It failed there, past its start limit.
    Failed,
    /// The agent there refused it.
    Refused,
}

impl Op {
    /// The node that the operation is about; for a sequential one, its path up to the number.
    pub fn path(&self) -> &str {
        match self {
            Self::Check { path, .. }
            | Self::Create { path, .. }
            | Self::CreateEphemeral { path, .. }
            | Self::Set { path, .. }
            | Self::Delete { path, .. } => path,
            Self::CreateSequential { prefix, .. } => prefix,
        }
    }

    /// The data that the operation writes.
    pub fn data(&self) -> &[u8] {
        match self {
            Self::Create { data, .. }
            | Self::CreateSequential { data, .. }
            | Self::CreateEphemeral { data, .. }
            | Self::Set { data, .. } => data,
            Self::Check { .. } | Self::Delete { .. } => &[],
        }
    }
}
