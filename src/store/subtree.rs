//! Reading a whole subtree at once, many requests under way at a time.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream::FuturesUnordered};

use super::{Client, StoreError};
use crate::tree::{copy::Stored, node::Node};

/// How many requests are under way at a time: enough to hide the way to the server, few enough not to crowd it.
pub(super) const WIDTH: usize = 128;

/// How much of a node is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// It, and what is below it.
    Whole,
    /// That it is there: it comes without data, and with version 0.
    Name,
    /// Nothing.
    Nothing,
}

/// `root` and all nodes below it, by path; empty when there is no such node. Not one point in time: a node that
/// changes while the tree is read may be in it as before or as after.
pub async fn read_subtree(client: &Client, root: &str) -> Result<BTreeMap<String, Node>, StoreError> {
    read_subtree_of(client, root, |_| Reads::Whole).await
}

/// As [`read_subtree`], with so much of each path as `reads` says.
pub async fn read_subtree_of(
    client: &Client,
    root: &str,
    reads: impl Fn(&str) -> Reads,
) -> Result<BTreeMap<String, Node>, StoreError> {
    let found = read_stored(client, root, reads).await?;
    Ok(found.into_iter().map(|(path, stored)| (path, stored.node)).collect())
}

/// As [`read_subtree_of`], with what a copy of the tree needs beside the nodes.
pub async fn read_stored(
    client: &Client,
    root: &str,
    reads: impl Fn(&str) -> Reads,
) -> Result<BTreeMap<String, Stored>, StoreError> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    let mut reading = FuturesUnordered::new();
    loop {
        while reading.len() < WIDTH
            && let Some(path) = todo.pop()
        {
            reading.push(visit(client, path));
        }
        let Some(visited) = reading.next().await else { return Ok(found) };
        if let Some((path, node, names)) = visited? {
            for child in names.iter().map(|name| child(&path, name)) {
                match reads(&child) {
                    Reads::Whole => todo.push(child),
                    Reads::Name => drop(found.insert(child, Stored::unread())),
                    Reads::Nothing => {}
                }
            }
            found.insert(path, node);
        }
    }
}

/// A node, and the names of its children.
async fn visit(client: &Client, path: String) -> Result<Option<(String, Stored, Vec<String>)>, StoreError> {
    let Some((node, children)) = client.read_stored(&path).await? else { return Ok(None) };
    let names = if children > 0 { client.list(&path).await?.unwrap_or_default() } else { Vec::new() };
    Ok(Some((path, node, names)))
}

/// The path of the child `name` of `path`.
pub(super) fn child(path: &str, name: &str) -> String {
    if path == "/" { format!("/{name}") } else { format!("{path}/{name}") }
}
