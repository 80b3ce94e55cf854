//! A copy of the tree in memory, and what transactions make of it, as ZooKeeper does: versions, all or nothing, sequential
//! numbers from the parent's count of children ever created, no deletion of a node with children.

use std::{collections::BTreeMap, rc::Rc};

use super::{node::Node, snapshot::Cluster, txn::Op};

/// A node of a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Znode<D = Vec<u8>> {
    /// Its document.
    pub data: D,
    /// How often the data has been set: 0 when created.
    pub version: i32,
    /// How many children were ever created below it: the next sequential child's number.
    pub created: u32,
}

/// A node as it was read, and what the number of its next sequential child depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The node.
    pub node: Node,
    /// See [`Znode::created`].
    pub created: u32,
}

impl Stored {
    /// A node of which no more is known than that it is there.
    pub fn unread() -> Self {
        Self { node: Node { data: Vec::new(), version: 0, mzxid: 0, ephemeral_owner: 0 }, created: 0 }
    }
}

impl From<&Stored> for Znode {
    fn from(Stored { node, created }: &Stored) -> Self {
        Self { data: node.data.clone(), version: node.version, created: *created }
    }
}

/// A copy of the tree. `D` holds a node's data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree<D = Vec<u8>> {
    nodes: BTreeMap<Rc<str>, Znode<D>>,
}

/// Why a transaction cannot land.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// There is no such node.
    #[error("NoNode {0}")]
    NoNode(String),
    /// There is one already.
    #[error("NodeExists {0}")]
    NodeExists(String),
    /// It has children.
    #[error("NotEmpty {0}")]
    NotEmpty(String),
    /// It has been changed.
    #[error("BadVersion {path}: it is {is}, not {wanted}")]
    BadVersion {
        /// The node.
        path: String,
        /// Its version.
        is: i32,
        /// The version that the transaction was made for.
        wanted: i32,
    },
}

/// What a node was before a change; `None`: it was not there.
type Before<D> = (Rc<str>, Option<Znode<D>>);

impl<D> Default for Tree<D> {
    fn default() -> Self {
        Self { nodes: BTreeMap::new() }
    }
}

impl<D> FromIterator<(String, Znode<D>)> for Tree<D> {
    fn from_iter<I: IntoIterator<Item = (String, Znode<D>)>>(nodes: I) -> Self {
        Self { nodes: nodes.into_iter().map(|(path, node)| (path.into(), node)).collect() }
    }
}

impl<D> Tree<D> {
    /// The node at `path`.
    pub fn node(&self, path: &str) -> Option<&Znode<D>> {
        self.nodes.get(path)
    }

    /// The node's version.
    pub fn version(&self, path: &str) -> Option<i32> {
        self.nodes.get(path).map(|node| node.version)
    }

    /// All nodes, by path.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &Znode<D>)> {
        self.nodes.iter().map(|(path, node)| (&**path, node))
    }

    /// All paths.
    pub fn paths(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.nodes.keys().map(|path| &**path)
    }

    /// The paths below `path`, itself left out.
    pub fn below(&self, path: &str) -> impl Iterator<Item = &str> {
        self.keys_below(path).map(|path| &**path)
    }

    fn keys_below(&self, path: &str) -> impl Iterator<Item = &Rc<str>> {
        let prefix: Rc<str> = format!("{path}/").into();
        let from = self.nodes.range(Rc::clone(&prefix)..).map(|(path, _)| path);
        from.take_while(move |path| path.starts_with(&*prefix))
    }

    /// Deletes the node and all below it; the paths of those that there were.
    pub fn delete_all(&mut self, path: &str) -> Vec<Rc<str>> {
        let mut gone: Vec<Rc<str>> = self.keys_below(path).cloned().collect();
        gone.extend(self.nodes.get_key_value(path).map(|(path, _)| Rc::clone(path)));
        for path in &gone {
            self.nodes.remove(path);
        }
        gone
    }
}

impl<D: Clone + AsRef<[u8]> + for<'d> From<&'d [u8]>> Tree<D> {
    /// The node's data.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.nodes.get(path).map(|node| node.data.as_ref())
    }

    /// The typed snapshot, read in one go.
    pub fn cluster(&self) -> Cluster {
        let mut cluster = Cluster::default();
        for (path, node) in &self.nodes {
            cluster.apply(path, Some((node.data.as_ref(), node.version)));
        }
        cluster
    }

    /// Creates the node, or sets its data: what an operator or an agent does without caring which.
    ///
    /// # Errors
    /// [`Conflict::NoNode`] when there is nothing to create it below.
    pub fn write(&mut self, path: &str, data: &[u8]) -> Result<(), Conflict> {
        match self.nodes.get_mut(path) {
            Some(node) => {
                node.data = data.into();
                node.version += 1;
                Ok(())
            }
            None => self.create(path, data, &mut Vec::new()),
        }
    }

    /// All of the operations, or none; the paths of the nodes that were created, changed or deleted.
    ///
    /// # Errors
    /// The first that cannot be carried out; nothing has changed then.
    pub fn commit(&mut self, ops: &[Op]) -> Result<Vec<Rc<str>>, Conflict> {
        let mut undo = Vec::new();
        match ops.iter().try_for_each(|op| self.carry_out(op, &mut undo)) {
            Ok(()) => Ok(undo.into_iter().map(|(path, _)| path).collect()),
            Err(conflict) => {
                undo.into_iter().rev().for_each(|before| self.restore(before));
                Err(conflict)
            }
        }
    }

    fn restore(&mut self, (path, before): Before<D>) {
        match before {
            Some(node) => self.nodes.insert(path, node),
            None => self.nodes.remove(&path),
        };
    }

    fn carry_out(&mut self, op: &Op, undo: &mut Vec<Before<D>>) -> Result<(), Conflict> {
        match op {
            Op::Check { path, version } => self.at(path, Some(*version)).map(drop),
            Op::Create { path, data } | Op::CreateEphemeral { path, data } => self.create(path, data, undo),
            Op::CreateSequential { prefix, data } => {
                let above = self.nodes.get(parent(prefix)).ok_or_else(|| Conflict::NoNode(prefix.clone()))?;
                self.create(&format!("{prefix}{:010}", above.created), data, undo)
            }
            Op::Set { path, data, version } => {
                let (key, node) = self.at(path, *version)?;
                undo.push((key, Some(node.clone())));
                node.data = data.as_slice().into();
                node.version += 1;
                Ok(())
            }
            Op::Delete { path, version } => {
                let (key, node) = self.at(path, *version)?;
                undo.push((Rc::clone(&key), Some(node.clone())));
                if self.below(path).next().is_some() {
                    return Err(Conflict::NotEmpty(path.clone()));
                }
                self.nodes.remove(&key);
                Ok(())
            }
        }
    }

    fn at(&mut self, path: &str, version: Option<i32>) -> Result<(Rc<str>, &mut Znode<D>), Conflict> {
        let missing = || Conflict::NoNode(path.to_owned());
        let key = self.nodes.get_key_value(path).map(|(path, _)| Rc::clone(path)).ok_or_else(missing)?;
        let node = self.nodes.get_mut(path).ok_or_else(missing)?;
        match version.filter(|version| *version != node.version) {
            Some(wanted) => Err(Conflict::BadVersion { path: path.to_owned(), is: node.version, wanted }),
            None => Ok((key, node)),
        }
    }

    fn create(&mut self, path: &str, data: &[u8], undo: &mut Vec<Before<D>>) -> Result<(), Conflict> {
        if self.nodes.contains_key(path) {
            return Err(Conflict::NodeExists(path.to_owned()));
        }
        let above = parent(path);
        if !above.is_empty() {
            let (key, node) = self.at(above, None)?;
            undo.push((key, Some(node.clone())));
            node.created += 1;
        }
        let path: Rc<str> = path.into();
        undo.push((Rc::clone(&path), None));
        self.nodes.insert(path, Znode { data: data.into(), version: 0, created: 0 });
        Ok(())
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn create(path: &str) -> Op {
        Op::Create { path: path.into(), data: b"{}".to_vec() }
    }

    fn set(path: &str, version: i32) -> Op {
        Op::Set { path: path.into(), data: b"1".to_vec(), version: Some(version) }
    }

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.commit(&[create("/a"), create("/a/b"), create("/a/c")]).unwrap();
        tree
    }

    #[test]
    fn what_can_not_land_changes_nothing() {
        let before = tree();
        let sequential = || Op::CreateSequential { prefix: "/a/".into(), data: Vec::new() };
        let delete = |path: &str| Op::Delete { path: path.into(), version: Some(0) };
        for (last, conflict) in [
            (create("/x/y"), Conflict::NoNode("/x".into())),
            (create("/a"), Conflict::NodeExists("/a".into())),
            (delete("/a"), Conflict::NotEmpty("/a".into())),
            (set("/a/c", 7), Conflict::BadVersion { path: "/a/c".into(), is: 3, wanted: 7 }),
        ] {
            let mut tree = before.clone();
            let ops = [sequential(), set("/a/c", 0), set("/a/c", 1), delete("/a/b"), set("/a/c", 2), last];
            assert_eq!(tree.commit(&ops), Err(conflict));
            assert_eq!(tree, before);
        }
    }

    #[test]
    fn a_number_never_returns() {
        let mut tree = tree();
        let sequential = [Op::CreateSequential { prefix: "/a/".into(), data: Vec::new() }];
        assert_eq!(tree.commit(&sequential).unwrap().last().map(|path| &**path), Some("/a/0000000002"));
        assert_eq!(tree.delete_all("/a/0000000002"), ["/a/0000000002".into()]);
        assert_eq!(tree.commit(&sequential).unwrap().last().map(|path| &**path), Some("/a/0000000003"));
    }

    #[test]
    fn changes_are_told_by_path() {
        let mut tree = tree();
        let changed = tree.commit(&[Op::Check { path: "/a/b".into(), version: 0 }, set("/a/b", 0)]).unwrap();
        assert_eq!(changed, ["/a/b".into()]);
        assert_eq!((tree.get("/a/b"), tree.version("/a/b")), (Some(&b"1"[..]), Some(1)));
        assert_eq!(tree.write("/x/y", b""), Err(Conflict::NoNode("/x".into())));
    }
}
