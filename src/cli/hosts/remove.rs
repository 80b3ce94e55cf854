//! `zkops hosts delete`: takes a host that is gone for good out of the tree.

use anyhow::Context as _;

use super::word;
use crate::{
    cli::{context::Context, failure::Failure, render},
    model::{HostName, counted},
    store::{self, Client},
    tree::{layout, node::Node, txn::Op},
};

pub(super) async fn run(host: &HostName, force: bool, cx: &Context) -> anyhow::Result<()> {
    cx.write(&format!("host/{host}"), async |client| Ok((ops(host, force, client).await?, ()))).await?;
    Ok(render::line(&format!("host/{host} deleted"))?)
}

/// Deletes every node of the host as it was read, children first.
async fn ops(host: &HostName, force: bool, client: &Client) -> anyhow::Result<Vec<Op>> {
    let root = layout::host(host);
    let nodes = store::subtree::read_subtree(client, &root).await.with_context(|| format!("cannot read {root}"))?;
    if !nodes.contains_key(&root) {
        return Err(word::unknown(host));
    }
    if !force {
        let assigned = layout::assigned(host) + "/";
        let work = nodes.keys().filter(|path| path.starts_with(&assigned)).count();
        refuse(host, nodes.contains_key(&layout::alive(host)), work)?;
    }
    let delete = |(path, node): (String, Node)| Op::Delete { path, version: Some(node.version) };
    Ok(nodes.into_iter().rev().map(delete).collect())
}

fn refuse(host: &HostName, alive: bool, work: usize) -> Result<(), Failure> {
    let force = "or, if it is gone for good, use --force: its replicas are then placed elsewhere";
    let verb = if work == 1 { "is" } else { "are" };
    match (alive, work) {
        (true, _) => Err(Failure::Conflict(format!("{host}'s agent is connected: stop it first; {force}"))),
        (false, 0) => Ok(()),
        (false, _) => {
            let work = counted(work, "replica");
            Err(Failure::Conflict(format!(
                "{work} {verb} assigned to {host}: `zkops hosts drain {host}` first; {force}"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::failure;

    #[test]
    fn a_host_in_use_is_a_conflict() -> anyhow::Result<()> {
        let host: HostName = "web1".parse()?;
        assert!(refuse(&host, false, 0).is_ok());
        for (alive, work, said) in [(true, 0, "is connected"), (false, 1, "1 replica is"), (false, 2, "2 replicas are")]
        {
            let Err(failure) = refuse(&host, alive, work) else { anyhow::bail!("{said}: not refused") };
            assert!(failure.to_string().contains(said), "{failure}");
            assert_eq!(failure::code(&failure.into()), 4);
        }
        Ok(())
    }
}
