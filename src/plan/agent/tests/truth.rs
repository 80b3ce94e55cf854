//! Whatever systemd says of a unit: every state that it may have, with everything that may be wanted of it.

use super::*;

const ACTIVE: [ActiveState; 8] = [
    ActiveState::Active,
    ActiveState::Reloading,
    ActiveState::Inactive,
    ActiveState::Failed,
    ActiveState::Activating,
    ActiveState::Deactivating,
    ActiveState::Maintenance,
    ActiveState::Unknown,
];
const LOAD: [LoadState; 6] = [
    LoadState::Loaded,
    LoadState::NotFound,
    LoadState::BadSetting,
    LoadState::Error,
    LoadState::Masked,
    LoadState::Other,
];
const SUB: [(&str, &str); 3] = [("simple", "running"), ("simple", "exited"), ("oneshot", "exited")];

/// Every unit, as it is before and after it was in `instances`, with its files as wanted or not there.
fn everything() -> Vec<Case> {
    let mut cases = Vec::new();
    for (active, load) in ACTIVE.into_iter().flat_map(|active| LOAD.into_iter().map(move |load| (active, load))) {
        for (kind, sub) in SUB {
            for bits in 0..16 {
                let has = |bit: u32| bits & (1 << bit) != 0;
                let mut case = Case::running();
                let unit = case.unit.clone();
                case.unit =
                    UnitStatus { active, load, kind: kind.into(), sub: sub.into(), refuses_start: has(0), ..unit };
                (case.in_instances, case.probed.ready) = (has(1), has(2));
                if has(3) {
                    case.files = Files::default();
                }
                cases.push(case);
            }
        }
    }
    cases
}

/// What may be wanted of it, and what is decided then.
fn decisions(case: &Case) -> Vec<(Wanted<'_>, Decision)> {
    let (assignment, files, key) = (&case.assignment, &case.wanted_files, case.key.as_str());
    let wanted = [
        Wanted::Assigned { assignment, files, key },
        Wanted::Kept { assignment, why: "it is not accepted" },
        Wanted::Refused(assignment, "it is not allowed"),
        Wanted::Awaited(assignment),
        Wanted::Leaving { assignment, why: "is no longer assigned", drain_time: Duration::ZERO },
    ];
    let decided = |wanted| (wanted, decide(&View { wanted, ..case.view() }, None, case.now));
    wanted.into_iter().map(decided).collect()
}

#[test]
fn only_what_has_a_process_and_is_ready_is_listed() {
    for case in everything() {
        for (wanted, _) in decisions(&case).into_iter().filter(|(_, decision)| decision.listed) {
            let unit = &case.unit;
            let up = unit.active.is_up() || unit.active == ActiveState::Unknown;
            assert!(up && !unit.has_ended() && case.probed.ready, "{wanted:?}\n{unit:?}");
        }
    }
}

#[test]
fn nothing_is_started_that_cannot_be_and_nothing_touched_that_is_not_to_be() {
    for case in everything() {
        for (wanted, decision) in decisions(&case) {
            let unit = &case.unit;
            let starts = matches!(decision.step, Some(Step::Job(Verb::Start) | Step::ResetAndStart));
            let usable = match unit.load {
                LoadState::Loaded => !unit.refuses_start,
                load => load == LoadState::Other,
            };
            assert!(!starts || usable, "{wanted:?}\n{unit:?}");
            if matches!(wanted, Wanted::Kept { .. } | Wanted::Refused(..) | Wanted::Awaited(_)) {
                assert_eq!(decision.step, None, "{wanted:?}\n{unit:?}");
            }
            let prepares = matches!(decision.step, Some(Step::Prepare(_)));
            assert!(!(prepares && unit.is_broken() && case.files == Files::default()), "{wanted:?}\n{unit:?}");
        }
    }
}

#[test]
fn what_is_down_for_good_says_so_and_why() {
    for case in everything() {
        let down = matches!(case.unit.active, ActiveState::Inactive | ActiveState::Failed);
        let case = Case { unit: UnitStatus { has_processes: false, ..case.unit.clone() }, ..case };
        for (wanted, decision) in decisions(&case) {
            let assigned = matches!(wanted, Wanted::Assigned { .. } | Wanted::Kept { .. });
            if down && assigned && decision.step.is_none() {
                assert!(
                    decision.state.is_down() && decision.message.is_some(),
                    "{wanted:?}\n{:?}\n{decision:?}",
                    case.unit
                );
            }
        }
    }
}
