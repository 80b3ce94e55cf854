//! Reading a whole subtree at once: many nodes by one request, and some requests under way at a time.

use std::collections::BTreeMap;

use futures_util::{
    StreamExt as _,
    stream::{self, FuturesUnordered},
};

use super::{Client, StoreError};
use crate::tree::{copy::Stored, node::Node};

/// How many requests are under way at a time: enough to hide the way to the server, few enough not to crowd it.
pub(super) const WIDTH: usize = 128;

/// How many nodes are read by one request: each may be a megabyte, and the answer comes as one.
const BATCH: usize = 64;
/// How many such requests are under way at a time.
const REQUESTS: usize = 8;

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
        while reading.len() < REQUESTS && !todo.is_empty() {
            let paths = todo.split_off(todo.len().saturating_sub(BATCH));
            reading.push(visit(client, paths));
        }
        let Some(visited) = reading.next().await else { return Ok(found) };
        for (path, node, names) in visited? {
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

/// These nodes, as far as they are there, without what is below them.
///
/// # Errors
/// As [`read_subtree`].
pub async fn read_nodes(client: &Client, paths: Vec<String>) -> Result<BTreeMap<String, Node>, StoreError> {
    let batches: Vec<Vec<String>> = paths.chunks(BATCH).map(<[String]>::to_vec).collect();
    let mut reading = stream::iter(batches).map(|paths| visit(client, paths)).buffer_unordered(REQUESTS);
    let mut found = BTreeMap::new();
    while let Some(visited) = reading.next().await {
        found.extend(visited?.into_iter().map(|(path, stored, _)| (path, stored.node)));
    }
    Ok(found)
}

/// Those of the nodes that are there, and the names of their children.
async fn visit(client: &Client, paths: Vec<String>) -> Result<Vec<(String, Stored, Vec<String>)>, StoreError> {
    let read = client.read_all(&paths).await?;
    let there = paths.into_iter().zip(read).filter_map(|(path, read)| read.map(|(node, names)| (path, node, names)));
    Ok(there.collect())
}

/// The path of the child `name` of `path`.
pub(super) fn child(path: &str, name: &str) -> String {
    if path == "/" { format!("/{name}") } else { format!("{path}/{name}") }
}
