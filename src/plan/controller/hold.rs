//! Whether so many hosts are lost that nothing is failed over: past that, a fault of the network is likelier than so many
//! dead machines.

use jiff::Timestamp;

use super::{Context, after, host::Host, relations::Relations, words::Failover};
use crate::{model::Span, tree::snapshot::Cluster};

/// How long the loss of a host without work is taken for a sign of a fault of the network: all that such a fault hides
/// is missing within a session timeout, 60 s at most.
const LATE_LOSS: Span = Span::from_secs(300);

/// Whether it is held, and for how long at least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Hold {
    /// Why nothing is failed over at present.
    pub(super) held: Option<Failover>,
    /// When the first of the lost hosts without work no longer counts for that.
    pub(super) until: Option<Timestamp>,
}

/// A host that is lost.
struct Lost {
    since: Timestamp,
    was_ever_here: bool,
    has_work: bool,
}

impl Hold {
    /// By all hosts.
    pub(super) fn of(hosts: &[Host<'_>], context: &Context) -> Self {
        let lost = hosts.iter().filter_map(|host| {
            let (was_ever_here, has_work) = (host.was_ever_here(), host.has_work());
            host.lost_since.map(|since| Lost { since, was_ever_here, has_work })
        });
        Self::weigh(hosts.iter().filter(|host| host.alive()).count(), lost, context)
    }

    /// The same by what is known of those that are lost.
    pub(super) fn by(relations: &Relations, cluster: &Cluster, context: &Context) -> Self {
        let alive = cluster.hosts.len() - relations.lost().filter(|name| cluster.hosts.contains_key(*name)).count();
        let lost = relations.lost().map(|name| {
            let host = Host::new(name, cluster.hosts.get(name), context);
            let has_work = host.has_work() || relations.services_on(name).next().is_some();
            Lost { since: host.lost_since.unwrap_or(context.now), was_ever_here: host.was_ever_here(), has_work }
        });
        Self::weigh(alive, lost, context)
    }

    /// A host that is gone for long and has no work was dealt with: it says nothing of the network.
    fn weigh(alive: usize, all_lost: impl Iterator<Item = Lost>, context: &Context) -> Self {
        let (mut lost, mut until) = (0_u32, None);
        for Lost { since, was_ever_here, has_work } in all_lost {
            let late = after(since, LATE_LOSS);
            let counts = late > context.now;
            lost += u32::from(was_ever_here && (has_work || counts));
            if !has_work && counts {
                until = until.into_iter().chain([late]).min();
            }
        }
        let known = u32::try_from(alive).unwrap_or(u32::MAX).saturating_add(lost);
        let max_fraction = context.failover_max_fraction;
        let is_held = lost > 0 && f64::from(lost) > f64::from(known) * max_fraction;
        Self { held: is_held.then_some(Failover { lost, known, max_fraction }), until }
    }
}
