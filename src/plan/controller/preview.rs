//! What would come of a change: the planner itself, on a copy of the tree, with agents that do at once whatever they are
//! told.
//!
//! ```text
//!  nodes + changes ─► World ─► plan ─► transactions ─► World ─► Agents ─► World ─► plan … until nothing is left to do;
//!                                        │                                         then the time passes to its wake_at
//!                                        └─► Report: what was decided, round by round
//! ```
//!
//! What fails today goes on failing until it is told something new; nothing else fails. So the report says what the
//! controller would do if all went well, and what it could not do even then.

mod agents;
mod changes;
mod report;
mod world;

use jiff::Timestamp;

use self::{agents::Agents, report::Recorder, world::World};
pub use self::{
    changes::{Changes, UnknownHost},
    report::{Batch, End, Report, RoundReport, Step, Undone, What},
};
use super::{Context, Memory, Plan, after, plan};
use crate::{
    model::{PauseCause, RolloutAction, RolloutOrder, RolloutState, ServiceName, Span, encode},
    tree::{
        copy::Znode,
        layout,
        snapshot::{Doc, ServiceView},
    },
};

/// What a preview is bound by.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// As the controllers have it: nothing is failed over while more than this part of the known hosts is lost (0.0 to 1.0).
    pub failover_max_fraction: f64,
    /// Whether an operator promotes each canary that becomes healthy in a rollout that begins meanwhile.
    pub promotes: bool,
    /// After so many plans it ends, wherever it is.
    pub most_plans: usize,
    /// Nothing later than this is looked at.
    pub longest: Span,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            failover_max_fraction: 0.55,
            promotes: true,
            most_plans: 50_000,
            longest: Span::from_secs(7 * 24 * 60 * 60),
        }
    }
}

/// What the leading controller would do, were the tree changed like this at `now`. The nodes are those of the whole tree.
///
/// # Errors
/// [`UnknownHost`]: a change names a host that is not there.
pub fn preview(
    nodes: impl IntoIterator<Item = (String, Znode)>,
    changes: &Changes,
    now: Timestamp,
    terms: &Terms,
) -> Result<Report, UnknownHost> {
    let mut world = World::new(nodes);
    let recorder = Recorder::new(&world, now);
    changes.put_on(&mut world)?;
    let agents = Agents::of(&world);
    Ok(Run { world, agents, recorder, memory: Memory::default(), now, terms }.until_rest())
}

/// A preview under way.
struct Run<'t> {
    world: World,
    agents: Agents,
    recorder: Recorder,
    memory: Memory,
    now: Timestamp,
    terms: &'t Terms,
}

impl Run<'_> {
    fn until_rest(mut self) -> Report {
        let until = after(self.now, self.terms.longest);
        for _ in 0..self.terms.most_plans {
            let plan = self.plan();
            let landed = self.carry_out(&plan);
            if landed || self.promote() {
                continue;
            }
            match plan.wake_at {
                Some(at) if at <= until => self.now = at,
                later => return self.recorder.end(&self.world, self.now, later.is_none()),
            }
        }
        self.recorder.end(&self.world, self.now, false)
    }

    fn plan(&mut self) -> Plan {
        self.agents.act(&mut self.world, self.now);
        self.memory.observe(&self.world.cluster, self.now);
        let context = self.memory.context(self.now, self.terms.failover_max_fraction);
        // One plan is as much work as it needs: nobody waits for it meanwhile.
        let plan = plan(&self.world.cluster, &Context { work: usize::MAX, ..context });
        self.memory.go_on_after(&plan, self.now);
        plan
    }

    /// Whether anything of it landed.
    fn carry_out(&mut self, plan: &Plan) -> bool {
        self.recorder.begin_round(self.now, &plan.notes);
        let mut landed = false;
        for transaction in &plan.transactions {
            let before = report::before(&self.world, transaction);
            let Ok(changed) = self.world.commit(&transaction.ops) else { continue };
            self.agents.notice(&changed);
            self.recorder.landed(&self.world, before);
            landed = true;
        }
        landed
    }

    /// Promotes what waits for that and began meanwhile; whether anything does.
    fn promote(&mut self) -> bool {
        if !self.terms.promotes {
            return false;
        }
        let waits = |(name, view): (&ServiceName, &ServiceView)| {
            let number = waiting_canary(view).filter(|number| self.recorder.is_new(name, *number))?;
            Some((name.clone(), number))
        };
        let waiting: Vec<(ServiceName, u64)> = self.world.cluster.services.iter().filter_map(waits).collect();
        for (name, rollout) in &waiting {
            let order =
                RolloutOrder { rollout: *rollout, action: RolloutAction::Promote, by: None, earlier: Vec::new() };
            self.world.write(&layout::rollouts(name), &encode(&order));
        }
        !waiting.is_empty()
    }
}

/// The rollout whose canary waits to be promoted.
fn waiting_canary(view: &ServiceView) -> Option<u64> {
    let (number, doc) = view.rollouts.last_key_value()?;
    let record = doc.good()?;
    let told = view.rollouts_node.as_ref().and_then(Doc::good).and_then(Option::as_ref);
    let is_told = told.is_some_and(|order| order.rollout == *number && order.action == RolloutAction::Promote);
    let waits = record.state == RolloutState::Paused && record.pause == Some(PauseCause::Canary);
    (waits && !is_told).then_some(*number)
}

#[cfg(test)]
mod tests;
