//! A ledger that was lost: replicas are found by the drop-ins of their units.

use crate::model::{
    Assignment, CheckedAssignment, Desired, InvalidAssignment, Ledger, Record, ReplicaDesired, ReplicaId,
    ReplicaNumber, ServiceSpec, UnitName,
};

/// The ledger, and the units that carry our drop-ins without being in it: they are this agent's, too. Also those whose
/// drop-in cannot be ours, such as that of a template, which counts for all of its instances: what is wrong with each.
pub fn adopt(
    mut ledger: Ledger,
    found: impl IntoIterator<Item = (UnitName, ReplicaId)>,
) -> (Ledger, Vec<(UnitName, InvalidAssignment)>) {
    let mut misplaced = Vec::new();
    for (unit, id) in found {
        match work_of(&unit) {
            Ok(assignment) => drop(ledger.replicas.entry(id).or_insert_with(|| Record::new(assignment))),
            Err(error) => misplaced.push((unit, error)),
        }
    }
    (ledger, misplaced)
}

/// What is known of a replica that was found by its unit's drop-in.
fn work_of(unit: &UnitName) -> Result<CheckedAssignment, InvalidAssignment> {
    let desired = Desired::default();
    let revision = ServiceSpec::new(unit.clone()).revision(&desired);
    // The unit is an instance already, or none.
    let assignment = Assignment::new(&revision, &ReplicaDesired::unplaced(&desired), ReplicaNumber(0));
    Assignment { unit: unit.clone(), ..assignment }.check()
}
