//! What can happen, and how often.

use proptest::{
    collection::{SizeRange, vec},
    prelude::*,
    sample::{select, subsequence},
};
use serde_json::{Value, json};

use crate::{
    sim::cluster::{FAILS, REJECTED, UNREADY},
    sim::tasks::Luck,
};

pub(super) const HOSTS: [&str; 4] = ["web1", "web2", "web3", "web4"];
pub(super) const SERVICES: [&str; 3] = ["alpha", "beta", "gamma"];

/// Three weeks, in seconds.
const WEEKS: u64 = 1_814_400;

/// One thing that happens.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A controller plans, and commits so many of its transactions before it dies or is done.
    Control {
        who: usize,
        fresh: bool,
        transactions: usize,
    },
    Agent(&'static str),
    Agents,
    /// Everyone acts in turn for a while, as much as is to be done at once.
    Settle,
    Sleep(u64),
    /// Nobody leads for so many seconds.
    Leaderless(u64),
    /// The agent's loop turns; what it begins gets on by itself.
    Turn(&'static str),
    /// Something that an agent has begun gets on.
    Advance(&'static str, prop::sample::Index, Luck),
    /// The agent is killed, and what it had asked is done or not; it is started again at once, or at the next boot.
    Kill(&'static str, bool, bool),
    /// The host loses its power; its session goes on until it times out, or the host is back at once.
    PowerOff(&'static str, bool),
    /// The connection is lost; the session goes on until it times out, or there is another connection.
    Disconnect(&'static str),
    /// One of the host's processes ends by itself.
    End(&'static str, prop::sample::Index, bool),
    /// What runs there serves nothing from now on, or serves again.
    Sick(&'static str, bool),
    /// The host's clock is set, by so many seconds ahead of what it should be, or behind.
    Clock(&'static str, i64),
    /// Somebody removes generated files there and has systemd read all again.
    Revert(&'static str, prop::sample::Index),
    Crash(&'static str),
    Cut(&'static str),
    ShutDown(&'static str),
    Boot(&'static str),
    /// In the end, the hosts die for good.
    Doom(Vec<&'static str>),
    /// On these hosts the service fails from now on, on the others it does not.
    Fail(Vec<&'static str>, &'static str),
    /// These hosts refuse the service from now on without having told so, the others do not.
    Refuse(Vec<&'static str>, &'static str),
    /// An operator asks that one of the service's replicas leave its host.
    Leave(&'static str, prop::sample::Index),
    /// An agent's `allowed_units` change, and it is started again; none: it tells nothing.
    Allow(&'static str, Option<Vec<&'static str>>),
    Desired(&'static str, Value),
    Describe(&'static str, Value),
    /// Operators' words on the newest rollout, one right after the other.
    Order(&'static str, Vec<&'static str>),
    /// The service is to run again what it ran before.
    Undo(&'static str),
    /// So many configurations are pushed, and the last one is wanted.
    Push(&'static str, u32),
    Host(&'static str, Value),
    /// Garbage at one of the nodes there are.
    Garbage(prop::sample::Index, &'static str),
    /// `deleteall` of one of the nodes there are.
    Delete(prop::sample::Index),
}

fn host() -> impl Strategy<Value = &'static str> {
    select(&HOSTS[..])
}

fn hosts(size: impl Into<SizeRange>) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(&HOSTS[..], size)
}

fn service() -> impl Strategy<Value = &'static str> {
    select(&SERVICES[..])
}

fn desired() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (0..6).prop_map(|replicas| json!({ "replicas": replicas })),
        3 => select(vec!["v1", "v2", "v3", FAILS, UNREADY, REJECTED]).prop_map(|version| json!({ "version": version })),
        1 => (1..4).prop_map(|config| json!({ "config_version": config })),
        2 => select(vec!["enabled", "enabled", "disabled", "drain"]).prop_map(|mode| json!({ "mode": mode })),
    ]
}

fn description() -> impl Strategy<Value = Value> {
    let units = vec!["alpha@.service", "beta.service", "beta@.service", "gamma.service", "shared.service"];
    prop_oneof![
        3 => select(units).prop_map(|unit| json!({ "unit": unit, "placement": null })),
        1 => Just(json!({ "placement": { "constraints": ["zone=a"] } })),
        1 => Just(json!({ "placement": { "spread": "zone" } })),
        1 => Just(json!({ "unit": "alpha@.service", "placement": { "max_per_host": 1 } })),
        1 => Just(json!({ "placement": null })),
        2 => Just(json!({ "placement": { "move": "start-first" } })),
        1 => Just(json!({ "unit": "alpha@.service", "placement": null, "port": 80 })),
        1 => Just(json!({ "unit": "alpha@.service", "placement": { "max_per_host": 1, "move": "start-first" } })),
        1 => (1..3).prop_map(|max| json!({ "max_unavailable": max })),
        // Only with surge replicas can a service be updated of which none may be missing.
        2 => Just(json!({ "max_unavailable": 0, "rollout": { "max_surge": 1, "min_healthy_time": "0s" } })),
        1 => select(vec![json!({ "keep": 1 }), json!({ "keep": 3 }), json!(null)]).prop_map(|config| json!({ "config": config })),
        1 => select(vec!["a", "b"]).prop_map(|value| json!({ "environment": { "A": value } })),
        4 => (rollout(), 1..3).prop_map(|(policy, max)| json!({ "rollout": policy, "max_unavailable": max })),
        1 => select(vec![Some(80), Some(90), None]).prop_map(|port| json!({ "port": port })),
        1 => any::<bool>().prop_map(|wait| json!({ "wait_for_reboot": wait })),
        1 => Just(json!({ "deleting": true })),
    ]
}

fn rollout() -> impl Strategy<Value = Value> {
    let batches = vec![json!([]), json!([1]), json!([1, "50%"])];
    let deadlines = vec![("60s", "90s"), ("60s", "90s"), ("5m", "10m")];
    let times = (select(vec!["0s", "5s"]), select(vec!["0s", "20s"]), select(deadlines));
    let sizes = (select(vec![json!(0), json!(1), json!(2), json!("50%")]), select(vec![0, 1]), select(batches));
    let failures =
        (select(vec![json!(0), json!(0), json!(1), json!("50%")]), select(vec!["rollback", "rollback", "pause"]));
    (sizes, times, any::<bool>(), failures).prop_map(
        |((surge, canary, batches), (healthy, pause, (deadline, progress)), promote, (failures, failure))| {
            json!({
                "max_surge": surge, "canary": canary, "auto_promote": promote, "batches": batches,
                "min_healthy_time": healthy, "batch_pause": pause, "healthy_deadline": deadline, "progress_deadline": progress,
                "max_failures": failures, "on_failure": failure, "history_limit": 2,
            })
        },
    )
}

fn allowed() -> impl Strategy<Value = Option<Vec<&'static str>>> {
    let units = vec!["alpha@.service", "beta.service", "beta@.service", "gamma@.service", "gamma.service"];
    prop::option::of(subsequence(units, 0..5))
}

fn host_words() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!({})),
        1 => Just(json!({ "cordon": true })),
        2 => Just(json!({ "drain": true })),
        1 => Just(json!({ "drain": true, "drain_deadline": "2026-01-01T00:15:00Z" })),
        1 => Just(json!({ "labels": { "zone": "a" } })),
        1 => Just(json!({ "labels": { "zone": "b" } })),
    ]
}

pub(super) fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![8 => Just(Luck::Good), 1 => Just(Luck::Fails), 1 => Just(Luck::Lost)]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        30 => host().prop_map(Step::Turn),
        40 => (host(), index(), luck()).prop_map(|(host, index, luck)| Step::Advance(host, index, luck)),
        2 => (host(), any::<bool>(), prop::bool::weighted(0.8)).prop_map(|(host, goes_on, back)| Step::Kill(host, goes_on, back)),
        1 => (host(), any::<bool>()).prop_map(|(host, back)| Step::PowerOff(host, back)),
        1 => host().prop_map(Step::Disconnect),
        2 => (host(), index(), any::<bool>()).prop_map(|(host, index, fails)| Step::End(host, index, fails)),
        1 => (host(), any::<bool>()).prop_map(|(host, sick)| Step::Sick(host, sick)),
        1 => (host(), select(vec![-31_536_000_i64, -3_600, -30, 0, 30, 3_600, 31_536_000]))
            .prop_map(|(host, ahead)| Step::Clock(host, ahead)),
        1 => (host(), index()).prop_map(|(host, index)| Step::Revert(host, index)),
        20 => (prop_oneof![5 => Just(0_usize), 1 => Just(1_usize)], prop::bool::weighted(0.8), prop_oneof![3 => Just(100_usize), 1 => 0..3_usize])
            .prop_map(|(who, fresh, transactions)| Step::Control { who, fresh, transactions }),
        12 => host().prop_map(Step::Agent),
        4 => Just(Step::Agents),
        6 => Just(Step::Settle),
        6 => select(vec![1_u64, 3, 11, 55, 55, 700]).prop_map(Step::Sleep),
        1 => select(vec![100_u64, 1_000, WEEKS]).prop_map(Step::Leaderless),
        1 => Just(Step::Sleep(WEEKS)),
        2 => host().prop_map(Step::Crash),
        1 => host().prop_map(Step::Cut),
        1 => host().prop_map(Step::ShutDown),
        4 => host().prop_map(Step::Boot),
        1 => hosts(1..=HOSTS.len()).prop_map(Step::Doom),
        2 => (hosts(0..=HOSTS.len()), service()).prop_map(|(hosts, service)| Step::Fail(hosts, service)),
        1 => (hosts(0..=HOSTS.len()), service()).prop_map(|(hosts, service)| Step::Refuse(hosts, service)),
        2 => (service(), any::<prop::sample::Index>()).prop_map(|(service, index)| Step::Leave(service, index)),
        1 => (host(), allowed()).prop_map(|(host, units)| Step::Allow(host, units)),
        6 => (service(), desired()).prop_map(|(service, keys)| Step::Desired(service, keys)),
        3 => (service(), description()).prop_map(|(service, keys)| Step::Describe(service, keys)),
        3 => (service(), vec(select(vec!["pause", "resume", "promote", "abort"]), 1..3))
            .prop_map(|(service, actions)| Step::Order(service, actions)),
        2 => service().prop_map(Step::Undo),
        2 => (service(), select(vec![1, 1, 6])).prop_map(|(service, count)| Step::Push(service, count)),
        3 => (host(), host_words()).prop_map(|(host, words)| Step::Host(host, words)),
        2 => (any::<prop::sample::Index>(), select(vec!["", "{", "7", "{}", "{\"replicas\":-1}"]))
            .prop_map(|(index, garbage)| Step::Garbage(index, garbage)),
        1 => any::<prop::sample::Index>().prop_map(Step::Delete),
    ]
}
