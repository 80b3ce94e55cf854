//! Changing the operator's word on a host: one document, read, changed and written under its version.

use jiff::Timestamp;

use crate::{
    cli::{
        context::Context,
        document::{self, Change},
        failure::Failure,
        render,
        wait::{self, Drained, WaitArgs},
    },
    model::{HostName, HostSpec, Span},
    store::Client,
    tree::{layout, txn::Op},
};

/// Changes the word and says so with `done` (`cordoned` …).
pub(super) async fn change(
    host: &HostName,
    done: &str,
    cx: &Context,
    edit: impl Fn(&mut HostSpec),
) -> anyhow::Result<()> {
    let change = cx.write(&what(host), async |client| read_and_edit(host, client, &edit).await).await?;
    say(host, done, &change)
}

/// Marks the host for draining, within the services' budgets for so long at most, and, when asked, waits until what was on
/// it is ready elsewhere.
pub(super) async fn drain(
    host: &HostName,
    deadline: Option<Span>,
    wait: &WaitArgs,
    cx: &Context,
) -> anyhow::Result<()> {
    let until = deadline.map(|deadline| Timestamp::now().checked_add(deadline.get()).unwrap_or(Timestamp::MAX));
    let (change, replicas) = cx
        .write(&what(host), async |client| {
            let (ops, change) =
                read_and_edit(host, client, &|word| (word.drain, word.drain_deadline) = (true, until)).await?;
            let assigned = client.children(&layout::assigned(host)).await?.unwrap_or_default();
            let replicas = assigned.iter().filter_map(|name| name.parse().ok()).collect();
            Ok((ops, (change, replicas)))
        })
        .await?;
    say(host, "draining", &change)?;
    wait::when_asked(wait, vec![Drained { host: host.clone(), replicas }], cx).await
}

fn what(host: &HostName) -> String {
    format!("host/{host}")
}

fn say(host: &HostName, done: &str, change: &Change) -> anyhow::Result<()> {
    let done = if change.is_needed() { done } else { "unchanged" };
    Ok(render::line(&format!("{} {done}", what(host)))?)
}

async fn read_and_edit(
    host: &HostName,
    client: &Client,
    edit: &impl Fn(&mut HostSpec),
) -> anyhow::Result<(Vec<Op>, Change)> {
    let path = layout::host(host);
    let node = client.get(&path).await?.ok_or_else(|| unknown(host))?;
    let mut word = if node.data.is_empty() {
        HostSpec::default()
    } else {
        document::must_read(&path, &node, "write {} into it by hand to start again")?
    };
    edit(&mut word);
    let change = Change::to(path, Some(&node), &word);
    Ok((vec![change.op()?], change))
}

pub(super) fn unknown(host: &HostName) -> anyhow::Error {
    let text = format!("there is no host \"{host}\" (zkops hosts lists those whose agents were ever connected)");
    Failure::NotFound(text).into()
}
