//! `zkops hosts delete`: takes a host that is gone for good out of the tree.

use anyhow::{Context as _, ensure};

use super::word;
use crate::{
    cli::{context::Context, render},
    model::HostName,
    plan::txn::Op,
    store::{self, Client, layout},
};

pub(super) async fn run(host: &HostName, force: bool, cx: &Context) -> anyhow::Result<()> {
    cx.write(&format!("host/{host}"), async |client| Ok((ops(host, force, client).await?, ()))).await?;
    Ok(render::line(&format!("host/{host} deleted"))?)
}

/// Deletes every node of the host as it was read, children first.
async fn ops(host: &HostName, force: bool, client: &Client) -> anyhow::Result<Vec<Op>> {
    let root = layout::host(host);
    let nodes = store::tree::read_tree(client, &root).await.with_context(|| format!("can't read {root}"))?;
    if !nodes.contains_key(&root) {
        return Err(word::unknown(host));
    }
    if !force {
        let assigned = layout::assigned(host) + "/";
        let work = nodes.keys().filter(|path| path.starts_with(&assigned)).count();
        refuse(host, nodes.contains_key(&layout::alive(host)), work)?;
    }
    let delete = |(path, node): (String, store::Node)| Op::Delete { path, version: Some(node.version) };
    Ok(nodes.into_iter().rev().map(delete).collect())
}

fn refuse(host: &HostName, alive: bool, work: usize) -> anyhow::Result<()> {
    let force = "or, if it is gone for good, use --force: its replicas are then placed elsewhere";
    ensure!(!alive, "{host}'s agent is connected: stop it first; {force}");
    ensure!(work == 0, "{work} replicas are assigned to {host}: `zkops hosts drain {host}` first; {force}");
    Ok(())
}
