//! `zkops rollout status`: how far a rollout is, once or until it has ended.

use std::fmt::Write as _;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout_at;

use super::{
    follow::{End, Follow, Stand},
    order, words,
};
use crate::{
    cli::{
        about::About,
        context::{self, Context},
        failure::Failure,
        fleet::{self, Fleet, Replica, Service},
        get::{self, Format},
        live::Live,
        render::{self, Bars, Cell, Table, Tone, or_dash},
        wait::{self, WaitArgs},
    },
    model::{ConditionKind, ReplicaNumber, Rollout, RolloutSummary, ServiceName, read_sequence},
    tree::layout,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without --watch or --wait it prints how far the rollout is, with exit code 0.
With --watch it ends when the rollout has ended or is paused by a failure, with --wait
also when it waits for promotion. A rollout that has not begun yet is waited for.
On a terminal the progress is drawn as bars, elsewhere each change is a line
(with -o json a document).

Exit codes with --watch and --wait:
  0  completed
  5  --wait timed out
  7  rolled back, paused by a failure, or superseded
  8  --wait: waits for `zkops rollout promote`

Examples:
  zkops rollout status webapp
  zkops rollout status webapp --watch
  zkops rollout status webapp --wait --timeout 10m || zkops rollout undo webapp")]
pub(super) struct Args {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: ServiceName,
    /// This rollout instead of the newest
    #[arg(long, value_name = "N", value_parser = read_sequence::<u64>)]
    rollout: Option<u64>,
    /// Show the progress until the rollout has ended
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
    #[command(flatten)]
    wait: WaitArgs,
    #[command(flatten)]
    output: Format,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let name = &args.service;
    let fleet = cx.fleet(&About::Service(name.clone())).await?;
    let service = fleet.services.get(name).ok_or_else(|| context::no_service(name))?;
    let number = args.rollout.or(service.rollouts.last_key_value().map(|(number, _)| *number));
    if args.watch || args.wait.patience().is_some() {
        if let Some(number) = args.rollout {
            Page::of(name, number, &fleet)?;
        }
        return follow(args, cx).await;
    }
    let page = Page::of(name, number.ok_or_else(|| order::no_rollout(name))?, &fleet)?;
    let now = Timestamp::now();
    Ok(render::out(&if args.output.is_json() { render::json_text(&page.json())? } else { page.text(now) })?)
}

/// Shows the rollout at each change until its end.
async fn follow(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let name = &args.service;
    let goal = Follow { service: name.clone(), number: args.rollout, beyond: None, end: End::Completed };
    let deadline = args.wait.patience().map(|patience| (patience, wait::after(patience.get())));
    let mut live = Live::start(cx, vec![layout::service(name), layout::HOSTS.to_owned()]);
    let mut board = Board::new(args.output);
    let mut missing = "ZooKeeper does not answer".to_owned();
    loop {
        let next = match deadline {
            Some((_, deadline)) => timeout_at(deadline, live.next()).await.ok().flatten(),
            None => live.next().await,
        };
        let Some(fleet) = next else {
            let patience = deadline.map_or_else(String::new, |(patience, _)| format!(" after {patience}"));
            return Err(Failure::TimedOut(format!("timed out{patience} waiting for {name}: {missing}")).into());
        };
        if !fleet.services.contains_key(name) {
            return Err(context::no_service(name));
        }
        match goal.find(&fleet) {
            Err(why) => {
                board.pending(name, &why)?;
                missing = why;
            }
            Ok((number, record, stand)) => {
                let page = Page::of(name, number, &fleet)?;
                board.show(&page)?;
                missing = words::line(page.service, number, record);
                let ended = goal.ended(number, record, stand).filter(|_| stand != Stand::Canary || !args.watch);
                if let Some(failure) = ended {
                    return Err(failure.into());
                }
                if stand == Stand::Completed {
                    return Ok(());
                }
            }
        }
    }
}

/// A rollout with everything that is shown of it.
struct Page<'f> {
    name: &'f ServiceName,
    number: u64,
    record: &'f Rollout,
    json: Option<&'f Value>,
    version: i32,
    service: &'f Service,
    fleet: &'f Fleet,
}

/// What may keep a rollout from going on, the weightiest first.
const HINDRANCES: [ConditionKind; 6] = [
    ConditionKind::Refused,
    ConditionKind::Failed,
    ConditionKind::Unplaced,
    ConditionKind::FailoverHeld,
    ConditionKind::HostLost,
    ConditionKind::Waiting,
];

/// The shape for programs.
#[derive(Serialize)]
struct Document<'f> {
    service: &'f ServiceName,
    number: u64,
    /// The record, as it is in the tree, and its node's version.
    rollout: Option<&'f Value>,
    version: i32,
    healthy: u32,
    total: u32,
    /// Whether nothing more will happen in it.
    ended: bool,
    /// What the controller's summary says of the newest rollout.
    summary: Option<&'f RolloutSummary>,
    /// The operator's last word, unless it is carried out.
    order: Option<&'f Value>,
    replicas: Vec<get::ReplicaItem<'f>>,
}

impl<'f> Page<'f> {
    fn of(name: &'f ServiceName, number: u64, fleet: &'f Fleet) -> anyhow::Result<Self> {
        let service = fleet.services.get(name).ok_or_else(|| context::no_service(name))?;
        let document = service.rollouts.get(&number).ok_or_else(|| {
            Failure::NotFound(format!("{name} has no rollout {number} (zkops rollout history {name} lists them)"))
        })?;
        let path = layout::rollout(name, number);
        let unreadable = |error| Failure::Conflict(format!("{path} cannot be read: {error}"));
        let record = document.read.as_ref().map_err(unreadable)?;
        let (json, version) = (document.json.as_ref(), document.version);
        Ok(Self { name, number, record, json, version, service, fleet })
    }

    fn json(&self) -> Document<'f> {
        let (healthy, total) = self.service.rollout_progress(self.number, self.record);
        let open = self.service.open_order().and(self.service.order.as_ref());
        Document {
            service: self.name,
            number: self.number,
            rollout: self.json,
            version: self.version,
            healthy,
            total,
            ended: self.record.state.has_ended(),
            summary: fleet::read(self.service.status.as_ref()).and_then(|status| status.rollout.as_ref()),
            order: open.and_then(|document| document.json.as_ref()),
            replicas: get::replica_items(self.name, self.service).collect(),
        }
    }

    fn text(&self, now: Timestamp) -> String {
        let mut text = self.heading(now).text("");
        let replicas = self.replicas();
        if !replicas.is_empty() {
            let _ = write!(text, "\n{}\n{}", Tone::Strong.paint("Replicas:"), replicas.text("  "));
        }
        text
    }

    fn heading(&self, now: Timestamp) -> Table {
        let Self { record, service, .. } = self;
        let mut table = Table::new(["Service:", self.name.as_str()]);
        let mut line = |label: &'static str, value: Cell| table.row([label.into(), value]);
        let (healthy, total) = service.rollout_progress(self.number, record);
        line("Rollout:", self.number.into());
        line("State:", Cell::new(words::state(record), words::tone(record)));
        if let Some(reason) = self.reason() {
            line("Reason:", reason.into());
        }
        if let Some(way_out) = words::way_out(self.name, record) {
            line("Next:", way_out.into());
        }
        line("Revision:", words::revision(&record.revision).into());
        line("Previous:", or_dash(record.from.map(|from| self.from(from))));
        line("Progress:", format!("{healthy}/{total} healthy, batch {}", record.batch + 1).into());
        line(
            "Started:",
            format!("{} ({} ago)", render::moment(record.started), render::age(now, record.started)).into(),
        );
        if let Some(ended) = record.ended {
            line("Ended:", format!("{}, after {}", render::moment(ended), render::age(ended, record.started)).into());
        }
        if let Some(order) = service.open_order() {
            let by = order.by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
            line("Order:", format!("{}{by}, not carried out yet", words::order(order.action)).into());
        }
        table
    }

    /// Why it is in its state; of one that goes on, what the controller says that it waits for.
    fn reason(&self) -> Option<&'f str> {
        if !self.record.reason.is_empty() {
            return Some(&self.record.reason);
        }
        let is_newest = self.service.newest_rollout().is_some_and(|(number, _)| number == self.number);
        let status =
            fleet::read(self.service.status.as_ref()).filter(|_| is_newest && !self.record.state.has_ended())?;
        let first = |kind: &ConditionKind| status.conditions.iter().find(|condition| condition.kind == *kind);
        HINDRANCES.iter().find_map(first).map(|condition| condition.message.as_str())
    }

    /// The rollout before, with what it brought if it is still known.
    fn from(&self, number: u64) -> String {
        let record = self.service.rollouts.get(&number).and_then(|document| document.read.as_ref().ok());
        let brought = record.map(|record| format!(" ({})", words::revision(&record.revision))).unwrap_or_default();
        format!("rollout {number}{brought}")
    }

    fn replicas(&self) -> Table {
        let mut table = Table::new(["NUMBER", "HOST", "STATE", "READY", "VERSION", "CONFIG", "ROLLOUT", "MESSAGE"]);
        let ready = self.service.ready();
        for (number, replica) in &self.service.replicas {
            let status = replica.current_status();
            let desired = fleet::read(replica.desired.as_ref());
            table.row([
                number.into(),
                or_dash(replica.host()),
                get::state_cell(self.fleet.state(replica)),
                if ready.contains(number) { Cell::new("yes", Tone::Good) } else { "no".into() },
                or_dash(status.and_then(|status| status.version.as_ref())),
                or_dash(status.and_then(|status| status.config_version)),
                or_dash(desired.and_then(|desired| desired.rollout)),
                get::remark(replica).into(),
            ]);
        }
        table
    }

    /// One replica in a few words.
    fn part(&self, number: ReplicaNumber, replica: &Replica) -> String {
        let status = replica.current_status();
        let version = status.and_then(|status| status.version.as_deref()).unwrap_or("-");
        let config = status.and_then(|status| status.config_version).map(|config| format!(" config {config}"));
        let ready = if self.service.ready().contains(&number) { ", ready" } else { "" };
        let remark = Some(get::remark(replica)).filter(|text| !text.is_empty()).map(|text| format!("  {text}"));
        let state = self.fleet.state(replica);
        format!("{version}{}  {state}{ready}{}", config.unwrap_or_default(), remark.unwrap_or_default())
    }
}

/// Where the progress is shown.
enum Board {
    Bars(Bars),
    Lines { last: String },
    Json { last: String },
}

impl Board {
    fn new(output: Format) -> Self {
        match (output.is_json(), render::can_draw()) {
            (true, _) => Self::Json { last: String::new() },
            (false, true) => Self::Bars(Bars::new()),
            (false, false) => Self::Lines { last: String::new() },
        }
    }

    fn show(&mut self, page: &Page<'_>) -> anyhow::Result<()> {
        let line = words::line(page.service, page.number, page.record);
        match self {
            Self::Bars(bars) => {
                let parts = page.service.replicas.iter();
                let parts: Vec<_> = parts.map(|(number, it)| (number.to_string(), page.part(*number, it))).collect();
                let (healthy, total) = page.service.rollout_progress(page.number, page.record);
                bars.show(page.name.as_str(), healthy, total, &line, &parts);
                // The last picture stays, as a page: the bars go.
                if page.record.state.has_ended() {
                    *self = Self::Lines { last: String::new() };
                    render::out(&page.text(Timestamp::now()))?;
                }
                Ok(())
            }
            Self::Lines { last } => said(last, format!("{}: {line}", page.name)),
            Self::Json { last } => said(last, serde_json::to_string(&page.json())?),
        }
    }

    fn pending(&mut self, name: &ServiceName, why: &str) -> anyhow::Result<()> {
        match self {
            Self::Bars(bars) => bars.show(name.as_str(), 0, 0, why, &[]),
            Self::Lines { last } => said(last, format!("{name}: {why}"))?,
            Self::Json { .. } => {}
        }
        Ok(())
    }
}

/// Prints the line if it is a new one.
fn said(last: &mut String, line: String) -> anyhow::Result<()> {
    if *last != line {
        render::line(&line)?;
        *last = line;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::cli::fixture;

    use super::*;

    fn text(state: &str, reason: &str) -> String {
        let name: ServiceName = "webapp".parse().unwrap();
        let mut record = fixture::rollout(state, "v2", 7);
        record["reason"] = reason.into();
        let mut tree = fixture::tree();
        tree.insert(layout::rollout(&name, 2), fixture::node(&record, 0));
        Page::of(&name, 2, &Fleet::of(&tree)).unwrap().text(fixture::now())
    }

    #[test]
    fn what_a_rollout_waits_for_is_its_reason_while_it_has_no_other() {
        assert!(text("running", "").contains("Reason:     0000000003: no host fits\n"), "{}", text("running", ""));
        assert!(!text("running", "resumed by ann").contains("no host fits"));
        assert!(!text("completed", "").contains("Reason:"));
    }
}
