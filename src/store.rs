//! Everything ZooKeeper. [`layout`] is the one place that spells a path.

pub mod layout;
