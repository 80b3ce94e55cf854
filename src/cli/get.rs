//! `zkops get`: the tree's documents as lists, for people and for programs.

mod json;
mod tables;

use clap::ValueEnum;

use jiff::Timestamp;

use super::{about::About, context::Context, failure::Failure, fleet::Fleet, render};
use crate::model::{ReplicaNumber, read_sequence};

pub(super) use self::{
    json::{
        ReplicaItem, Trouble, fleet_page as fleet_json, page as service_json, replicas as replica_items, trouble,
        troubles,
    },
    tables::{ready_cell, remark, replicas_of, rollout_cell, state_cell, summary_cell},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
With -o json, a list is {\"items\": […]}, and the one that NAME names is the bare object.

Examples:
  zkops get
  zkops get replicas webapp
  zkops get instances webapp -o json | jq -r '.items[].instance | \"\\(.address):\\(.port)\"'
  zkops get hosts web1 -o json")]
pub(super) struct Args {
    /// What to list
    #[arg(value_enum, default_value_t = Kind::Services)]
    kind: Kind,
    /// Only this one; for replicas and instances, a service's name gives all of it
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    output: Format,
}

/// How to print.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Format {
    /// How to print: a table for people or JSON for programs
    #[arg(short, long, value_enum, default_value_t = Output::Table, value_name = "FORMAT")]
    output: Output,
}

impl Format {
    pub(super) fn is_json(self) -> bool {
        self.output == Output::Json
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    #[value(aliases = ["service", "svc"])]
    Services,
    #[value(alias = "replica")]
    Replicas,
    #[value(alias = "host")]
    Hosts,
    #[value(alias = "instance")]
    Instances,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Services => "service",
            Self::Replicas => "replica",
            Self::Hosts => "host",
            Self::Instances => "instance",
        }
    }
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let fleet = cx.fleet(&about(args)).await?;
    list(args.kind, args.name.as_deref(), args.output, fleet)
}

/// What of the tree that is.
fn about(args: &Args) -> About {
    let Some(name) = args.name.as_deref() else {
        return match args.kind {
            Kind::Hosts => About::Hosts,
            Kind::Services if !args.output.is_json() => About::Services,
            Kind::Services | Kind::Replicas | Kind::Instances => About::Everything,
        };
    };
    if args.kind == Kind::Hosts {
        return name.parse().map_or(About::Hosts, About::Host);
    }
    let replica = name.rsplit_once('.').filter(|_| args.kind == Kind::Replicas);
    let service = replica.map_or(name, |(service, _)| service);
    service.parse().map_or(About::Everything, About::Service)
}

/// Lists one kind of thing, all of them or the named.
pub(super) fn list(kind: Kind, name: Option<&str>, output: Format, mut fleet: Fleet) -> anyhow::Result<()> {
    let bare = name.is_some_and(|name| narrow(&mut fleet, kind, name) == Found::One);
    if name.is_some() && is_empty(&fleet, kind) {
        let (word, name) = (kind.word(), name.unwrap_or_default());
        return Err(Failure::NotFound(format!("there is no {word} \"{name}\" (zkops get {word}s lists them)")).into());
    }
    if output.is_json() {
        return Ok(render::out(&json::text(kind, &fleet, bare)?)?);
    }
    Ok(render::table(&tables::table(kind, &fleet, Timestamp::now()), &format!("no {}s", kind.word()))?)
}

/// What a name can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// One thing of its kind.
    One,
    /// All of a service's.
    Several,
}

/// Takes everything of the kind out of the fleet but the named.
fn narrow(fleet: &mut Fleet, kind: Kind, name: &str) -> Found {
    match (kind, name.rsplit_once('.')) {
        (Kind::Hosts, _) => {
            fleet.hosts.retain(|host, _| host.as_str() == name);
            Found::One
        }
        (Kind::Replicas, Some((service, number))) => {
            fleet.services.retain(|name, _| name.as_str() == service);
            let kept = |replica: &ReplicaNumber| read_sequence(number) == Ok(replica.0);
            fleet.services.values_mut().for_each(|service| service.replicas.retain(|number, _| kept(number)));
            fleet.services.retain(|_, service| !service.replicas.is_empty());
            Found::One
        }
        _ => {
            fleet.services.retain(|service, _| service.as_str() == name);
            if kind == Kind::Services { Found::One } else { Found::Several }
        }
    }
}

fn is_empty(fleet: &Fleet, kind: Kind) -> bool {
    match kind {
        Kind::Hosts => fleet.hosts.is_empty(),
        _ => fleet.services.is_empty(),
    }
}
