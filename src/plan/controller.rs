//! What the leading controller does next: the tree in, transactions with reasons out.
//!
//! ```text
//!  mirror ──► Cluster::apply ──► Cluster ─┐
//!             Memory::observe ──► Context ┴─► plan ──► Transaction … ──► the driver adds the lock's check, commits,
//!                                             │  ▲                        waits until the mirror shows it
//!                                             │  └──────────────────────── and plans again, until nothing is left
//!                                             └► wake_at: time alone will change something then
//! ```
//!
//! A leader has a [`Planner`], which plans only what has changed and what that concerns; [`plan`] is everything, and what comes
//! of both is the same.
//!
//! A plan has at most one transaction per service. Each also writes `/services/<svc>/status` at the version it was
//! planned from, so that of two plans made from one snapshot, or by two leaders, at most one lands. Within a service:
//!
//! 1. [`accept`]: which description and desired state are in force, and what is wrong with the others.
//! 2. [`classify`]: what there is of each replica.
//! 3. [`remove`]: which are too many. [`repair`]: what was damaged by hand.
//! 4. [`rollout`]: what the replicas are brought to, how far that is, and who is next.
//! 5. [`service`]: all of this in order, and replica by replica, the first that applies: leave a host where it fails or that is lost
//!    ([`failover`]), leave a host that it may not stay on ([`vacate`], [`start_first`]), else carry out what changed ([`change`]); planned
//!    changes share one budget. [`place`] chooses hosts.
//! 6. [`forget`]: configuration revisions that nothing uses, and moves that are done.
//! 7. [`status`]: counts, conditions, events; written only when they say something new. [`words`] has why and in which words.
//!
//! [`round`] is a service while it is planned, in parts by what may be touched: [`facts`] (read), [`output`] (added to),
//! [`placement`] (hosts and who is on them; [`stay`]: who has to leave), the rollout, and the [`budget`].

mod accept;
mod assign;
mod budget;
mod change;
mod claims;
mod classify;
mod conflicts;
mod cool_off;
mod explain;
mod facts;
mod failover;
mod failures;
mod fleet;
mod forget;
mod hold;
mod host;
mod memory;
mod no_feasible_host;
mod nodes;
mod notice;
mod occupancy;
mod output;
mod place;
mod placement;
mod planner;
mod ports;
mod preview;
mod relations;
mod remove;
mod repair;
mod revision_choice;
mod rollout;
mod round;
mod service;
mod spread;
mod start_first;
mod status;
mod stay;
mod transaction;
mod vacate;
mod words;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use jiff::Timestamp;

pub use self::{
    explain::{Prospects, keeps_away, port_neighbours, prospects},
    memory::Memory,
    planner::Planner,
    preview::{Batch, Changes, End, Report, RoundReport, Step, Terms, Undone, UnknownHost, What, preview},
    spread::{Move, Pending, pending_moves, spread},
};
use self::{
    fleet::{Asked, Fleet},
    service::Planned,
};
use crate::{
    model::{HostName, ReplicaId, ServiceName, Span},
    tree::{
        snapshot::{Cluster, ServiceView},
        txn::{Op, Transaction},
    },
};

/// What a plan depends on beside the tree. [`Memory::context`] makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Context {
    /// The time of planning.
    pub now: Timestamp,
    /// Since when this leader plans: what came to pass before, it has not seen, and no deadline runs without a leader.
    pub leading_since: Timestamp,
    /// Hosts seen without `alive`, and since when by this leader's clock. One that is missing counts from `now`.
    pub lost_since: BTreeMap<HostName, Timestamp>,
    /// When to write a replica's assignment again, because its agent owes an answer.
    pub nudge_at: BTreeMap<ReplicaId, Timestamp>,
    /// Replicas of services with a rollout under way, and since when each has been ready without a break, by this
    /// leader's clock. One that is missing counts from `now`.
    pub ready_since: BTreeMap<ReplicaId, Timestamp>,
    /// Nothing is failed over while more than this part of the known hosts is lost (0.0 to 1.0).
    pub failover_max_fraction: f64,
    /// The service to begin with: the plan before this one came as far as that.
    pub begin_at: Option<ServiceName>,
    /// How much work one plan may be, in hosts that are looked at; see [`WORK`]. The service under which it is spent is
    /// planned to its end.
    pub work: usize,
}

/// How many hosts one plan looks at for a place: about 100 ms of work.
pub const WORK: usize = 4_000_000;

/// What to do next.
#[must_use = "a plan that nobody carries out changes nothing, and its notes are said nowhere else"]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In the order in which to commit them; independent of each other: one that fails keeps none of the others.
    pub transactions: Vec<Transaction>,
    /// When to plan again, should nothing change before: a deadline passes then.
    pub wake_at: Option<Timestamp>,
    /// What cannot be said in any service's status, for the log.
    pub notes: Vec<String>,
    /// How many replicas failed, or were refused, on so many hosts of late that they stay where they are.
    pub held: usize,
    /// The service to go on with in the next plan, because this one has done enough work; `None` when all were planned.
    pub rest: Option<ServiceName>,
}

/// Plans the next round. An empty plan without a [rest](Plan::rest) means that all is as wanted, or waits for someone else or
/// for [`Plan::wake_at`].
///
/// The snapshot has to be complete: what is missing in it counts as deleted.
pub fn plan(cluster: &Cluster, context: &Context) -> Plan {
    let mut fleet = Fleet::new(cluster, context);
    let from = context.begin_at.as_ref().map_or(Bound::Unbounded, Bound::Included);
    let services = cluster.services.range((from, Bound::Unbounded)).filter(|(_, view)| view.spec.is_some());
    let (draft, _) = draft(services, &mut fleet, context, false).unwrap_or_default().mend(cluster, &fleet);
    let standing = draft.planned.iter().map(|(_, standing)| standing);
    Plan::of(draft.transactions, standing, draft.left.cloned(), cluster)
}

/// What the plan of one service came to, beside its transaction.
#[derive(Clone, Debug)]
struct Standing {
    /// Nothing is to be done.
    is_settled: bool,
    wake_at: Option<Timestamp>,
    note: Option<String>,
    held: usize,
    asked: Asked,
}

/// What comes of planning some services.
#[derive(Default)]
struct Draft<'a> {
    /// What brings back what was lost comes first.
    transactions: Vec<Transaction>,
    planned: Vec<(&'a ServiceName, Standing)>,
    /// The first of those that are left to the next plan.
    left: Option<&'a ServiceName>,
}

/// Plans these services, in this order. `None`: a place is looked for, and `is_narrow` says that the fleet is not all there is.
fn draft<'a>(
    services: impl Iterator<Item = (&'a ServiceName, &'a ServiceView)>,
    fleet: &mut Fleet<'a>,
    context: &'a Context,
    is_narrow: bool,
) -> Option<Draft<'a>> {
    let (mut draft, mut rest) = (Draft::default(), Vec::new());
    for (name, view) in services {
        if fleet.work > context.work {
            draft.left = Some(name);
            break;
        }
        let Planned { transaction, is_urgent, wake_at, note, held } = service::plan_service(name, view, fleet, context);
        let asked = fleet.take_asked();
        if is_narrow && asked.seeks {
            return None;
        }
        draft.planned.push((name, Standing { is_settled: transaction.is_none(), wake_at, note, held, asked }));
        if is_urgent { &mut draft.transactions } else { &mut rest }.extend(transaction);
    }
    draft.transactions.append(&mut rest);
    Some(draft)
}

impl<'a> Draft<'a> {
    /// Adds what mends the indices of the hosts; also says of which.
    fn mend(mut self, cluster: &Cluster, fleet: &Fleet<'a>) -> (Self, BTreeSet<HostName>) {
        let mut mending = repair::missing_assigned(fleet);
        mending.extend(repair::orphans(cluster, fleet));
        let paths = mending.iter().flat_map(|transaction| &transaction.ops).map(Op::path);
        let hosts = paths.filter_map(|path| path.strip_prefix("/hosts/")?.split('/').next()?.parse().ok()).collect();
        self.transactions.append(&mut mending);
        (self, hosts)
    }
}

impl Plan {
    fn of<'s>(
        transactions: Vec<Transaction>,
        standing: impl Iterator<Item = &'s Standing>,
        rest: Option<ServiceName>,
        cluster: &Cluster,
    ) -> Self {
        let problems = cluster.problems.iter().map(|(path, problem)| format!("{path}: {problem}; it is left alone"));
        let mut plan = Self { transactions, rest, notes: problems.collect(), ..Self::default() };
        for standing in standing {
            plan.wake_at = plan.wake_at.into_iter().chain(standing.wake_at).min();
            plan.notes.extend(standing.note.clone());
            plan.held += standing.held;
        }
        plan
    }
}

/// `since` plus `span`; the end of time when it is past that.
fn after(since: Timestamp, span: Span) -> Timestamp {
    since.checked_add(span.get()).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
pub(crate) mod check;
#[cfg(test)]
mod tests;
