//! Changing the operator's word on a host: one document, read, changed and written under its version.

use crate::{
    cli::{
        context::Context,
        document::{self, Change},
        failure::Failure,
        render,
        wait::{self, HostEmpty, WaitArgs},
    },
    model::{HostName, HostSpec},
    plan::txn::Op,
    store::{Client, layout},
};

/// Changes the word and says so with `done` (`cordoned` …).
pub(super) async fn change(
    host: &HostName,
    done: &str,
    cx: &Context,
    edit: impl Fn(&mut HostSpec),
) -> anyhow::Result<()> {
    let what = format!("host/{host}");
    let change = cx.write(&what, async |client| read_and_edit(host, client, &edit).await).await?;
    Ok(render::line(&format!("{what} {}", if change.is_needed() { done } else { "unchanged" }))?)
}

/// Marks the host for draining and, when asked, waits until no replica is left on it.
pub(super) async fn drain(host: &HostName, wait: &WaitArgs, cx: &Context) -> anyhow::Result<()> {
    change(host, "draining", cx, |word| word.drain = true).await?;
    wait::when_asked(wait, vec![HostEmpty(host.clone())], cx).await
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
