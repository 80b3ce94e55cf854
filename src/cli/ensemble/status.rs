//! `zkops ensemble status`: what each member says of itself, and how the ensemble does.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::look;
use crate::{
    cli::{
        context::Context,
        get::Format,
        render::{self, Cell, Table, Tone, or_dash},
    },
    model::{
        Span,
        ensemble::{Answer, Mntr, Mode, Report, Silence, Srvr},
    },
    plan::ensemble::health::{Health, State},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Asks every member at once with the four-letter words ruok, srvr and mntr; a member whose
4lw.commands.whitelist lacks some of them shows what the others tell. Members are those of the
connection string (-z); when these are not all, also those that /zookeeper/config names.

FOLLOWERS are the leader's: those in sync, of those that there are. LATENCY is average/longest, in
milliseconds, since the member began to serve. SESSIONS are the whole ensemble's, CONNECTIONS and
WATCHES the member's.

Exit codes: 0 healthy, 9 degraded (a member is down or not in sync), 6 no quorum.

Example:
  zkops -z zk1:2181,zk2:2181,zk3:2181 ensemble status")]
pub(super) struct Args {
    #[command(flatten)]
    output: Format,
    /// How long a member may take to answer
    #[arg(long, value_name = "TIME", default_value = "2s")]
    timeout: Span,
}

pub(super) async fn run(args: &Args, cx: &Context) -> anyhow::Result<ExitCode> {
    let (_, reports) = look(cx, args.timeout.get()).await?;
    let health = Health::of(&reports);
    if args.output.is_json() {
        render::out(&render::json_text(&document(&health, &reports))?)?;
    } else {
        render::out(&text(&health, &reports))?;
    }
    Ok(code(health.state))
}

fn code(state: State) -> ExitCode {
    ExitCode::from(match state {
        State::Healthy => 0,
        State::Degraded => 9,
        State::NoQuorum => 6,
    })
}

fn text(health: &Health, reports: &[Report]) -> String {
    let mut table = Table::new([
        "MEMBER",
        "MODE",
        "VERSION",
        "ZXID",
        "FOLLOWERS",
        "LATENCY",
        "OUTSTANDING",
        "CONNECTIONS",
        "SESSIONS",
        "WATCHES",
        "ZNODES",
    ]);
    for report in reports {
        table.row(row(report, reports));
    }
    let mut text = table.text("") + &summary(health) + "\n";
    for line in health.problems.iter().map(ToString::to_string).chain(remarks(reports)) {
        text.extend(["  ", &render::harmless(&line), "\n"]);
    }
    text
}

fn row(report: &Report, all: &[Report]) -> [Cell; 11] {
    let (srvr, mntr) = (report.srvr.as_ref().ok(), report.mntr.as_ref().ok());
    let mode = match &report.srvr {
        Ok(srvr) => Cell::new(&srvr.mode, Tone::Good),
        Err(Silence::NotServing) => Cell::new("no quorum", Tone::Bad),
        Err(Silence::NotAllowed | Silence::Strange(_)) => Cell::new("unknown", Tone::Bad),
        Err(_) => Cell::new("down", Tone::Bad),
    };
    [
        (&report.address).into(),
        mode,
        or_dash(srvr.map(|srvr| &srvr.version)),
        or_dash(srvr.map(|srvr| srvr.zxid)),
        or_dash(followers(report, all)),
        or_dash(srvr.map(|Srvr { latency, .. }| format!("{:.1}/{}", latency.avg, latency.max))),
        or_dash(srvr.map(|srvr| srvr.outstanding)),
        or_dash(srvr.map(|srvr| srvr.connections)),
        or_dash(mntr.and_then(|mntr| mntr.sessions)),
        or_dash(mntr.and_then(|mntr| mntr.watches)),
        or_dash(srvr.map(|srvr| srvr.znodes)),
    ]
}

/// How many followers of a leader are synced, of how many that serve.
fn followers(report: &Report, all: &[Report]) -> Option<String> {
    let synced = report.synced_followers()?;
    let serving = all.iter().filter(|other| other.mode() == Some(Mode::Follower)).count();
    Some(format!("{synced}/{serving}"))
}

fn summary(health: &Health) -> String {
    let tone = match health.state {
        State::Healthy => Tone::Good,
        State::Degraded => Tone::Busy,
        State::NoQuorum => Tone::Bad,
    };
    let Health { voters, serving, leader, .. } = health;
    let leads = leader.as_ref().map(|leader| format!(", {leader} leads")).unwrap_or_default();
    let needed = health.needed();
    format!(
        "{}: {serving} of {voters} voting members serve, {needed} are needed{leads}",
        tone.paint(&health.state.to_string())
    )
}

/// What is not wrong, but good to know.
fn remarks(reports: &[Report]) -> Vec<String> {
    let lacks = |report: &Report| {
        let words = silent_words(report);
        (!words.is_empty()).then(|| {
            format!(
                "{}: {} not in its 4lw.commands.whitelist, so that not all is known",
                report.address,
                words.join(" and ")
            )
        })
    };
    let unlisted = |report: &Report| {
        (!report.listed)
            .then(|| format!("{} is not in the connection string: /zookeeper/config names it", report.address))
    };
    reports.iter().flat_map(|report| [lacks(report), unlisted(report)]).flatten().collect()
}

/// The words, but for `srvr`, that a member is not allowed to answer.
fn silent_words(report: &Report) -> Vec<&'static str> {
    let ruok = (report.ruok == Err(Silence::NotAllowed)).then_some("ruok");
    let mntr = matches!(&report.mntr, Err(Silence::NotAllowed)).then_some("mntr");
    ruok.into_iter().chain(mntr).collect()
}

fn document(health: &Health, reports: &[Report]) -> Value {
    json!({
        "state": health.state.to_string().replace(' ', "-"),
        "leader": health.leader.as_ref().map(ToString::to_string),
        "voters": health.voters,
        "serving": health.serving,
        "needed": health.needed(),
        "problems": health.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "members": reports.iter().map(item).collect::<Vec<_>>(),
    })
}

fn item(report: &Report) -> Value {
    let (srvr, mntr) = (report.srvr.as_ref().ok(), report.mntr.as_ref().ok());
    let count = |pick: fn(&Mntr) -> Option<u64>| mntr.and_then(pick);
    json!({
        "address": report.address.to_string(),
        "listed": report.listed,
        "mode": report.mode().map(Mode::as_str),
        "problem": report.srvr.as_ref().err().map(ToString::to_string),
        "ruok": word(&report.ruok, |()| json!(true)),
        "version": srvr.map(|srvr| &srvr.version),
        "zxid": srvr.map(|srvr| srvr.zxid.to_string()),
        "synced_followers": count(|mntr| mntr.synced_followers),
        "latency_ms": srvr.map(|Srvr { latency, .. }| json!({"min": latency.min, "avg": latency.avg, "max": latency.max})),
        "outstanding": srvr.map(|srvr| srvr.outstanding),
        "connections": srvr.map(|srvr| srvr.connections),
        "sessions": count(|mntr| mntr.sessions),
        "watches": count(|mntr| mntr.watches),
        "znodes": srvr.map(|srvr| srvr.znodes),
        "not_allowed": silent_words(report),
    })
}

/// `null` where nothing is known of it: the whitelist lacks it.
fn word<T>(answer: &Answer<T>, value: impl Fn(&T) -> Value) -> Value {
    match answer {
        Ok(said) => value(said),
        Err(Silence::NotAllowed) => Value::Null,
        Err(_) => json!(false),
    }
}
