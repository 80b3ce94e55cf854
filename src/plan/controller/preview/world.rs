//! The copy of the tree that a preview changes, and the same as values.

use std::rc::Rc;

use crate::tree::{
    copy::{Conflict, Tree, Znode},
    snapshot::Cluster,
    txn::Op,
};

pub(super) struct World {
    pub(super) tree: Tree,
    pub(super) cluster: Cluster,
}

impl World {
    pub(super) fn new(nodes: impl IntoIterator<Item = (String, Znode)>) -> Self {
        let tree: Tree = nodes.into_iter().collect();
        let cluster = tree.cluster();
        Self { tree, cluster }
    }

    /// The paths of the nodes that it changed.
    pub(super) fn commit(&mut self, ops: &[Op]) -> Result<Vec<Rc<str>>, Conflict> {
        let changed = self.tree.commit(ops)?;
        for path in &changed {
            self.take_in(path);
        }
        Ok(changed)
    }

    /// Creates the node or sets its data; whether that is possible.
    pub(super) fn write(&mut self, path: &str, data: &[u8]) -> bool {
        let written = self.tree.write(path, data).is_ok();
        self.take_in(path);
        written
    }

    pub(super) fn delete_all(&mut self, path: &str) {
        let gone = self.tree.delete_all(path);
        for path in &gone {
            self.take_in(path);
        }
    }

    fn take_in(&mut self, path: &str) {
        let node = self.tree.node(path).map(|node| (node.data.as_slice(), node.version));
        self.cluster.apply(path, node);
    }
}
