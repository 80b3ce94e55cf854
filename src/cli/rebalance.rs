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
    model::{HostName, Moves, ReplicaId, ReplicaNumber, ServiceName, counted, encode, read_number},
    plan::controller::{Context, Move, Pending, pending_moves, spread},
    tree::{layout, txn::Op},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing moves by itself: after a host was drained, lost, or added, or after hosts refused a replica, all may be
on few hosts. Moves are listed with their reasons, then asked of the controller, which carries them out one
after the other as it drains a host: within max_unavailable, or start-first. A service whose rollout is under way
is left alone.
What was asked before, by whomever, and is not done yet is chosen again: it is listed again, or taken back when the
replica would be no better placed elsewhere any more, or --max-moves is less than that.

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
    /// At most so many moves, those included that were asked before
    #[arg(long, value_name = "N", value_parser = read_number::<u32>, allow_negative_numbers = true)]
    max_moves: Option<u32>,
}

pub(super) async fn run(args: &Args, cx: &Cli) -> anyhow::Result<()> {
    let nodes = cx.tree().await?;
    let cluster = context::cluster(&nodes);
    let services: BTreeSet<ServiceName> = args.services.iter().cloned().collect();
    if let Some(unknown) = services.iter().find(|name| !cluster.services.contains_key(*name)) {
        return Err(context::no_service(unknown));
    }
    let most = args.max_moves.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let onlooker = Context::of_onlooker(Timestamp::now());
    let moves = spread(&cluster, &onlooker, &services, most);
    let pending = pending_moves(&cluster, &onlooker, &services);
    render::out(&table(&moves, &pending))?;
    if args.dry_run {
        return Ok(());
    }
    for (name, outcome) in outcomes(&moves, &pending) {
        let said = outcome.to_string();
        let seen = nodes.get(&layout::moves(&name)).map(|node| node.version);
        if let Some(op) = outcome.into_op(&name, seen) {
            // What is asked was chosen with what the node said: whoever has changed it since was not heard.
            cx.write(&format!("service/{name}"), async |_| Ok((vec![op.clone()], ()))).await?;
        }
        render::line(&format!("service/{name}{said}"))?;
    }
    Ok(())
}

/// By replica, the host that it is to leave.
type Leave = BTreeMap<ReplicaNumber, HostName>;

/// What becomes of what is asked of a service.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// It was asked before.
    Unchanged,
    /// It takes the place of what was asked before.
    Asked(Leave),
    /// Nothing is asked any more.
    TakenBack,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unchanged => f.write_str(" unchanged"),
            Self::Asked(leave) => write!(f, ": {} asked for", counted(leave.len(), "move")),
            Self::TakenBack => f.write_str(": no move is asked for any more"),
        }
    }
}

impl Outcome {
    /// How it is written where the node was `seen` at this version, or not at all.
    fn into_op(self, name: &ServiceName, seen: Option<i32>) -> Option<Op> {
        let path = layout::moves(name);
        match self {
            Self::Unchanged => None,
            Self::Asked(leave) => {
                let data = encode(&Moves { leave, by: Some(context::operator()) });
                Some(match seen {
                    Some(version) => Op::Set { path, data, version: Some(version) },
                    None => Op::Create { path, data },
                })
            }
            Self::TakenBack => seen.map(|version| Op::Delete { path, version: Some(version) }),
        }
    }
}

/// What becomes of each service of which anything is asked, or was: but for those that are left alone.
fn outcomes(moves: &[Move], pending: &BTreeMap<ServiceName, Pending>) -> BTreeMap<ServiceName, Outcome> {
    let mut wanted: BTreeMap<&ServiceName, Leave> = BTreeMap::new();
    for it in moves {
        wanted.entry(&it.id.service).or_default().insert(it.id.number, it.from.clone());
    }
    let asked = pending.iter().filter(|(_, pending)| pending.left_alone.is_none() && !pending.leave.is_empty());
    let names: BTreeSet<&ServiceName> = wanted.keys().copied().chain(asked.map(|(name, _)| name)).collect();
    let outcome = |name: &ServiceName| match wanted.remove(name) {
        None => Outcome::TakenBack,
        Some(leave) if pending.get(name).is_some_and(|pending| pending.leave == leave) => Outcome::Unchanged,
        Some(leave) => Outcome::Asked(leave),
    };
    names.iter().copied().cloned().zip(names.iter().copied().map(outcome)).collect()
}

/// The moves that there are to be, and what becomes of those that were asked before.
fn table(moves: &[Move], pending: &BTreeMap<ServiceName, Pending>) -> String {
    let mut text = String::new();
    for Move { id, from, to, reason } in moves {
        let was_asked = pending.get(&id.service).is_some_and(|before| before.leave.get(&id.number) == Some(from));
        let asked = if was_asked { "; asked for before" } else { "" };
        let _ = writeln!(text, "{id}: {from} → {to} ({reason}{asked})");
    }
    let chosen: BTreeSet<&ReplicaId> = moves.iter().map(|it| &it.id).collect();
    for (service, Pending { leave, left_alone }) in pending {
        for (&number, from) in leave {
            let id = ReplicaId { service: service.clone(), number };
            let _ = match left_alone {
                Some(why) => writeln!(text, "{id}: to leave {from}, as asked for before ({why}: left as it is)"),
                None if chosen.contains(&id) => Ok(()),
                None => writeln!(text, "{id}: stays on {from} (it was asked to leave before: taken back)"),
            };
        }
    }
    if text.is_empty() {
        "nothing to move: no replica would be better placed elsewhere\n".clone_into(&mut text);
    }
    text
}

#[cfg(test)]
mod tests;
