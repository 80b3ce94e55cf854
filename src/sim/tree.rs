//! The tree as the simulation has it: data is shared by the copies that there are of it, and read once for all of them.

use std::{any::Any, cell::OnceCell, fmt, rc::Rc};

use jiff::Timestamp;
use serde_json::Value;

use super::leader::Leader;
use crate::tree::{copy, layout, snapshot::Cluster};

/// A tree whose copies have their data in common.
pub(crate) type Tree = copy::Tree<Data>;

/// A node's data.
#[derive(Clone)]
pub(crate) struct Data(Rc<Shared>);

struct Shared {
    bytes: Vec<u8>,
    /// What it was read as, which is the same for each node of its kind.
    read: OnceCell<Box<dyn Any>>,
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        Self(Rc::new(Shared { bytes: bytes.to_vec(), read: OnceCell::new() }))
    }
}

impl AsRef<[u8]> for Data {
    fn as_ref(&self) -> &[u8] {
        &self.0.bytes
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0.bytes).fmt(formatter)
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0.bytes == other.0.bytes
    }
}

impl Eq for Data {}

impl Tree {
    /// What `zkops init` creates.
    pub(crate) fn new() -> Self {
        let mut tree = Self::default();
        for root in layout::ROOTS {
            tree.put(root, b"{}");
        }
        tree
    }

    /// As [`write`](Self::write), where there is something to create it below.
    pub(crate) fn put(&mut self, path: &str, data: impl AsRef<[u8]>) {
        self.write(path, data.as_ref()).unwrap();
    }

    /// As [`put`](Self::put), and what it is to be below is created if it is not there.
    pub(crate) fn put_below(&mut self, path: &str, data: impl AsRef<[u8]>) {
        for (end, _) in path.match_indices('/').skip(1) {
            if self.node(&path[..end]).is_none() {
                self.put(&path[..end], "");
            }
        }
        self.put(path, data);
    }

    /// What the node's data says; it is read once, however many trees have it.
    pub(crate) fn read<T: Clone + 'static>(&self, path: &str, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let Shared { bytes, read: known } = &*self.node(path)?.data.0;
        let known = known.get_or_init(|| Box::new(read(bytes)));
        Some(known.downcast_ref::<T>().expect("a node is read as one type").clone())
    }
}

/// Sets keys of a JSON object; `null` removes one.
pub(crate) fn merge(document: &mut Value, keys: &Value) {
    for (key, value) in keys.as_object().unwrap() {
        let object = document.as_object_mut().unwrap();
        if value.is_null() {
            object.remove(key)
        } else {
            object.insert(key.clone(), value.clone())
        };
    }
}

/// The tree as a controller has taken it in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) tree: Tree,
    pub(crate) cluster: Cluster,
    /// What has changed since that was last told.
    changed: Vec<String>,
}

impl Seen {
    /// Brings it up to the tree, as a mirror does: change by change.
    pub(crate) fn look(&mut self, tree: &Tree) {
        for path in self.tree.paths().rev().filter(|path| tree.node(path).is_none()) {
            self.cluster.apply(path, None);
            self.changed.push(path.to_owned());
        }
        for (path, node) in tree.iter().filter(|(path, node)| self.tree.node(path) != Some(node)) {
            self.cluster.apply(path, Some((node.data.as_ref(), node.version)));
            self.changed.push(path.to_owned());
        }
        self.tree.clone_from(tree);
    }

    /// The leader sees the same.
    pub(crate) fn show(&mut self, leader: &mut Leader, now: Timestamp) {
        leader.observe(self.changed.drain(..), &self.cluster, now);
    }
}
