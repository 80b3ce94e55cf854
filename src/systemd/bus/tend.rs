//! Keeps a connection's subscription, match rules and references as they are wanted.

use std::{collections::BTreeSet, sync::atomic::Ordering};

use futures_util::future::join_all;
use zbus::Connection;

use super::{
    calls::Calls,
    error::from_bus,
    link::{CALL_LIMIT, LAST_WAIT, Shared, bus, manager},
    path::rules,
};
use crate::{model::UnitName, systemd::UnitError};

/// So many units are kept in systemd's memory. For each of them systemd has a match rule, as for each job ([`super::turns`]),
/// and dbus-daemon bears 512 of a connection. Of the others less is known once they have come to rest.
const MOST_REFERRED: usize = 256;

/// What this connection holds at the bus and at systemd; both forget it with the connection.
#[derive(Debug, Default)]
struct Held {
    rules: BTreeSet<String>,
    /// Units kept in systemd's memory. It drops an inactive unit at once otherwise, and with it how its last run
    /// ended, how often it was restarted, and that a condition kept it from starting.
    units: BTreeSet<UnitName>,
}

/// Brings things to what is wanted whenever that changes; returns only when the connection is of no use any more.
pub(super) async fn tend(shared: &Shared, connection: &Connection) -> String {
    let mut held = Held::default();
    loop {
        if let Err(error) = settle(shared, connection, &mut held).await {
            tracing::warn!(%error, "cannot watch units, trying again");
            if connection.is_closed() {
                return error.to_string();
            }
            tokio::time::sleep(LAST_WAIT).await;
            continue;
        }
        shared.changes.rewatch.notified().await;
    }
}

/// Brings everything to what is wanted, then reports what may have changed unseen until now.
async fn settle(shared: &Shared, connection: &Connection, held: &mut Held) -> Result<(), UnitError> {
    let watched = shared.changes.watched();
    let signalling = rules(&shared.changes.signalling());
    let added = settle_rules(&shared.calls, connection, &signalling, &mut held.rules).await?;
    if shared.owner().is_none() {
        // Its arrival comes as a signal.
        return Ok(());
    }
    if !shared.subscribed.swap(true, Ordering::AcqRel) {
        if let Err(error) = subscribe(&shared.calls, connection).await {
            shared.subscribed.store(false, Ordering::Release);
            let is_gone = matches!(error, UnitError::Unreachable { .. }) && shared.owner().is_none();
            return if is_gone { Ok(()) } else { Err(error) };
        }
        shared.doubt_all();
        held.units.clear();
    }
    let referred = watched.iter().take(MOST_REFERRED).cloned().collect();
    settle_units(&shared.calls, connection, &referred, &mut held.units).await?;
    shared.known.hear(&watched);
    shared.changes.settled(watched);
    if added {
        // What was said before went unheard. Those whose signals came all the while are known, and are not read again for that.
        shared.changes.touch_all();
    }
    Ok(())
}

/// Whether a rule was added.
async fn settle_rules(
    calls: &Calls,
    connection: &Connection,
    wanted: &BTreeSet<String>,
    held: &mut BTreeSet<String>,
) -> Result<bool, UnitError> {
    let bus = bus(connection).await.map_err(|error| from_bus(&error, None))?;
    let (added, removed) = difference(wanted, held);
    let add =
        added.iter().map(async |rule| (rule, calls.make(CALL_LIMIT, "AddMatch", None, || bus.add_match(rule)).await));
    let mut outcome = Ok(());
    for (rule, answer) in join_all(add).await {
        match answer {
            Ok(()) => _ = held.insert(rule.clone()),
            Err(error) => outcome = Err(error),
        }
    }
    outcome?;
    for rule in removed {
        calls.make(CALL_LIMIT, "RemoveMatch", None, || bus.remove_match(&rule)).await?;
        held.remove(&rule);
    }
    Ok(!added.is_empty())
}

/// A convenience: where systemd refuses it, less is known of units that came to rest. A unit without a file is refused;
/// it is tried again after the next reload.
async fn settle_units(
    calls: &Calls,
    connection: &Connection,
    wanted: &BTreeSet<UnitName>,
    held: &mut BTreeSet<UnitName>,
) -> Result<(), UnitError> {
    let manager = manager(connection).await?;
    let (added, removed) = difference(wanted, held);
    let refer = added.into_iter().map(async |unit| {
        let answer = calls.make(CALL_LIMIT, "RefUnit", Some(&unit), || manager.ref_unit(unit.as_str())).await;
        (unit, answer)
    });
    for (unit, answer) in join_all(refer).await {
        match answer {
            Ok(()) => _ = held.insert(unit),
            Err(error) => tracing::debug!(%unit, %error, "systemd may forget this unit when it comes to rest"),
        }
    }
    for unit in removed {
        // References add up, and may have outlived a re-exec: give back all of them, until systemd knows of none.
        while calls.make(CALL_LIMIT, "UnrefUnit", Some(&unit), || manager.unref_unit(unit.as_str())).await.is_ok() {}
        held.remove(&unit);
    }
    Ok(())
}

/// What is wanted and not held, and what is held and not wanted.
fn difference<T: Clone + Ord>(wanted: &BTreeSet<T>, held: &BTreeSet<T>) -> (Vec<T>, Vec<T>) {
    (wanted.difference(held).cloned().collect(), held.difference(wanted).cloned().collect())
}

async fn subscribe(calls: &Calls, connection: &Connection) -> Result<(), UnitError> {
    let manager = manager(connection).await?;
    match calls.make(CALL_LIMIT, "Subscribe", None, || manager.subscribe()).await {
        Err(UnitError::Refused { name, .. }) if name.ends_with(".AlreadySubscribed") => Ok(()),
        result => result,
    }
}
