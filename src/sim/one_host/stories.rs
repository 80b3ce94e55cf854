//! What random histories have found, told in order.

use serde_json::json;

use super::{Step, World};
use crate::{
    model::{ReplicaStatus, decode},
    plan::agent::action::Action,
    sim::{systemd::FAILS, tasks::Luck},
    tree::layout,
};

const ID: &str = "alpha.0000000001";

/// What does not come after so many steps does not come.
const MOST_STEPS: usize = 200;

/// All that is under way gets on, and nothing new is begun.
fn drain(world: &mut World) {
    for _ in 0..MOST_STEPS {
        world.go_on(Luck::Good);
    }
    assert!(world.host.tasks.is_empty(), "{}", world.told());
}

/// These things happen, and then nothing any more; how often the agent told a unit something.
fn history(steps: &[Step]) -> usize {
    let mut world = World::new();
    for step in steps {
        world.happens(step);
    }
    world.come_to_rest();
    assert!(world.wrong.is_empty(), "{}", world.told());
    world
        .host
        .story
        .since(0)
        .iter()
        .filter(|line| [": start ", ": stop ", ": restart ", ": reset-failed "].iter().any(|verb| line.contains(verb)))
        .count()
}

/// An agent that is started again finds that a replica is no longer this host's. It registers only once that is stopped, and
/// what its predecessor had listed would be found until then.
#[test]
fn what_a_predecessor_listed_leaves_instances_before_it_is_stopped() {
    let withdrawn = Step::Withdraw(ID, true);
    history(&[Step::Assign(ID, json!({})), Step::Settle, Step::Kill(false), withdrawn, Step::Start, Step::Settle]);
}

/// A new session's first transaction may have brought the replica into `instances`, nobody knows, and now it is no longer this
/// host's: the host waited to register until it was stopped, and it was not stopped as it might be listed.
#[test]
fn what_may_have_been_listed_before_the_host_registered_does_not_keep_it_from_registering() {
    let mut world = World::new();
    for step in [Step::Assign(ID, json!({})), Step::Settle, Step::Expire(true), Step::Turn, Step::Connect, Step::Turn] {
        world.happens(&step);
    }
    let registers = |action: &Action| matches!(action, Action::Register(_));
    assert!(world.host.tasks.iter().any(|task| registers(&task.action)), "{}", world.told());
    world.happens(&Step::Disconnect);
    world.happens(&Step::Withdraw(ID, true));
    world.go_on(Luck::Good);
    world.come_to_rest();
    assert!(world.wrong.is_empty(), "{}", world.told());
}

/// Once the old unit was stopped, what is on the host of the new work had to be looked at again, and meanwhile the old was
/// started: for ever, in turn.
#[test]
fn a_replica_that_leaves_its_unit_is_not_started_there_once_more() {
    let release = json!({ "unit": "other@1.service", "source": { "exec": { "command": ["/bin/true"] } } });
    let jobs = history(&[Step::Assign(ID, release), Step::Settle]);
    assert_eq!(jobs, 3, "started, stopped, started as the other unit");
}

/// A host that starts a failed replica again says so before it does: the controller takes `failed` for "no process is left",
/// and may place it elsewhere.
#[test]
fn what_has_failed_is_started_again_once_the_tree_says_so() {
    let mut world = World::new();
    for step in [Step::Assign(ID, json!({ "version": FAILS })), Step::Settle, Step::Sleep(60_000), Step::Turn] {
        world.happens(&step);
    }
    let runs = |world: &World| world.host.tasks.iter().any(|task| matches!(task.action, Action::Run(_)));
    assert!(!runs(&world), "{}", world.told());
    let status = |world: &World| {
        let data = world.tree.get(&layout::replica_status(&ID.parse().unwrap())).unwrap();
        decode::<ReplicaStatus>(data).unwrap()
    };
    assert!(status(&world).is_down(), "{}", world.told());
    drain(&mut world);
    assert!(status(&world).retrying, "{}", world.told());
    world.happens(&Step::Turn);
    assert!(runs(&world), "{}", world.told());
}

/// Its unit was being read when it left, its files being known; these were forgotten with it, and nobody read them again.
#[test]
fn a_replica_that_comes_back_while_its_unit_is_read_has_its_files_read() {
    let mut world = World::new();
    for step in [Step::Assign(ID, json!({})), Step::Settle, Step::Withdraw(ID, true)] {
        world.happens(&step);
    }
    let forgets = |action: &Action| matches!(action, Action::Write(write) if write.changes[0].prepare.is_none());
    for _ in 0..MOST_STEPS {
        if world.host.tasks.iter().any(|task| forgets(&task.action)) {
            break;
        }
        world.happens(&Step::Turn);
        world.go_on(Luck::Good);
    }
    assert!(world.host.tasks.iter().any(|task| forgets(&task.action)), "{}", world.told());
    // Its files go, and systemd tells that it has read them again: the unit is read, while its files are known.
    drain(&mut world);
    for step in [Step::Turn, Step::Assign(ID, json!({})), Step::Turn] {
        world.happens(&step);
    }
    world.come_to_rest();
    assert!(world.wrong.is_empty(), "{}", world.told());
}

/// While this host had no connection its replica was given to another, and `desired` could not be read when it came back: it was
/// kept, for it might still be this host's. The controller wrote `desired` again, of which a host is not told, and it ran twice.
#[test]
fn a_replica_that_is_kept_for_want_of_its_desired_is_stopped_once_that_names_another_host() {
    let mut world = World::new();
    for step in [Step::Assign(ID, json!({})), Step::Settle] {
        world.happens(&step);
    }
    let id = ID.parse().unwrap();
    world.tree.write(&layout::replica_desired(&id), b"").unwrap();
    world.tree.delete_all(&layout::assignment(&world.host.name, &id));
    for step in [Step::Turn, Step::Settle] {
        world.happens(&step);
    }
    assert_eq!(world.host.units().len(), 1, "{}", world.told());
    world.place(&id, "web2");
    for step in [Step::Settle, Step::Sleep(300_000), Step::Turn, Step::Settle] {
        world.happens(&step);
    }
    assert_eq!(world.host.units(), [], "{}", world.told());
}
