//! What systemd has loaded, not what was written.

use std::path::Path;

use super::*;
use crate::{
    model::{Template, UnitSettings},
    plan::agent::{Overruled, Part, Placed, overruled},
};

const OURS: &str = "/run/systemd/system/t.service";
const DROP_IN: &str = "/run/systemd/system/t.service.d/50-zkops.conf";
const VARIABLES: &str = "/run/systemd/system/t.service.d/50-zkops.env";

fn placed(loaded: bool) -> Placed<'static> {
    Placed {
        unit_file: Path::new(OURS),
        drop_in: Path::new(DROP_IN),
        variables: Path::new(VARIABLES),
        has_drop_in: true,
        loaded,
        doubted: false,
    }
}

fn wanted() -> Assignment {
    let mut assignment = Case::running().assignment;
    assignment.template.unit_file = Some("unit".to_owned());
    assignment.template.environment = [("COLOUR".to_owned(), "a=b".to_owned())].into();
    assignment.template.credentials = [("key".to_owned(), "/etc/key".to_owned())].into();
    assignment
}

/// The unit as its files make it when nobody takes anything back.
fn loaded() -> UnitStatus {
    let restart = wanted().template.restart;
    let settings = UnitSettings {
        restart: restart.policy.as_str().to_owned(),
        limit_burst: restart.limit_burst,
        limit_interval: restart.limit_interval.get(),
        environment: vec!["OTHER=1".to_owned(), "COLOUR=a=b".to_owned()],
        environment_files: vec!["/etc/default/t".to_owned(), VARIABLES.to_owned()],
        credentials: vec![("key".to_owned(), "/etc/key".to_owned())],
    };
    let drop_in_paths = vec![DROP_IN.to_owned(), "/etc/systemd/system/t.service.d/99-x.conf".to_owned()];
    let fragment_path = OURS.to_owned();
    UnitStatus { settings: Some(settings), drop_in_paths, fragment_path, ..Case::running().unit }
}

#[test]
fn a_unit_file_that_another_one_hides_is_not_in_force_whenever_that_came() {
    for (path, before, after) in [
        (OURS, false, false),
        ("", false, false),
        ("/usr/lib/systemd/system/t.service", false, true),
        ("/etc/systemd/system/t.service", true, true),
        ("/run/systemd/transient/t.service", true, true),
        ("/etc/systemd/system.control/t.service", true, true),
    ] {
        let unit = UnitStatus { fragment_path: path.to_owned(), ..loaded() };
        for (is_loaded, expected) in [(false, before), (true, after)] {
            let said = overruled(&unit, &wanted(), placed(is_loaded));
            assert_eq!(said.is_some(), expected, "{path} {is_loaded}: {said:?}");
            assert!(said.is_none_or(|said| said.why.contains(path) && said.part == Part::UnitFile));
        }
        let installed = Assignment { template: Template { unit_file: None, ..wanted().template }, ..wanted() };
        assert_eq!(overruled(&unit, &installed, placed(true)), None, "{path} is the service's own");
    }
}

#[test]
fn each_setting_that_zkops_relies_on_is_missed_when_a_later_drop_in_takes_it_back() {
    type Undo = fn(&mut UnitSettings);
    assert_eq!(overruled(&loaded(), &wanted(), placed(true)), None);
    let changes: [(&str, Part, Undo); 6] = [
        ("Restart=", Part::Restart, |it| it.restart = "no".to_owned()),
        ("StartLimitBurst=", Part::Restart, |it| it.limit_burst = 0),
        ("StartLimitIntervalSec=", Part::Restart, |it| it.limit_interval = Duration::ZERO),
        ("EnvironmentFile=", Part::Content, |it| it.environment_files.clear()),
        ("Environment=COLOUR", Part::Content, |it| it.environment = vec!["COLOUR=red".to_owned()]),
        ("LoadCredential=key", Part::Content, |it| it.credentials.clear()),
    ];
    for (setting, expected, change) in changes {
        let mut unit = loaded();
        change(unit.settings.as_mut().unwrap());
        let Overruled { part, why } = overruled(&unit, &wanted(), placed(true)).unwrap();
        assert!(part == expected && why.contains(setting) && why.contains("99-x.conf"), "{setting}: {why}");
        unit.settings.as_mut().unwrap().restart = "always".to_owned();
        let both = overruled(&unit, &wanted(), placed(true)).map(|it| it.part);
        assert_eq!(both, Some(expected), "{setting}: the worse of two is told");
        assert_eq!(overruled(&unit, &wanted(), placed(false)), None, "{setting}: not read yet");
    }
}

#[test]
fn a_drop_in_of_the_same_name_stands_in_its_place() {
    let other = "/etc/systemd/system/t.service.d/50-zkops.conf";
    for (paths, named) in [(vec![other.to_owned()], other), (Vec::new(), DROP_IN)] {
        let unit = UnitStatus { drop_in_paths: paths, ..loaded() };
        let Overruled { part, why } = overruled(&unit, &wanted(), placed(true)).unwrap();
        assert!(why.contains(named) && part == Part::Content, "{why}");
        let doubted = Placed { doubted: true, ..placed(true) };
        assert_eq!(overruled(&unit, &wanted(), doubted).is_some(), named == other, "it may have been removed");
    }
}

#[test]
fn what_is_kept_runs_on_and_nothing_is_started() {
    let why = "accept_commands is not set";
    let kept = |case: &Case| {
        let wanted = Wanted::Kept { assignment: &case.assignment, why };
        decide(&View { wanted, ..case.view() }, None, case.now)
    };
    let decision = kept(&Case::running());
    assert_eq!((decision.step, decision.state, decision.listed), (None, ReplicaState::Running, true));
    assert!(decision.rejected && decision.message.unwrap().contains(why));
    let mut out = Case::running();
    (out.in_instances, out.probed) = (false, Probed { ready: false, ..Probed::FINE });
    assert!(!kept(&out).listed);
    for active in [ActiveState::Inactive, ActiveState::Failed] {
        let decision = kept(&Case::down(active));
        assert_eq!((decision.step, decision.state, decision.listed), (None, ReplicaState::Refused, false));
    }
    let restarting = Case::down(ActiveState::Activating);
    assert_eq!(kept(&restarting).state, ReplicaState::Starting, "systemd restarts it by its drop-in");
}

#[test]
fn what_is_broken_by_none_of_our_files_is_not_written_to() {
    let mut case = Case::down(ActiveState::Inactive);
    (case.unit.load, case.unit.load_error) = (LoadState::BadSetting, Some("bad unit file setting".into()));
    (case.files, case.record) = (Files::default(), None);
    let decision = case.decide();
    assert_eq!((decision.step, decision.state), (None, ReplicaState::Failed));
    assert!(decision.message.unwrap().contains("bad unit file setting"));
    case.files = Files { unit_file: Some("broken".into()), ..Files::default() };
    assert!(matches!(case.decide().step, Some(Step::Prepare(_))), "what is wanted may be better");
}
