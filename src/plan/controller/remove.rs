//! How many replicas there are to be: creating the missing, choosing those that go, and deleting what is finished.

use std::cmp::Reverse;

use super::{
    after,
    change::Content,
    classify::{Replica, ReplicaKind},
    host::{Closed, HostIndex},
    nodes::Change,
    round::Round,
    status::ReplicaOutcome,
    transaction::Note,
    words::{LostHost, Subject},
};
use crate::{
    model::{Assignment, EventReason, Mode, ReplicaDesired, ReplicaId, ReplicaNumber, counted},
    tree::{
        layout,
        snapshot::{Doc, ReplicaView},
        txn::Op,
    },
};

/// The most replicas created in one transaction; the others follow in the next rounds.
const MOST_CREATED: usize = 200;

/// Which replica goes first; the smallest key does: what has no host, failed or is on a lost one, then what serves nobody, then
/// what is on trial or was given up, then what is on a host that takes no others. Crowds and numbers are reversed: the largest
/// first.
type VictimKey = (Trouble, Serves, Proven, Openness, Reverse<(u32, u32)>, Reverse<ReplicaNumber>);

/// Whether clients are served by it.
type Serves = bool;

/// Whether what it runs is neither a canary's that waits to be promoted nor given up.
type Proven = bool;

/// How many replicas there are that are not on their way out.
struct Counts {
    /// Those that are to stay, as far as their number goes.
    staying: usize,
    /// Those that are there for a rollout.
    surge: usize,
}

fn is_surge(replica: &ReplicaKind<'_>) -> bool {
    matches!(replica, ReplicaKind::Managed(replica) if replica.desired.surge)
}

/// What is wrong with a replica, the worst first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Trouble {
    Unreadable,
    Unplaced,
    Failed,
    OnLostHost,
    None,
}

/// Whether its host takes others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Openness {
    Draining,
    Cordoned,
    Open,
}

fn trouble(replica: &Replica<'_>) -> Trouble {
    match replica.host {
        None => Trouble::Unplaced,
        Some(_) if replica.failed() => Trouble::Failed,
        Some(_) if !replica.host_alive => Trouble::OnLostHost,
        Some(_) => Trouble::None,
    }
}

impl<'a> Round<'_, 'a> {
    /// Creates replicas that are missing, or retires those that are too many; what is retired leaves `found`.
    pub(super) fn change_count(&mut self, found: &mut Vec<ReplicaKind<'a>>) {
        let counts = self.counts(found);
        let staying = counts.staying + counts.surge;
        let missing = self.facts.force.wanted().saturating_sub(counts.staying)
            + self.rollout.surge_wanted(self.successors).saturating_sub(counts.surge);
        if missing > 0 {
            self.create(missing, staying);
        }
        let spare = counts.staying.saturating_sub(self.facts.force.wanted());
        self.retire_some(found, spare, false);
        let spare = counts.surge.saturating_sub(self.rollout.surge_wanted(self.successors));
        self.retire_some(found, spare, true);
    }

    /// New nodes beyond the number wanted are surge replicas: the last ones.
    fn counts(&mut self, found: &[ReplicaKind<'a>]) -> Counts {
        let fresh = found.iter().filter(|replica| matches!(replica, ReplicaKind::New(..)));
        let fresh: Vec<ReplicaNumber> = fresh.map(|replica| replica.id().number).collect();
        let there = found.iter().filter(|replica| !replica.removing() && !matches!(replica, ReplicaKind::New(..)));
        let (surge, regular): (Vec<_>, Vec<_>) = there.partition(|replica| is_surge(replica));
        let room = self.facts.force.wanted().saturating_sub(regular.len());
        let (first, beyond) = fresh.split_at(room.min(fresh.len()));
        let (first, beyond) = match self.rollout.surge_wanted(self.successors) {
            0 => (fresh.as_slice(), &fresh[fresh.len()..]),
            _ => (first, beyond),
        };
        self.fresh_surge = beyond.iter().copied().collect();
        Counts { staying: regular.len() + first.len(), surge: surge.len() + beyond.len() }
    }

    /// Whether a new node is that of a surge replica.
    pub(super) fn is_surge(&self, number: ReplicaNumber) -> bool {
        self.fresh_surge.contains(&number)
    }

    fn retire_some(&mut self, found: &mut Vec<ReplicaKind<'a>>, count: usize, surge: bool) {
        for _ in 0..count {
            let victim = self.next_victim(found, surge).filter(|_| self.out.builder.has_room());
            let Some(victim) = victim else { break };
            let replica = found.remove(victim);
            self.retire(&replica);
            self.out.counts.retired();
        }
    }

    /// Sequential nodes alone: their numbers are ZooKeeper's to give. They come before anything else below the
    /// service, so that the first one of a new service is 1.
    fn create(&mut self, missing: usize, staying: usize) {
        let count = missing.min(MOST_CREATED);
        let check = self.facts.view.desired.as_ref().map(|doc| doc.version);
        let check = check.map(|version| Op::Check { path: layout::desired(self.facts.name), version });
        let one =
            Op::CreateSequential { prefix: format!("{}/", layout::service(self.facts.name)), data: b"{}".to_vec() };
        let ops = check.into_iter().chain(std::iter::repeat_n(one, count)).collect();
        let created = counted(count, "replica");
        let message = format!("{created} created: {} wanted, {staying} there", self.facts.force.wanted());
        self.out.counts.created(count);
        self.out.push(ops, Note::of_service(EventReason::Created, message), false);
    }

    fn next_victim(&mut self, found: &[ReplicaKind<'a>], surge: bool) -> Option<usize> {
        let fresh_surge = self.fresh_surge.clone();
        let is_surge = |replica: &ReplicaKind<'a>| is_surge(replica) || fresh_surge.contains(&replica.id().number);
        let staying = found.iter().enumerate().filter(|(_, replica)| !replica.removing() && is_surge(replica) == surge);
        staying.min_by_key(|(_, replica)| self.victim_key(replica)).map(|(index, _)| index)
    }

    fn victim_key(&mut self, replica: &ReplicaKind<'a>) -> VictimKey {
        let number = Reverse(replica.id().number);
        let (trouble, serves, proven, host) = match replica {
            ReplicaKind::Damaged(..) => (Trouble::Unreadable, false, false, None),
            ReplicaKind::New(..) => (Trouble::Unplaced, false, false, None),
            ReplicaKind::Managed(replica) => {
                (trouble(replica), replica.ready(), !self.rollout.is_unproven(replica), replica.host)
            }
        };
        let openness = match host.and_then(|host| self.places.fleet.hosts[host].closed) {
            Some(Closed::Draining) => Openness::Draining,
            Some(_) => Openness::Cordoned,
            None => Openness::Open,
        };
        let crowd = host.map_or((0, 0), |host| self.places.placer.occupancy.crowd(self.places.fleet, host));
        (trouble, serves, proven, openness, Reverse(crowd), number)
    }

    /// Starts a replica's way out; one that never was anywhere is deleted at once.
    fn retire(&mut self, replica: &ReplicaKind<'a>) {
        match replica {
            ReplicaKind::New(id, view) => self.delete_replica(id, view, None, "it was never placed"),
            ReplicaKind::Damaged(id, view) => self.rebuild(id, view, true),
            ReplicaKind::Managed(replica) => match replica.host {
                None => self.delete_replica(&replica.id, replica.view, None, "it was never placed"),
                Some(host) => self.mark_removing(replica, host),
            },
        }
    }

    fn mark_removing(&mut self, replica: &Replica<'a>, host: HostIndex) {
        let reason = if replica.desired.surge {
            "removed: what it was there for is over".to_owned()
        } else {
            format!("removed: {} wanted", counted(self.facts.force.wanted(), "replica"))
        };
        let ops = self.removal(replica, host, &reason);
        let node = replica.desired.node.as_ref();
        self.out.push(ops, Note::of_replica(EventReason::Removing, replica.number(), node, reason), false);
    }

    /// The operations with which a replica begins its way out.
    pub(super) fn removal(&mut self, replica: &Replica<'a>, host: HostIndex, reason: &str) -> Vec<Op> {
        self.places.placer.occupancy.retire(self.places.fleet, host);
        let mode = self.mode_of_removal();
        let desired = ReplicaDesired { mode, removing: true, reason: reason.to_owned(), ..replica.desired.clone() };
        let assignment = replica.assignment.and_then(Doc::good).cloned().map(|current| Assignment { mode, ..current });
        let home = Some(host);
        // An index that is missing or unreadable is put back in the next round.
        self.places.ops(Change { id: &replica.id, view: replica.view, from: home, home, desired: &desired, assignment })
    }

    /// A disabled service stops at once, those that leave it included.
    fn mode_of_removal(&self) -> Mode {
        if self.facts.force.desired.mode == Mode::Disabled { Mode::Disabled } else { Mode::Drain }
    }

    /// A replica on its way out: deleted once no process of it is left, or its host is past its time.
    pub(super) fn finish_removal(&mut self, replica: &Replica<'a>) -> ReplicaOutcome {
        let lost_since = replica.host.and_then(|host| self.places.fleet.hosts[host].lost_since);
        let deadline = lost_since.map(|since| after(since, self.facts.force.spec.lost_after));
        let given_up = deadline.is_some_and(|deadline| deadline <= self.facts.context.now);
        if replica.down() || given_up {
            let why = if replica.down() { "no process of it is left" } else { "its host is lost" };
            self.delete_replica(&replica.id, replica.view, replica.host, why);
            return ReplicaOutcome::Busy;
        }
        if let Some(deadline) = deadline {
            self.out.wake(deadline);
        }
        self.align(replica, self.mode_of_removal(), Content::Keep, "");
        ReplicaOutcome::Busy
    }

    /// Deletes the replica's nodes, and its index.
    fn delete_replica(&mut self, id: &ReplicaId, view: &'a ReplicaView, host: Option<HostIndex>, why: &str) {
        let blocked = self.is_replica_blocked(id) || host.is_some_and(|host| self.is_index_blocked(id, host));
        let Some(version) = view.version.filter(|_| !blocked) else { return };
        let mut ops: Vec<Op> = self.places.delete_status(id, view).into_iter().collect();
        if let Some(doc) = &view.desired {
            ops.push(Op::Delete { path: layout::replica_desired(id), version: Some(doc.version) });
        }
        ops.extend(host.and_then(|host| self.places.delete_index(id, host)));
        ops.push(Op::Delete { path: layout::replica(id), version: Some(version) });
        self.out.counts.deleted();
        let node = host.map(|host| self.places.fleet.hosts[host].name);
        let note = Note::of_replica(EventReason::Removed, id.number, node, format!("deleted: {why}"));
        self.out.push(ops, note, false);
    }

    /// On a host that is lost, what became of the processes cannot be known; a drained service says so.
    pub(super) fn note_unknown(&mut self, replica: &Replica<'a>) {
        let Some(host) = replica.host.filter(|_| !replica.host_alive && !replica.down()) else { return };
        let name = self.places.fleet.hosts[host].name.clone();
        self.out.notice(Subject::Host(name), replica.number(), &LostHost::ProcessesUnknown);
    }
}
