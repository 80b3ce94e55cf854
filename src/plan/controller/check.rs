//! An independent checker: what must hold of every plan, whatever made it.
//!
//! It reads trees, not the planner's snapshot, and shares no code with the planner but the model's arithmetic (how many
//! a percentage is, what a budget allows), so that a mistake there is not repeated here. Safety only: that something is
//! done at all is for the tests that let a cluster come to rest.

#![allow(clippy::unwrap_used)]

mod picture;
mod rollouts;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use self::picture::{Picture, Replica, Service};
use super::{Context, Plan};
use crate::{
    model::{Mode, ReplicaId, RolloutState, ServiceName},
    sim::tree::Tree,
    tree::txn::{Op, Transaction},
};

/// What is wrong with a plan made from `tree`. Each transaction is tried on the tree alone, because none relies on
/// another, and after the earlier ones, because they may all land.
pub(crate) fn plan(tree: &Tree, plan: &Plan, context: &Context) -> Vec<String> {
    let mut found = Vec::from_iter(too_much_work(plan, context));
    let mut landed = tree.clone();
    let known = Rc::new(Picture::of(tree));
    let mut before = Rc::clone(&known);
    for transaction in &plan.transactions {
        let mut alone = tree.clone();
        let mut wrong = form(transaction);
        match alone.commit(&transaction.ops).and_then(|_| landed.commit(&transaction.ops)) {
            Ok(_) => {
                let (alone, after) = (Picture::of(&alone), Picture::of(&landed));
                wrong.extend(structure_of(&known, &alone));
                wrong.extend(structure_of(&before, &after));
                wrong.extend(reasons((&known, &before), &alone, context));
                before = Rc::new(after);
            }
            Err(error) => wrong.push(format!("does not land on its own snapshot: {error}")),
        }
        found.extend(wrong.into_iter().map(|wrong| format!("{wrong}\n  in: {}", transaction.reason)));
    }
    found
}

/// Each replica that comes to a host was worth a look at one host at least. The service at which the work is spent is planned
/// to its end.
fn too_much_work(plan: &Plan, context: &Context) -> Option<String> {
    let comes =
        |op: &&Op| matches!(op, Op::Create { path, .. } if path.starts_with("/hosts/") && path.contains("/assigned/"));
    let mut counts: Vec<usize> = plan.transactions.iter().map(|it| it.ops.iter().filter(comes).count()).collect();
    counts.sort_unstable();
    let all_but_the_largest: usize = counts.iter().rev().skip(1).sum();
    let most = context.work;
    (all_but_the_largest > most).then(|| format!("a plan of {most} places at most placed {counts:?} replicas"))
}

/// The shape of one transaction: small enough, guarded, and only where the controller may write.
fn form(transaction: &Transaction) -> Vec<String> {
    let mut found = Vec::new();
    let mut wrong = |bad: bool, what: String| found.extend(bad.then_some(what));
    let bytes: usize = transaction.ops.iter().map(|op| path_of(op).len() + data_of(op).len()).sum();
    wrong(transaction.ops.len() > 300, format!("{} operations", transaction.ops.len()));
    wrong(bytes > 600 * 1024, format!("{bytes} bytes"));
    wrong(transaction.reason.is_empty() || transaction.reason.contains('\n'), "no reason in one line".to_owned());
    // The service's own node cannot be deleted while anything is below it, so its deletion guards as well.
    let guards = |op: &Op| {
        let parts: Vec<&str> = path_of(op).split('/').skip(1).collect();
        matches!((op, parts.as_slice()), (_, ["services", _, "status"]) | (Op::Delete { .. }, ["services", _]))
    };
    let guarded = transaction.ops.iter().any(guards);
    let services = transaction.ops.iter().any(|op| path_of(op).starts_with("/services/"));
    wrong(services && !guarded, "touches a service without its status".to_owned());
    for op in &transaction.ops {
        wrong(!versioned(op), format!("no version: {op:?}"));
        wrong(!permitted(op), format!("not the controller's to write: {op:?}"));
    }
    found
}

fn path_of(op: &Op) -> &str {
    match op {
        Op::Check { path, .. }
        | Op::Create { path, .. }
        | Op::CreateEphemeral { path, .. }
        | Op::Set { path, .. }
        | Op::Delete { path, .. } => path,
        Op::CreateSequential { prefix, .. } => prefix,
    }
}

fn data_of(op: &Op) -> &[u8] {
    match op {
        Op::Create { data, .. }
        | Op::CreateEphemeral { data, .. }
        | Op::CreateSequential { data, .. }
        | Op::Set { data, .. } => data,
        Op::Check { .. } | Op::Delete { .. } => &[],
    }
}

fn versioned(op: &Op) -> bool {
    !matches!(op, Op::Set { version: None, .. } | Op::Delete { version: None, .. } | Op::CreateEphemeral { .. })
}

/// Descriptions, desired states and agents' documents are not the controller's; numbers are `ZooKeeper`'s to give.
fn permitted(op: &Op) -> bool {
    let parts: Vec<&str> = path_of(op).split('/').skip(1).collect();
    let is_number = |part: &str| part.len() == 10 && part.bytes().all(|byte| byte.is_ascii_digit());
    match (op, parts.as_slice()) {
        (Op::Check { .. }, _)
        | (Op::Delete { .. }, ["services", ..])
        | (Op::CreateSequential { .. }, ["services", _, ""])
        | (Op::Create { .. } | Op::Set { .. }, ["services", _, "status" | "instances"])
        | (Op::Create { .. }, ["services", _, "rollouts"])
        | (Op::Create { .. } | Op::Set { .. }, ["services", _, "rollouts", _])
        | (Op::Create { .. }, ["hosts", _, "assigned"])
        | (_, ["hosts", _, "assigned", _]) => true,
        (Op::Create { .. } | Op::Set { .. }, ["services", _, number, "desired"]) => is_number(number),
        _ => false,
    }
}

/// What must hold between any two trees that one transaction lies between, however old the plan was.
pub(crate) fn structure(before: &Tree, after: &Tree) -> Vec<String> {
    structure_of(&Picture::of(before), &Picture::of(after))
}

fn structure_of(before: &Picture, after: &Picture) -> Vec<String> {
    let mut found = Vec::new();
    for (name, service) in &after.services {
        let was = before.services.get(name);
        found.extend(too_many(name, was, service, before.successors(name) + after.successors(name)));
        found.extend(too_many_on_a_host(name, before, after, service));
        found.extend(put_on_a_closed_host(before, service));
    }
    for (id, hosts) in &after.indexed {
        let replica = after.replica(id);
        let known = before.indexed.get(id);
        for host in hosts.iter().filter(|host| known.is_none_or(|known| !known.contains(*host))) {
            if replica.and_then(Replica::node) != Some(host) {
                found.push(format!("{id} is given to {host}, where it is not placed"));
            }
        }
        if hosts.len() > 1 && known.is_none_or(|known| known.len() < 2) {
            found.push(format!("{id} is given to two hosts: {hosts:?}"));
        }
    }
    for (id, host, holder) in after.newly_shared_ports(before) {
        found.push(format!("{id} is put on {host}, where {holder} has its port: they share the port"));
    }
    for shared in after.shared_units.iter().filter(|shared| !before.shared_units.contains(shared)) {
        found.push(format!("two replicas share the unit {} on {}", shared.1, shared.0));
    }
    found
}

fn too_many(name: &ServiceName, was: Option<&Service>, service: &Service, successors: usize) -> Option<String> {
    let before = was.map_or(0, Service::staying);
    // Those that are there stay, also when the policy has none any more.
    let surge = service.surge().max(was.map_or(0, |was| was.replicas.values().filter(|it| it.is_surge()).count()));
    let (staying, wanted) = (service.staying(), service.wanted() + surge + successors);
    (staying > before && staying > wanted).then(|| format!("{name} has {staying} replicas, {wanted} are wanted"))
}

/// Nothing comes to a host of which a person has said that nothing is to come, however late that was said.
fn put_on_a_closed_host(before: &Picture, service: &Service) -> Vec<String> {
    let comes = service.replicas.iter().filter_map(|(id, replica)| {
        let node = replica.node()?;
        let was = before.replica(id).and_then(Replica::node) == Some(node);
        let indexed = before.indexed.get(id).is_some_and(|hosts| hosts.contains(node));
        (!was && !indexed && before.is_closed(node)).then_some((id, node))
    });
    comes.map(|(id, node)| format!("{id} comes to {node}, which is cordoned or drained")).collect()
}

fn too_many_on_a_host(name: &ServiceName, before: &Picture, after: &Picture, service: &Service) -> Vec<String> {
    let Some(max) = service.spec().and_then(|spec| spec.max_per_host()) else {
        return Vec::new();
    };
    let was = before.per_host(name);
    let more = after
        .per_host(name)
        .into_iter()
        .filter(|(host, count)| *count > usize::try_from(max).unwrap() && *count > was.get(host).copied().unwrap_or(0));
    more.map(|(host, count)| format!("{name} has {count} replicas on {host}, {max} are allowed")).collect()
}

/// What must hold of a change made knowing `before`, and what is `landed` of the plan so far: nothing moves, ends or is disturbed
/// without a reason.
fn reasons((before, landed): (&Picture, &Picture), after: &Picture, context: &Context) -> Vec<String> {
    let mut found = Vec::new();
    for (name, service) in &before.services {
        let now = after.services.get(name);
        for (id, replica) in &service.replicas {
            match now.and_then(|now| now.replicas.get(id)) {
                None => found.extend(ended(before, service, id, replica, context)),
                Some(new) => found.extend(moved(before, after, service, id, (replica, new), context)),
            }
        }
        found.extend(now.and_then(|now| disturbed((before, after), name, service, now, context)));
        found.extend(now.into_iter().flat_map(|now| removed((before, landed), name, service, now)));
        found.extend(now.into_iter().flat_map(|now| rollouts::wrong(before, name, service, now, context)));
        found.extend(now.and_then(|now| forgotten(name, service, now)));
    }
    found
}

/// What does not serve goes before what does, unless it takes the place of one that has to leave its host. By removal there
/// are never fewer than wanted.
fn removed(
    (before, landed): (&Picture, &Picture),
    name: &ServiceName,
    service: &Service,
    now: &Service,
) -> Vec<String> {
    let stays = |id: &ReplicaId| now.replicas.get(id).is_some_and(|replica| !replica.is_removing());
    let there = || service.replicas.iter().filter(|(_, replica)| replica.mode().is_some() && !replica.is_removing());
    let regular = |service: &Service| {
        service.replicas.values().filter(|replica| !replica.is_removing() && !replica.is_surge()).count()
    };
    let (was, is, wanted) = (regular(service), regular(now), now.wanted());
    let few = (is < was && is < wanted).then(|| format!("{name}: {is} of {was} replicas stay, {wanted} are wanted"));
    let promoted = |(id, replica): &(&ReplicaId, &Replica)| {
        replica.is_surge() && before.is_ready(id, replica) && stays(id) && !now.replicas[*id].is_surge()
    };
    let (updated, others): (Vec<_>, Vec<_>) =
        there().filter(promoted).partition(|(_, it)| now.runs_what_is_rolled_out(it));
    let (mut updated, mut others) = (updated.len(), others.len());
    let goes = there().filter(|(id, replica)| !stays(id) && before.is_ready(id, replica));
    let goes = goes.filter(|(id, replica)| {
        // In a rollout, what cannot be updated where it is, nor anywhere else, gives way to one that was.
        let leaves = has_to_leave(before, (service, now), id, replica);
        let clashes = || before.clashes(id, replica, now) || landed.clashes(id, replica, now);
        let gives_way = || now.is_rolling() && clashes();
        let successors = if leaves && others > 0 { &mut others } else { &mut updated };
        let replaced = *successors > 0 && (leaves || gives_way());
        *successors -= usize::from(replaced);
        !replaced
    });
    let wrong = goes.filter_map(|(id, gone)| {
        let idle = |(other, replica): &(&ReplicaId, &Replica)| {
            stays(other) && replica.is_surge() == gone.is_surge() && !before.is_ready(other, replica)
        };
        let (other, _) = there().find(idle)?;
        Some(format!("{name}: {id} serves and goes, {other} does not and stays"))
    });
    wrong.chain(few).collect()
}

/// By what is in force now, or by what an operator asked that is done with this.
fn has_to_leave(before: &Picture, (service, now): (&Service, &Service), id: &ReplicaId, replica: &Replica) -> bool {
    before.leaves(id, replica, now) || before.leaves(id, replica, service)
}

/// A configuration that somebody wants, runs or may go back to stays.
fn forgotten(name: &ServiceName, service: &Service, now: &Service) -> Option<String> {
    let gone = service.configs.difference(&now.configs).copied();
    let wanted = now.accepted.as_ref().and_then(|accepted| accepted.desired.config_version);
    let told = service.replicas.values().filter_map(|replica| replica.revision()?.2);
    let back = service.rollouts.values().filter_map(|record| record.revision.config_version);
    let used: BTreeSet<u64> = wanted.into_iter().chain(told).chain(back).collect();
    let deleting = now.accepted.as_ref().is_some_and(|accepted| accepted.service.deleting);
    let bad = gone.filter(|_| !deleting).find(|revision| used.contains(revision))?;
    Some(format!("{name}: configuration {bad} is deleted, and used"))
}

fn ended(picture: &Picture, service: &Service, id: &ReplicaId, replica: &Replica, context: &Context) -> Option<String> {
    let indexed = picture.indexed.contains_key(id);
    let fine = match &replica.desired {
        None => !indexed,
        Some(Err(())) => false,
        Some(Ok(desired)) => match &desired.node {
            None => !indexed,
            Some(node) => desired.removing && (replica.is_down() || service.given_up(picture, node, context)),
        },
    };
    (!fine).then(|| format!("{id} is deleted while it may run, or is to stay"))
}

fn moved(
    before: &Picture,
    after: &Picture,
    service: &Service,
    id: &ReplicaId,
    (old, new): (&Replica, &Replica),
    context: &Context,
) -> Option<String> {
    // What could not be read may be rebuilt, on the host that its index names.
    let readable = matches!(old.desired, Some(Ok(_)));
    let home = || before.indexed.get(id).is_some_and(|hosts| hosts.iter().any(|host| Some(host) == new.node()));
    if !readable && (home() || new.node().is_none()) {
        return None;
    }
    let accepted = after.services.get(&id.service)?.accepted.as_ref()?;
    let (from, to) = (old.node(), new.node());
    if from == to {
        return None;
    }
    let Some(to) = to else { return Some(format!("{id} is taken from {from:?} and put nowhere")) };
    if let Some(why) = before.why_not_there(to, &accepted.service) {
        return Some(format!("{id} is put on {to}, which is {why}"));
    }
    if after.services[&id.service].spec_of(new).is_some_and(|spec| before.refuses(to, &spec)) {
        return Some(format!("{id} is put on {to}, which tells that it does not run it"));
    }
    let same = matches!(&old.desired, Some(Ok(desired)) if desired.version == accepted.desired.version);
    let same = same && service.accepted.as_ref().is_some_and(|was| was.service == accepted.service);
    if same && old.failed_lately_on(context.now).any(|failed| failed == to) {
        return Some(format!("{id} is put on {to}, where it failed recently"));
    }
    let from = from?;
    let lost = before.is_lost(from, old, &accepted.service, context) && accepted.desired.mode == Mode::Enabled;
    let failed = old.state_at(from).is_some_and(|state| state == "failed" || state == "refused") && !old.is_retrying();
    let gone = old.is_down() && before.must_leave(id, old, from, &after.services[&id.service].spec()?, service);
    if failed && !lost && !gone {
        let late = |replica: &Replica| replica.late_failures(context.now);
        // Of those that stay.
        let stays = |id: &ReplicaId| after.replica(id).is_some_and(|replica| !replica.is_removing());
        let staying = service.replicas.iter().filter(|(id, _)| stays(id)).map(|(_, replica)| replica);
        let (own, all) = (late(old), staying.map(late).sum::<usize>());
        let most = if old.state_at(from).is_some_and(|state| state == "refused") { 20 } else { 3 };
        let wanted = service.wanted().max(after.services[&id.service].wanted());
        if own + 1 >= most || all >= wanted.max(most) {
            return Some(format!(
                "{id} is moved from {from} again: it failed on {own} others, its service {all} times"
            ));
        }
    }
    (!(lost || failed || gone)).then(|| format!("{id} is moved from {from} to {to} without a reason"))
}

/// The availability budget: a planned change makes no more than `max_unavailable` replicas unready.
fn disturbed(
    (before, after): (&Picture, &Picture),
    name: &ServiceName,
    service: &Service,
    now: &Service,
    context: &Context,
) -> Option<String> {
    let accepted = now.accepted.as_ref().filter(|accepted| accepted.desired.mode == Mode::Enabled)?;
    let staying: BTreeMap<_, _> = service
        .replicas
        .iter()
        .filter(|(id, _)| now.replicas.get(*id).is_some_and(|replica| !replica.is_removing()))
        .collect();
    let ready = staying.iter().filter(|(id, replica)| before.is_ready(id, replica)).count();
    // Those that only surge replicas let go, which may serve in place of others already.
    let mut goes = service.replicas.iter().filter(|(id, replica)| {
        let serves = !replica.is_surge() && !replica.is_removing() && before.is_ready(id, replica);
        serves && !staying.contains_key(id) && !has_to_leave(before, (service, now), id, replica)
    });
    let goes = goes.next().is_some();
    let hit = staying.iter().filter(|(id, replica)| {
        let new = &now.replicas[**id];
        let (was, is) = (content(before, id), content(after, id));
        // What an index that cannot be read was, its replica's desired state says.
        let same = was == is || was.is_none() && replica.revision() == new.revision();
        let overdue = replica.node().is_some_and(|node| before.is_overdue(node, context));
        before.is_ready(id, replica) && !overdue && (new.mode() != Some(Mode::Enabled) || !same)
    });
    let hit = hit.count();
    let wanted = now.wanted();
    let (max, _) = accepted.service.budget(wanted);
    // Those that failed in a rollout that goes on without them.
    let idle = staying.len() - ready;
    let newest = now.rollouts.values().next_back();
    let runs = newest.is_some_and(|record| record.state == RolloutState::Running);
    let back = newest.is_some_and(|record| record.back && !record.state.has_ended());
    let hopeless = staying.iter().filter(|(id, replica)| {
        let gone = replica.node().is_none_or(|node| !before.alive(node));
        !before.is_ready(id, replica) && !replica.is_surge() && (gone || replica.has_failed())
    });
    let forgiven = match (back, runs) {
        // On the way back they are left out.
        (true, _) => hopeless.count(),
        (false, true) => accepted.service.rollout.max_failures.floor(wanted).min(idle),
        (false, false) => 0,
    };
    let max = max + forgiven;
    ((hit > 0 || goes) && ready + max < hit + wanted).then(|| {
        format!("{name}: {hit} of {ready} ready replicas are disturbed, {wanted} are wanted, {max} may be unready")
    })
}

/// What a replica is told to run, its mode aside; an index that is missing says nothing.
fn content(picture: &Picture, id: &ReplicaId) -> Option<String> {
    let replica = picture.replica(id)?;
    let assignment = picture.assignments.get(&(replica.node()?.clone(), id.clone()))?.as_ref()?;
    let mut content = serde_json::to_value(assignment).unwrap();
    content.as_object_mut().unwrap().remove("mode");
    Some(content.to_string())
}
