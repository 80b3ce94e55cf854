//! The tree as values: where its nodes are, what they hold, how they are changed. Pure, and below both sides: `store`
//! reads and writes the tree by them, `plan` decides on them.

pub mod copy;
pub mod layout;
pub mod node;
pub mod snapshot;
pub mod txn;
