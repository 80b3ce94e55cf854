//! A leading controller's planner, and beside it one that plans everything each time: both have to come to the same.

use jiff::Timestamp;
use similar::TextDiff;

use crate::{
    plan::controller::{Context, Memory, Plan, Planner, WORK, plan},
    tree::snapshot::Cluster,
};

/// A planner that is compared.
#[derive(Clone, Debug)]
pub(crate) struct Leader {
    planner: Planner,
    memory: Memory,
    /// How much work one plan may be.
    pub(crate) work: usize,
}

impl Default for Leader {
    fn default() -> Self {
        Self { planner: Planner::default(), memory: Memory::default(), work: WORK }
    }
}

impl Leader {
    /// A snapshot is seen; what has changed since the last.
    pub(crate) fn observe(&mut self, changed: impl Iterator<Item = String>, cluster: &Cluster, now: Timestamp) {
        changed.for_each(|path| self.planner.changed(&path));
        self.planner.observe(cluster, now);
        self.memory.observe(cluster, now);
    }

    pub(crate) fn lead_from(&mut self, now: Timestamp) {
        self.planner.lead_from(now);
        self.memory.lead_from(now);
    }

    pub(crate) fn context(&self, now: Timestamp, max_fraction: f64) -> Context {
        Context { work: self.work, ..self.memory.context(now, max_fraction) }
    }

    /// When the next plan is due.
    pub(crate) fn due(&self) -> Option<Timestamp> {
        self.memory.due()
    }

    /// Plans what has changed.
    pub(crate) fn plan(&mut self, cluster: &Cluster, now: Timestamp, max_fraction: f64) -> Plan {
        let context = self.context(now, max_fraction);
        self.planner.work = self.work;
        let made = self.planner.plan(cluster, now, max_fraction);
        let whole = plan(cluster, &context);
        // Each part of a plan begins where the last of its own kind ended.
        let is_all = context.begin_at.is_none() && made.rest.is_none() && whole.rest.is_none();
        if is_all && made != whole {
            let (made, whole) = (format!("{made:#?}"), format!("{whole:#?}"));
            let differences = TextDiff::from_lines(&made, &whole).unified_diff().context_radius(6).to_string();
            panic!("not all that has changed was planned again; what was, and should:\n{differences}");
        }
        self.memory.go_on_after(&made, now);
        self.planner.assert_known(cluster, &self.memory);
        made
    }
}
