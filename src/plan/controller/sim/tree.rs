//! A tree with `ZooKeeper`'s semantics, as far as plans depend on them: versions, all-or-nothing transactions,
//! sequential numbers from the parent's count of children ever created, no deletion of a node with children.

use std::{any::Any, cell::OnceCell, collections::BTreeMap, fmt, rc::Rc};

use crate::tree::{layout, snapshot::Cluster, txn::Op};

/// A node's data. Trees that have it in common share it.
struct Data {
    bytes: Vec<u8>,
    /// What it was read as, which is the same for each node of its kind.
    read: OnceCell<Box<dyn Any>>,
}

impl From<&[u8]> for Data {
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), read: OnceCell::new() }
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.bytes).fmt(formatter)
    }
}

impl PartialEq for Data {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Data {}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Znode {
    data: Rc<Data>,
    version: i32,
    /// How many children were ever created below it: the next sequential child's number.
    created: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tree {
    nodes: BTreeMap<Rc<str>, Znode>,
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
        self.nodes.get(path).map(|node| node.data.bytes.as_slice())
    }

    /// What the node's data says; it is read once, however many trees have it.
    pub(crate) fn read<T: Clone + 'static>(&self, path: &str, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let Data { bytes, read: known } = &*self.nodes.get(path)?.data;
        let known = known.get_or_init(|| Box::new(read(bytes)));
        Some(known.downcast_ref::<T>().expect("a node is read as one type").clone())
    }

    pub(crate) fn version(&self, path: &str) -> Option<i32> {
        self.nodes.get(path).map(|node| node.version)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(|path| &**path)
    }

    /// Creates the node, or sets its data: what an operator or an agent does without caring which.
    pub(crate) fn put(&mut self, path: &str, data: impl AsRef<[u8]>) {
        match self.nodes.get_mut(path) {
            Some(node) => {
                node.data = Rc::new(data.as_ref().into());
                node.version += 1;
            }
            None => self.create(path, data.as_ref()).unwrap(),
        }
    }

    /// `deleteall`; nothing when it does not exist.
    pub(crate) fn delete_all(&mut self, path: &str) {
        let below = format!("{path}/");
        self.nodes.retain(|other, _| **other != *path && !other.starts_with(&below));
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
                node.data = Rc::new(data.as_slice().into());
                node.version += 1;
                Ok(())
            }
            Op::Delete { path, version } => {
                self.at(path, *version)?;
                let below: Rc<str> = format!("{path}/").into();
                let mut others = self.nodes.range(Rc::clone(&below)..);
                if others.next().is_some_and(|(other, _)| other.starts_with(&*below)) {
                    return Err(format!("NotEmpty {path}"));
                }
                self.nodes.remove(path.as_str());
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
        self.nodes.insert(path.into(), Znode { data: Rc::new(data.into()), version: 0, created: 0 });
        Ok(())
    }

    /// The typed snapshot, read in one go.
    pub(crate) fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::default();
        for (path, node) in &self.nodes {
            cluster.apply(path, Some((&node.data.bytes, node.version)));
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
            self.cluster.apply(path, Some((&node.data.bytes, node.version)));
        }
        self.tree.clone_from(tree);
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
