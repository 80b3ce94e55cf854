//! `zkops status`: how all services are doing, or one service in full.

use std::{fmt::Write as _, time::Duration};

use jiff::Timestamp;
use tokio::time::timeout;

use super::{
    about::About,
    context::{self, Context},
    fleet::{self, Fleet, Service},
    get::{self, Format},
    live::{self, Live},
    render::{self, Cell, Table, Tone, or_dash},
    rollout::words,
};
use crate::{
    model::{Condition, ConditionKind, ServiceName, ServiceStatus},
    tree::layout,
};

/// How long a page of `--watch` stands before its ages are refreshed. Nothing is read for that.
const REFRESH: Duration = Duration::from_secs(1);

/// How many events the page of one service shows.
const EVENTS: usize = 10;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
STATUS is the controller's summary: healthy, progressing, degraded, disabled,
draining, drained or deleting; `pending` means that no controller has answered
to the latest change yet.

Examples:
  zkops status
  zkops status webapp --watch")]
pub(super) struct Args {
    /// Show this service in full
    #[arg(value_name = "SERVICE")]
    service: Option<ServiceName>,
    /// Show it again whenever something changes, until interrupted
    #[arg(short, long)]
    watch: bool,
    #[command(flatten)]
    output: Format,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let about = match &args.service {
        Some(name) => About::Service(name.clone()),
        None if args.output.is_json() => About::Everything,
        None => About::Services,
    };
    let fleet = cx.fleet(&about).await?;
    if args.watch { watch(args, cx).await } else { show(args, &fleet) }
}

/// Shows a page at every change. On its way the session may come and go: the page stays until it is back.
async fn watch(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let mut live = Live::start(cx, vec![live::root_of(args.service.as_ref()), layout::HOSTS.to_owned()]);
    let (mut next, mut shown) = (live.next().await, None);
    while let Some(fleet) = next {
        let page = page(args, &fleet, Timestamp::now())?;
        if shown.as_ref() != Some(&page) {
            render::fresh_page(shown.is_none())?;
            render::out(&page)?;
            shown = Some(page);
        }
        next = change_or_refresh(&mut live, fleet).await;
    }
    Ok(())
}

/// The fleet at its next change; on a screen also the same one again, so that its ages go on.
async fn change_or_refresh(live: &mut Live, fleet: Fleet) -> Option<Fleet> {
    if !render::is_screen() {
        return live.next().await;
    }
    timeout(REFRESH, live.next()).await.unwrap_or(Some(fleet))
}

fn show(args: &Args, fleet: &Fleet) -> anyhow::Result<()> {
    if args.service.is_none() && fleet.services.is_empty() && fleet.misnamed.is_empty() && !args.output.is_json() {
        render::note("no services (zkops apply -f FILE creates one)");
        return Ok(());
    }
    Ok(render::out(&page(args, fleet, Timestamp::now())?)?)
}

fn page(args: &Args, fleet: &Fleet, now: Timestamp) -> anyhow::Result<String> {
    match &args.service {
        None if args.output.is_json() => get::fleet_json(fleet),
        None => Ok(summary(fleet).text("") + &left_alone(fleet)),
        Some(name) => {
            let service = fleet.services.get(name).ok_or_else(|| context::no_service(name))?;
            if args.output.is_json() {
                get::service_json(name, service)
            } else {
                Ok(describe(name, service, fleet, now))
            }
        }
    }
}

/// One line for each service.
fn summary(fleet: &Fleet) -> Table {
    let mut table = Table::new(["SERVICE", "MODE", "VERSION", "READY", "UPDATED", "STATUS", "ROLLOUT", "CONDITIONS"]);
    for (name, service) in &fleet.services {
        let desired = service.desired_or_accepted();
        let status = fleet::read(service.status.as_ref());
        table.row([
            name.into(),
            or_dash(desired.map(|desired| desired.mode)),
            or_dash(desired.and_then(|desired| desired.version.as_ref())),
            get::ready_cell(service),
            or_dash(status.map(|status| status.updated)),
            get::summary_cell(service),
            get::rollout_cell(service),
            status.map(condition_names).unwrap_or_default(),
        ]);
    }
    table
}

fn left_alone(fleet: &Fleet) -> String {
    let mut text = String::new();
    for line in fleet.left_alone() {
        let _ = writeln!(text, "{}", Tone::Bad.paint(&render::harmless(&line)));
    }
    text
}

fn condition_names(status: &ServiceStatus) -> Cell {
    let kinds: Vec<_> = status.conditions.iter().map(|condition| condition.kind.to_string()).collect();
    kinds.join(",").into()
}

/// Everything of one service, as `kubectl describe` would.
fn describe(name: &ServiceName, service: &Service, fleet: &Fleet, now: Timestamp) -> String {
    let mut page = heading(name, service);
    for trouble in get::troubles(name, service) {
        let _ = writeln!(page, "{} {}", Tone::Bad.paint("Unreadable:"), render::harmless(&trouble));
    }
    let status = fleet::read(service.status.as_ref());
    section(&mut page, "Conditions", status.map(|status| conditions(&status.conditions, now)));
    section(&mut page, "Replicas", Some(get::replicas_of(service, fleet, now)));
    section(&mut page, "Events", status.map(|status| events(status, now)));
    page
}

fn heading(name: &ServiceName, service: &Service) -> String {
    let (spec, desired) = (service.spec_in_force(), service.desired_or_accepted());
    let mut table = Table::new(["Service:", name.as_str()]);
    let mut line = |label: &'static str, value: Cell| table.row([label.into(), value]);
    line("Unit:", or_dash(spec.map(|spec| &spec.unit)));
    line("Mode:", or_dash(desired.map(|desired| desired.mode)));
    line("Version:", or_dash(desired.and_then(|desired| desired.version.as_ref())));
    line("Config:", or_dash(desired.and_then(|desired| desired.config_version)));
    line("Replicas:", fleet::read(service.status.as_ref()).map_or_else(|| "-".into(), |status| counts(status).into()));
    line("Status:", get::summary_cell(service));
    if let Some((number, rollout)) = service.newest_rollout() {
        let said = words::line(service, number, rollout);
        line("Rollout:", Cell::new(said.trim_start_matches("rollout "), words::tone(rollout)));
        if let Some(way_out) = words::way_out(name, rollout) {
            line("Next:", way_out.into());
        }
    }
    table.text("")
}

fn counts(status: &ServiceStatus) -> String {
    let ServiceStatus { desired, replicas, ready, updated, .. } = status;
    format!("{desired} wanted, {replicas} there, {ready} ready, {updated} up to date")
}

fn section(page: &mut String, title: &str, table: Option<Table>) {
    let Some(table) = table.filter(|table| !table.is_empty()) else { return };
    let _ = write!(page, "\n{}\n{}", Tone::Strong.paint(&format!("{title}:")), table.text("  "));
}

fn conditions(conditions: &[Condition], now: Timestamp) -> Table {
    let mut table = Table::new(["TYPE", "SINCE", "MESSAGE"]);
    for Condition { kind, message, since, .. } in conditions {
        let tone = match kind {
            ConditionKind::Progressing | ConditionKind::Waiting | ConditionKind::RolloutPaused => Tone::Busy,
            _ => Tone::Bad,
        };
        table.row([Cell::new(kind, tone), render::age(now, *since).into(), message.into()]);
    }
    table
}

fn events(status: &ServiceStatus, now: Timestamp) -> Table {
    let mut table = Table::new(["AGE", "REPLICA", "HOST", "MESSAGE"]);
    let skipped = status.events.len().saturating_sub(EVENTS);
    for event in &status.events[skipped..] {
        let (replica, node) = (or_dash(event.replica), or_dash(event.node.as_ref()));
        table.row([render::age(now, event.at).into(), replica, node, (&event.message).into()]);
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use anstream::adapter::strip_str;

    use super::*;
    use crate::cli::fixture;

    #[test]
    fn all_services_in_a_line_each() {
        insta::assert_snapshot!(strip_str(&summary(&fixture::fleet()).text("")).to_string(), @r#"
    SERVICE   MODE      VERSION   READY   UPDATED   STATUS     ROLLOUT   CONDITIONS
    webapp    enabled   v2        1/3     2         degraded   -         Unplaced
    worker    enabled   -         0/2     -         pending    -
    "#);
    }

    #[test]
    fn one_service_in_full() {
        let fleet = fixture::fleet();
        let (name, service) = fleet.services.first_key_value().unwrap();
        insta::assert_snapshot!(strip_str(&describe(name, service, &fleet, fixture::now())).to_string(), @r#"
    Service:    webapp
    Unit:       webapp@.service
    Mode:       enabled
    Version:    v2
    Config:     7
    Replicas:   3 wanted, 3 there, 1 ready, 2 up to date
    Status:     degraded

    Conditions:
      TYPE       SINCE   MESSAGE
      Unplaced   60s     0000000003: no host fits

    Replicas:
      NUMBER       HOST   STATE      READY   PID    VERSION   CONFIG   RESTARTS   SINCE   MESSAGE
      0000000001   web1   running    yes     4711   v2        7        1          2m
      0000000002   web2   lost       no      99     v2        -        0          12m
      0000000003   -      unplaced   no      -      -         -        -          -

    Events:
      AGE   REPLICA      HOST   MESSAGE
      90s   -            -      applied
      60s   0000000002   web2   host lost
    "#);
    }

    #[test]
    fn nonsense_is_named() {
        let fleet = fixture::fleet();
        let (name, service) = fleet.services.last_key_value().unwrap();
        insta::assert_snapshot!(strip_str(&describe(name, service, &fleet, fixture::now())).to_string(), @r#"
    Service:    worker
    Unit:       -
    Mode:       enabled
    Version:    -
    Config:     -
    Replicas:   -
    Status:     pending
    Unreadable: /services/worker: unit: invalid type: integer `7`, expected a string at line 1 column 9
    "#);
    }
}
