//! `zkops rebalance`: spreads replicas again, which nothing does by itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use jiff::Timestamp;

use super::{
    context::{self, Context as Cli},
    render,
};
use crate::{
    model::{Moves, ServiceName, counted, encode, read_number},
    plan::{
        controller::{Context, Move, spread},
        txn::Op,
    },
    store::{Client, layout},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing moves by itself: after a host was drained, lost, or added, or after hosts refused a replica, all may be
on few hosts. Moves are listed with their reasons, then asked of the controller, which carries them out one
after the other as it drains a host: within max_unavailable, or start-first. A service whose rollout is under way
is left alone.

Examples:
  zkops rebalance --dry-run
  zkops rebalance webapp --max-moves 2")]
pub(super) struct Args {
    /// The services; all, unless some are named
    #[arg(value_name = "SERVICE")]
    services: Vec<ServiceName>,
    /// Show the moves, and ask for none
    #[arg(long)]
    dry_run: bool,
    /// At most so many moves
    #[arg(long, value_name = "N", value_parser = read_number::<u32>, allow_negative_numbers = true)]
    max_moves: Option<u32>,
}

pub(super) async fn run(args: &Args, cx: &Cli) -> anyhow::Result<()> {
    let cluster = context::cluster(&cx.tree().await?);
    let services: BTreeSet<ServiceName> = args.services.iter().cloned().collect();
    if let Some(unknown) = services.iter().find(|name| !cluster.services.contains_key(*name)) {
        return Err(context::no_service(unknown));
    }
    let most = args.max_moves.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let moves = spread(&cluster, &Context::of_onlooker(Timestamp::now()), &services, most);
    render::out(&table(&moves))?;
    if args.dry_run {
        return Ok(());
    }
    let mut of_each: BTreeMap<&ServiceName, Moves> = BTreeMap::new();
    for it in &moves {
        of_each.entry(&it.id.service).or_default().leave.insert(it.id.number, it.from.clone());
    }
    for (name, moves) in of_each {
        let count = moves.leave.len();
        let wanted = Moves { by: Some(context::operator()), ..moves };
        cx.write(&format!("service/{name}"), async |client| Ok((ask(name, &wanted, client).await?, ()))).await?;
        render::line(&format!("service/{name}: {} asked for", counted(count, "move")))?;
    }
    Ok(())
}

/// What is asked for takes the place of what was asked for before.
async fn ask(name: &ServiceName, wanted: &Moves, client: &Client) -> anyhow::Result<Vec<Op>> {
    let path = layout::moves(name);
    let node = client.get(&path).await?;
    let data = encode(wanted);
    let op = match node {
        Some(node) => Op::Set { path, data, version: Some(node.version) },
        None => Op::Create { path, data },
    };
    Ok(vec![op])
}

fn table(moves: &[Move]) -> String {
    if moves.is_empty() {
        return "nothing to move: no replica would be better placed elsewhere\n".to_owned();
    }
    let mut text = String::new();
    for Move { id, from, to, reason } in moves {
        let _ = writeln!(text, "{id}: {from} → {to} ({reason})");
    }
    text
}
