//! `zkops events`: what the controller did and saw lately, of all services in one order.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use super::{
    about::About,
    context::{self, Context},
    fleet::{self, Fleet},
    get::Format,
    live::{self, Live},
    render::{self, Table},
};
use crate::model::{Event, EventReason, HostName, ReplicaNumber, ServiceName, ServiceStatus};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each service keeps its last 30 events. With -o json there is one event a line.

Examples:
  zkops events webapp
  zkops events --follow -o json | jq .message")]
pub(super) struct Args {
    /// Only this service's
    #[arg(value_name = "SERVICE")]
    service: Option<ServiceName>,
    /// Go on printing events as they happen
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    output: Format,
}

/// An event and the service that it is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Line {
    at: Timestamp,
    service: ServiceName,
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<ReplicaNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<HostName>,
    #[serde(skip_serializing_if = "EventReason::is_unknown")]
    reason: EventReason,
    message: String,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let about = args.service.clone().map_or(About::Services, About::Service);
    let fleet = cx.fleet(&about).await?;
    if let Some(name) = &args.service {
        fleet.services.get(name).ok_or_else(|| context::no_service(name))?;
    }
    if args.follow {
        return follow(args, cx).await;
    }
    let lines: Vec<_> = lines(&fleet, args.service.as_ref()).into_iter().collect();
    if args.output.is_json() {
        return lines.iter().try_for_each(render::json_line);
    }
    Ok(render::table(&table(&lines), "no events")?)
}

/// Prints the events that are there and those that come; ends with the connection or the reader.
async fn follow(args: &Args, cx: &Context) -> anyhow::Result<()> {
    let mut live = Live::start(cx, vec![live::root_of(args.service.as_ref())]);
    let mut printed = BTreeSet::new();
    while let Some(fleet) = live.next().await {
        let all = lines(&fleet, args.service.as_ref());
        for new in all.difference(&printed) {
            print(new, args.output)?;
        }
        printed = all;
    }
    Ok(())
}

fn print(line: &Line, output: Format) -> anyhow::Result<()> {
    if output.is_json() {
        return render::json_line(line);
    }
    let about = [Some(who(line)), line.node.as_ref().map(|node| format!("on {node}"))];
    let about = about.into_iter().flatten().collect::<Vec<_>>().join(" ");
    Ok(render::line(&format!("{}  {about}: {}", render::moment(line.at), render::harmless(&line.message)))?)
}

/// The replica, or the service when it is about the whole.
fn who(line: &Line) -> String {
    line.replica.map_or_else(|| line.service.to_string(), |number| format!("{}.{number}", line.service))
}

fn lines(fleet: &Fleet, only: Option<&ServiceName>) -> BTreeSet<Line> {
    let wanted = fleet.services.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
    wanted
        .filter_map(|(name, service)| Some((name, fleet::read(service.status.as_ref())?)))
        .flat_map(|(name, status)| of_service(name, status))
        .collect()
}

fn of_service<'a>(name: &'a ServiceName, status: &'a ServiceStatus) -> impl Iterator<Item = Line> + 'a {
    status.events.iter().map(|event| {
        let Event { at, reason, replica, node, message } = event.clone();
        Line { at, service: name.clone(), replica, node, reason, message }
    })
}

fn table(lines: &[Line]) -> Table {
    let mut table = Table::new(["TIME", "ABOUT", "HOST", "REASON", "MESSAGE"]);
    for line in lines {
        let node = render::or_dash(line.node.as_ref());
        let reason = render::or_dash(Some(line.reason).filter(|reason| !reason.is_unknown()));
        table.row([render::moment(line.at).into(), who(line).into(), node, reason, (&line.message).into()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture;

    #[test]
    fn events_come_in_order_with_what_they_are_about() {
        let lines: Vec<_> = lines(&fixture::fleet(), None).into_iter().collect();
        let text = anstream::adapter::strip_str(&table(&lines).text("")).to_string();
        insta::assert_snapshot!(text, @r#"
    TIME                   ABOUT               HOST   REASON   MESSAGE
    2026-11-22T18:00:30Z   webapp              -      -        applied
    2026-11-22T18:01:00Z   webapp.0000000002   web2   Moved    host lost
    "#);
    }
}
