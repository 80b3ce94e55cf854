//! Nodes as they are read, and how they change.

/// A node as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its document.
    pub data: Vec<u8>,
    /// How often the data has been set: 0 when created. Guards writes ([`Op::Set`](super::txn::Op::Set), [`Op::Check`](super::txn::Op::Check)).
    pub version: i32,
    /// ZooKeeper's number of the transaction that last changed the data.
    pub mzxid: i64,
    /// The session whose end removes the node; 0 for a persistent node.
    pub ephemeral_owner: i64,
}

/// One path whose node is not what it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The node's path.
    pub path: String,
    /// What is there now; `None` when it is gone.
    pub node: Option<Node>,
}

/// Changes that belong together as far as that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Sorted by path, one each.
    pub changes: Vec<Change>,
    /// Present when the whole tree has been read since the batch before: the copy is complete as of that connection.
    pub synced: Option<Synced>,
}

/// The connection over which everything was read ([`Up`](crate::store::Up) counts them).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    /// The session.
    pub epoch: u64,
    /// The connection within it.
    pub joins: u64,
}
