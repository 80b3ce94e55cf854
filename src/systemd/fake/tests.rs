#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, time::Duration};

use super::{Behaviour, Call, End, FakeSystemd};
use crate::{
    model::{ActiveState, JobResult, LoadState, UnitName, Verb},
    systemd::{UnitError, UnitFiles, UnitManager},
};

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> UnitName {
    text.parse().unwrap()
}

fn with(behaviour: Behaviour) -> (FakeSystemd, UnitName) {
    let (fake, unit) = (FakeSystemd::new(), name("webapp.service"));
    fake.install(&unit, behaviour);
    fake.watch_units(&BTreeSet::from([unit.clone()]));
    (fake, unit)
}

#[tokio::test(start_paused = true)]
async fn a_unit_starts_runs_and_stops() {
    let (fake, unit) = with(Behaviour::default());
    assert!(fake.unit(&unit).await.unwrap().is_down());
    assert_eq!(fake.run(Verb::Start, &unit).await.unwrap(), JobResult::Done);
    let first = fake.unit(&unit).await.unwrap();
    assert_eq!((first.active, first.main_pid, first.invocation.len()), (ActiveState::Active, Some(1001), 32));
    assert_eq!(fake.run(Verb::Start, &unit).await.unwrap(), JobResult::Done);
    assert_eq!(fake.unit(&unit).await.unwrap(), first, "a second start changes nothing");
    assert_eq!(fake.run(Verb::Restart, &unit).await.unwrap(), JobResult::Done);
    assert_eq!(fake.unit(&unit).await.unwrap().main_pid, Some(1002));
    assert_eq!(fake.run(Verb::Stop, &unit).await.unwrap(), JobResult::Done);
    assert!(fake.unit(&unit).await.unwrap().is_down());
    let run = |verb| Call::Run(verb, unit.clone());
    assert_eq!(fake.take_calls(), [run(Verb::Start), run(Verb::Start), run(Verb::Restart), run(Verb::Stop)]);
}

#[tokio::test(start_paused = true)]
async fn a_template_is_no_unit_but_its_instances_are() {
    let fake = FakeSystemd::new();
    fake.install(&name("webapp@.service"), Behaviour::default());
    let instance = name("webapp@0000000001.service");
    assert_eq!(fake.unit(&instance).await.unwrap().load, LoadState::Loaded);
    assert_eq!(fake.unit(&name("other.service")).await.unwrap().load, LoadState::NotFound);
    let refused = fake.run(Verb::Start, &name("other.service")).await.unwrap_err();
    assert_eq!(refused, UnitError::NoSuchUnit { unit: name("other.service") });
}

#[tokio::test(start_paused = true)]
async fn a_crash_is_restarted_and_reported() {
    let (fake, unit) = with(Behaviour::default());
    fake.run(Verb::Start, &unit).await.unwrap();
    assert_eq!(fake.changed().await, BTreeSet::from([unit.clone()]));
    let before = fake.unit(&unit).await.unwrap();
    fake.end(&unit, End::Kill);
    assert_eq!(fake.changed().await.len(), 1);
    let waiting = fake.unit(&unit).await.unwrap();
    assert_eq!((waiting.sub.as_str(), waiting.exit.as_deref()), ("auto-restart", Some("killed by SIGKILL")));
    assert!(!waiting.is_down(), "it comes back by itself");
    assert_eq!(fake.changed().await.len(), 1, "the restart is reported once its delay is over");
    let after = fake.unit(&unit).await.unwrap();
    assert_eq!((after.active, after.restarts), (ActiveState::Active, 1));
    assert_ne!(after.invocation, before.invocation);
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_ends_at_its_start_limit() {
    let (fake, unit) = with(Behaviour { crashes_after: Some(SECOND), limit_burst: 3, ..Behaviour::default() });
    fake.run(Verb::Start, &unit).await.unwrap();
    while fake.unit(&unit).await.unwrap().active != ActiveState::Failed {
        fake.changed().await;
    }
    let failed = fake.unit(&unit).await.unwrap();
    assert_eq!((failed.restarts, failed.result.as_str()), (3, "exit-code"));
    assert_eq!(fake.run(Verb::Start, &unit).await.unwrap(), JobResult::Failed, "still past its limit");
    fake.reset_failed(&unit).await.unwrap();
    assert_eq!(fake.run(Verb::Start, &unit).await.unwrap(), JobResult::Done);
}

#[tokio::test(start_paused = true)]
async fn a_slow_stop_takes_its_time_and_replaces_a_start() {
    let slow = Behaviour { start_time: 5 * SECOND, stop_time: 3 * SECOND, ..Behaviour::default() };
    let (fake, unit) = with(slow);
    let (started, stopped) = tokio::join!(fake.run(Verb::Start, &unit), async {
        tokio::time::sleep(SECOND).await;
        let began = tokio::time::Instant::now();
        let result = fake.run(Verb::Stop, &unit).await;
        (result, began.elapsed())
    });
    assert_eq!(started.unwrap(), JobResult::Canceled);
    assert_eq!(stopped.0.unwrap(), JobResult::Done);
    assert!(stopped.1 >= 3 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn what_a_stop_leaves_behind_is_told() {
    let (fake, unit) = with(Behaviour { leaves_processes: true, ..Behaviour::default() });
    fake.run(Verb::Start, &unit).await.unwrap();
    fake.run(Verb::Stop, &unit).await.unwrap();
    let left = fake.unit(&unit).await.unwrap();
    assert_eq!((left.active, left.has_processes, left.is_down()), (ActiveState::Inactive, true, false));
}

#[tokio::test(start_paused = true)]
async fn reloads_only_where_it_can() {
    let (fake, unit) = with(Behaviour { can_reload: true, ..Behaviour::default() });
    fake.run(Verb::Start, &unit).await.unwrap();
    let pid = fake.unit(&unit).await.unwrap().main_pid;
    assert_eq!(fake.run(Verb::Reload, &unit).await.unwrap(), JobResult::Done);
    assert_eq!(fake.unit(&unit).await.unwrap().main_pid, pid);
    fake.install(&unit, Behaviour { can_reload: true, fails_to_reload: true, ..Behaviour::default() });
    assert_eq!(fake.run(Verb::Reload, &unit).await.unwrap(), JobResult::Failed);
}

#[tokio::test(start_paused = true)]
async fn an_absent_bus_fails_calls_and_its_return_reports_all() {
    let (fake, unit) = with(Behaviour { start_time: SECOND, ..Behaviour::default() });
    let lost = tokio::join!(fake.run(Verb::Start, &unit), async { fake.set_reachable(false) }).0;
    assert!(matches!(lost, Err(UnitError::Unreachable { .. })));
    assert!(fake.unit(&unit).await.is_err());
    fake.set_reachable(true);
    assert_eq!(fake.changed().await, BTreeSet::from([unit.clone()]));
    tokio::time::sleep(SECOND).await;
    assert_eq!(fake.unit(&unit).await.unwrap().active, ActiveState::Active, "the job ran on");
}

#[tokio::test(start_paused = true)]
async fn files_come_into_force_at_a_reload() {
    let root = tempfile::tempdir().unwrap();
    let (fake, unit) = (FakeSystemd::with_root(root.path()), name("webapp.service"));
    std::fs::write(root.path().join("webapp.service"), "[Service]\nExecStart=/bin/true\n").unwrap();
    assert_eq!(fake.unit(&unit).await.unwrap().load, LoadState::NotFound);
    fake.daemon_reload().await.unwrap();
    assert_eq!(fake.unit(&unit).await.unwrap().load, LoadState::Loaded);
    std::fs::write(root.path().join("webapp.service"), "[Service]\nType=exec\nExecStart=/bin/true\n").unwrap();
    assert!(fake.unit(&unit).await.unwrap().need_daemon_reload);
    fake.daemon_reload().await.unwrap();
    assert!(!fake.unit(&unit).await.unwrap().need_daemon_reload);

    let files = UnitFiles::new(root.path());
    files.write_drop_in(&unit, "# Generated by zkops for replica a.0000000001; edits are overwritten.\n").unwrap();
    let status = fake.unit(&unit).await.unwrap();
    assert!(
        !status.need_daemon_reload
            && files.paths().needs_reload(&unit, &status, files.read_drop_in(&unit).unwrap().is_some()),
        "systemd does not see a new drop-in"
    );
    fake.daemon_reload().await.unwrap();
    let status = fake.unit(&unit).await.unwrap();
    assert!(
        !files.paths().needs_reload(&unit, &status, files.read_drop_in(&unit).unwrap().is_some())
            && status.drop_in_paths.len() == 1
    );

    std::fs::remove_file(root.path().join("webapp.service")).unwrap();
    fake.daemon_reload().await.unwrap();
    assert_eq!(fake.unit(&unit).await.unwrap().load, LoadState::NotFound);
}
