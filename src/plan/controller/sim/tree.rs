//! A tree with `ZooKeeper`'s semantics, as far as plans depend on them: versions, all-or-nothing transactions,
//! sequential numbers from the parent's count of children ever created, no deletion of a node with children.

use std::collections::BTreeMap;

use crate::{
    plan::{controller::Cluster, txn::Op},
    store::layout,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Znode {
    pub(crate) data: Vec<u8>,
    pub(crate) version: i32,
    /// How many children were ever created below it: the next sequential child's number.
    created: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    nodes: BTreeMap<String, Znode>,
}

impl Tree {
    /// What `zkops init` creates.
    pub(crate) fn new() -> Self {
        let mut tree = Self::default();
        for root in layout::ROOTS {
            tree.create(root, b"{}").unwrap();
        }
        tree
    }

    pub(crate) fn get(&self, path: &str) -> Option<&[u8]> {
        self.nodes.get(path).map(|node| node.data.as_slice())
    }

    pub(crate) fn version(&self, path: &str) -> Option<i32> {
        self.nodes.get(path).map(|node| node.version)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// Creates the node, or sets its data: what an operator or an agent does without caring which.
    pub(crate) fn put(&mut self, path: &str, data: impl AsRef<[u8]>) {
        match self.nodes.get_mut(path) {
            Some(node) => {
                data.as_ref().clone_into(&mut node.data);
                node.version += 1;
            }
            None => self.create(path, data.as_ref()).unwrap(),
        }
    }

    /// `deleteall`; nothing when it does not exist.
    pub(crate) fn delete_all(&mut self, path: &str) {
        let below = format!("{path}/");
        self.nodes.retain(|other, _| other != path && !other.starts_with(&below));
    }

    /// All of the operations, or none.
    pub(crate) fn commit(&mut self, ops: &[Op]) -> Result<(), String> {
        let mut after = self.clone();
        for op in ops {
            after.carry_out(op)?;
        }
        *self = after;
        Ok(())
    }

    fn carry_out(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Check { path, version } => self.at(path, Some(*version)).map(|_| ()),
            Op::Create { path, data } | Op::CreateEphemeral { path, data } => self.create(path, data),
            Op::CreateSequential { prefix, data } => {
                let number = self.nodes.get(parent(prefix)).ok_or(format!("NoNode {prefix}"))?.created;
                self.create(&format!("{prefix}{number:010}"), data)
            }
            Op::Set { path, data, version } => {
                let node = self.at(path, *version)?;
                node.data.clone_from(data);
                node.version += 1;
                Ok(())
            }
            Op::Delete { path, version } => {
                self.at(path, *version)?;
                let below = format!("{path}/");
                if self.nodes.range(below.clone()..).next().is_some_and(|(other, _)| other.starts_with(&below)) {
                    return Err(format!("NotEmpty {path}"));
                }
                self.nodes.remove(path);
                Ok(())
            }
        }
    }

    fn at(&mut self, path: &str, version: Option<i32>) -> Result<&mut Znode, String> {
        let node = self.nodes.get_mut(path).ok_or(format!("NoNode {path}"))?;
        if version.is_some_and(|version| version != node.version) {
            return Err(format!("BadVersion {path}: it is {}, not {version:?}", node.version));
        }
        Ok(node)
    }

    fn create(&mut self, path: &str, data: &[u8]) -> Result<(), String> {
        if self.nodes.contains_key(path) {
            return Err(format!("NodeExists {path}"));
        }
        let above = parent(path);
        if !above.is_empty() {
            self.nodes.get_mut(above).ok_or(format!("NoNode {above}"))?.created += 1;
        }
        self.nodes.insert(path.to_owned(), Znode { data: data.to_vec(), version: 0, created: 0 });
        Ok(())
    }

    /// The typed snapshot, read in one go.
    pub(crate) fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::default();
        for (path, node) in &self.nodes {
            cluster.apply(path, Some((&node.data, node.version)));
        }
        cluster
    }
}

/// The tree as a controller has taken it in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) tree: Tree,
    pub(crate) cluster: Cluster,
}

impl Seen {
    /// Brings it up to the tree, as a mirror does: change by change.
    pub(crate) fn look(&mut self, tree: &Tree) {
        let before = &self.tree.nodes;
        for path in before.keys().rev().filter(|path| !tree.nodes.contains_key(*path)) {
            self.cluster.apply(path, None);
        }
        for (path, node) in tree.nodes.iter().filter(|(path, node)| before.get(*path) != Some(node)) {
            self.cluster.apply(path, Some((&node.data, node.version)));
        }
        self.tree.clone_from(tree);
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
