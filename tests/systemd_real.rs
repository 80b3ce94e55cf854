//! The unit manager and the generated files on a real systemd, over the real system bus.
//!
//! Ignored by default, because it needs root on a machine whose PID 1 is systemd, reloads and re-executes that
//! systemd and restarts the bus: run it in a throw-away host, `systemd_real --ignored`.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use tokio::{
    sync::{Mutex, MutexGuard},
    time::timeout,
};
use tracing::Level;
use tracing_subscriber::{filter::Targets, fmt::layer, layer::SubscriberExt as _, util::SubscriberInitExt as _};
use zkops::{
    model::{
        ActiveState, Assignment, Desired, Folders, JobResult, LoadState, ReplicaDesired, ReplicaId, ReplicaNumber,
        RestartMode, ServiceName, ServiceSpec, Span, UnitName, UnitStatus, Verb, drop_in, variables,
    },
    plan::agent::{Placed, overruled},
    systemd::{DBusManager, UnitError, UnitFiles, UnitManager},
};

const SOON: Duration = Duration::from_secs(10);

/// One host, one test at a time.
struct Host {
    systemd: DBusManager,
    files: UnitFiles,
    units: Vec<UnitName>,
    _turn: MutexGuard<'static, ()>,
}

/// Writes a replica's generated files; whether systemd must read its units again for them.
fn write(files: &UnitFiles, unit: &UnitName, assignment: &Assignment, systemd_version: u32) -> bool {
    let assignment = &assignment.clone().check().unwrap();
    let told = variables(assignment, &id(), &"web1".parse().unwrap(), &Folders::default());
    files.write_variables(unit, &told).unwrap();
    files.write_drop_in(unit, &drop_in(assignment, &id(), &files.paths().variables(unit), systemd_version)).unwrap()
}

impl Host {
    async fn new() -> Self {
        static TURN: OnceLock<Mutex<()>> = OnceLock::new();
        let turn = TURN.get_or_init(Mutex::default).lock().await;
        // A test that fails shows what was lost and fixed.
        let filter = Targets::new().with_target("zkops", Level::DEBUG);
        let lines = layer().with_test_writer();
        let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
        Self { systemd: DBusManager::connect(), files: UnitFiles::new(UnitFiles::SYSTEM), units: vec![], _turn: turn }
    }

    /// A host with one unit of this text, loaded and watched.
    async fn with(name: &str, text: &str) -> (Self, UnitName) {
        let mut host = Self::new().await;
        let unit = host.add(name, text);
        host.systemd.daemon_reload().await.unwrap();
        host.systemd.watch_units(&BTreeSet::from([unit.clone()]));
        (host, unit)
    }

    fn add(&mut self, name: &str, text: &str) -> UnitName {
        let unit: UnitName = name.parse().unwrap();
        self.files.write_unit_file(&unit.file_name(), &service(), text).unwrap();
        self.units.push(unit.clone());
        unit
    }

    async fn needs_reload(&self, unit: &UnitName) -> bool {
        // By one that knows nothing yet: no signal tells of files.
        let status = DBusManager::connect().unit(unit).await.unwrap();
        self.files.paths().needs_reload(unit, &status, self.files.read_drop_in(unit).unwrap().is_some())
    }

    async fn run(&self, verb: Verb, unit: &UnitName) -> JobResult {
        timeout(3 * SOON, self.systemd.run(verb, unit)).await.expect("a job must not hang").unwrap()
    }

    async fn unit(&self, unit: &UnitName) -> UnitStatus {
        self.systemd.unit(unit).await.unwrap()
    }

    /// Waits by signals alone until the unit is as wanted.
    async fn until(&self, unit: &UnitName, what: &str, wanted: impl Fn(&UnitStatus) -> bool) -> UnitStatus {
        let began = Instant::now();
        loop {
            let status = self.systemd.unit(unit).await;
            if let Ok(status) = &status
                && wanted(status)
            {
                return status.clone();
            }
            let left = (2 * SOON).saturating_sub(began.elapsed());
            let changed = timeout(left, self.systemd.changed()).await;
            assert!(changed.is_ok(), "no signal until {what}: {status:?}");
        }
    }

    /// What the unit said last, once the journal has it: a busy journald may take longer than the agent waits for it.
    async fn last_words(&self, unit: &UnitName) -> Option<String> {
        let (invocation, asked) = (self.unit(unit).await.invocation, Instant::now());
        loop {
            let words = self.systemd.last_words(unit, &invocation).await;
            if words.is_some() || asked.elapsed() > SOON {
                return words;
            }
        }
    }

    /// What is known of the unit and what is read of it come to be the same, by signals alone.
    async fn is_as_a_full_read_says(&self, reader: &DBusManager, unit: &UnitName, after: &str) {
        let began = Instant::now();
        loop {
            let (known, read) = (self.unit(unit).await, reader.unit(unit).await.unwrap());
            // Of what does not rest it makes no difference.
            let is_left = known.is_down() == read.is_down();
            let known = UnitStatus { has_processes: read.has_processes, ..known };
            // A unit on its way is another at each look.
            if is_left && known == read {
                return;
            }
            assert!(began.elapsed() < SOON, "{unit} after {after}: {known:#?}, and not {read:#?}");
            let _ = timeout(Duration::from_millis(100), self.systemd.changed()).await;
        }
    }

    /// Takes all that is still to be told, so that what comes next is new.
    async fn quiet(&self) {
        while timeout(Duration::from_millis(500), self.systemd.changed()).await.is_ok() {}
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for unit in &self.units {
            shell(&format!("systemctl kill -s KILL '{unit}' 2>/dev/null; systemctl stop '{unit}' 2>/dev/null || true"));
            shell(&format!("systemctl reset-failed '{unit}' 2>/dev/null || true"));
            self.files.remove_variables(unit).unwrap();
            self.files.remove_drop_in(unit).unwrap();
            self.files.remove_unit_file(&unit.file_name()).unwrap();
        }
        shell("systemctl daemon-reload");
    }
}

fn service() -> ServiceName {
    "zt".parse().unwrap()
}

fn shell(command: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(command).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{command}: {text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn kill(pid: Option<u32>) {
    shell(&format!("kill -KILL {}", pid.unwrap()));
}

fn assignment(unit: &UnitName) -> Assignment {
    let desired = Desired::default();
    let revision = ServiceSpec::new(unit.clone()).revision(&desired);
    Assignment::new(&revision, &ReplicaDesired::unplaced(&desired), ReplicaNumber(1))
}

fn id() -> ReplicaId {
    "zt.0000000001".parse().unwrap()
}

const SLEEP: &str = "[Service]\nExecStart=/bin/sleep infinity\n";
const SLOW: &str = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sleep 3\n";

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn the_manager_answers() {
    let host = Host::new().await;
    let version = host.systemd.version().await.unwrap();
    let expected = shell("systemctl --version | sed -n '1s/^systemd \\([0-9]*\\).*/\\1/p'");
    assert_eq!(version.to_string(), expected.trim());
    assert!(!host.systemd.is_stopping().await.unwrap());
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_unit_starts_reloads_restarts_and_stops() {
    let (host, unit) = Host::with("zt-life.service", &format!("{SLEEP}ExecReload=/bin/true\n")).await;
    let before = host.unit(&unit).await;
    assert_eq!(
        (before.load, before.active, before.invocation.as_str()),
        (LoadState::Loaded, ActiveState::Inactive, "")
    );
    assert!(before.is_down() && before.can_reload && before.active_since.is_none());
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    let first = host.unit(&unit).await;
    assert_eq!((first.active, first.sub.as_str(), first.has_processes), (ActiveState::Active, "running", true));
    assert_eq!((first.invocation.len(), first.restarts, first.job.as_ref()), (32, 0, None));
    assert!(first.active_since.is_some());
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    assert_eq!(host.unit(&unit).await, first, "a second start changes nothing");
    assert_eq!(host.run(Verb::Reload, &unit).await, JobResult::Done);
    assert_eq!(host.unit(&unit).await.main_pid, first.main_pid);
    assert_eq!(host.run(Verb::Restart, &unit).await, JobResult::Done);
    let second = host.unit(&unit).await;
    assert_ne!((second.main_pid, &second.invocation), (first.main_pid, &first.invocation));
    assert_eq!(host.run(Verb::Stop, &unit).await, JobResult::Done);
    let stopped = host.unit(&unit).await;
    assert!(stopped.is_down(), "{stopped:?}");
    assert!(!Path::new(&format!("/proc/{}", second.main_pid.unwrap())).exists());
    assert_eq!(host.run(Verb::Stop, &unit).await, JobResult::Done, "it is stopped already");
}

/// What is known by signals is what a full read says, whatever kind of unit it is and whatever happens to it.
#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_unit_that_is_known_by_its_signals_is_as_a_full_read_says() {
    let mut host = Host::new().await;
    let flags = "Restart=on-failure\nRestartSec=1ms\n";
    let kinds = [
        ("sleep", SLEEP.to_owned()),
        ("oneshot", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n".to_owned()),
        ("ends", "[Service]\nType=oneshot\nExecStart=/bin/true\n".to_owned()),
        ("fails", format!("[Unit]\nStartLimitBurst=3\n[Service]\nType=exec\nExecStart=/bin/sh -c 'exit 3'\n{flags}")),
        ("unmet", "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=/bin/true\n".to_owned()),
        ("asserts", "[Unit]\nAssertPathExists=/nowhere\n[Service]\nExecStart=/bin/true\n".to_owned()),
        ("leaves", format!("{SLEEP}KillMode=process\nExecStartPost=/bin/sh -c 'sleep 2 & true'\n")),
    ];
    let units: Vec<_> = kinds.iter().map(|(name, text)| host.add(&format!("zt-known-{name}.service"), text)).collect();
    host.systemd.daemon_reload().await.unwrap();
    host.systemd.watch_units(&units.iter().cloned().collect());
    let reader = DBusManager::connect();
    for unit in &units {
        host.unit(unit).await;
        for command in ["start", "restart", "kill --signal=KILL", "start", "stop", "reset-failed", "start", "stop"] {
            shell(&format!("systemctl {command} {unit} || true"));
            host.is_as_a_full_read_says(&reader, unit, command).await;
        }
        shell("systemctl daemon-reload");
        host.is_as_a_full_read_says(&reader, unit, "daemon-reload").await;
    }
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn what_cannot_run_says_why() {
    let mut host = Host::new().await;
    let missing: UnitName = "zt-missing.service".parse().unwrap();
    let status = host.unit(&missing).await;
    assert_eq!((status.load, status.is_down()), (LoadState::NotFound, true));
    let refused = host.systemd.run(Verb::Start, &missing).await;
    assert_eq!(refused, Err(UnitError::NoSuchUnit { unit: missing.clone() }));
    host.systemd.reset_failed(&missing).await.unwrap();

    let exits = host.add("zt-exits.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'exit 3'\n");
    let program = host.add("zt-program.service", "[Service]\nType=exec\nExecStart=/nowhere/program\n");
    let bad = host.add("zt-bad.service", "[Service]\nType=oneshot\n");
    let masked: UnitName = "zt-masked.service".parse().unwrap();
    shell("systemctl mask --runtime zt-masked.service");
    host.systemd.daemon_reload().await.unwrap();

    assert_eq!(host.run(Verb::Start, &exits).await, JobResult::Failed);
    let status = host.unit(&exits).await;
    assert_eq!((status.active, status.result.as_str()), (ActiveState::Failed, "exit-code"));
    assert_eq!(status.exit.as_deref(), Some("exited with status 3"));
    assert_eq!(host.run(Verb::Start, &program).await, JobResult::Failed);
    let exit = host.unit(&program).await.exit;
    assert_eq!(exit.as_deref(), Some("exited with status 203/EXEC (its program cannot be started)"));
    let status = host.unit(&bad).await;
    assert_eq!(status.load, LoadState::BadSetting, "{status:?}");
    assert!(matches!(host.systemd.run(Verb::Start, &bad).await, Err(UnitError::Unusable { .. })));
    assert_eq!(host.unit(&masked).await.load, LoadState::Masked);
    assert!(matches!(host.systemd.run(Verb::Start, &masked).await, Err(UnitError::Unusable { .. })));
    shell("systemctl unmask --runtime zt-masked.service");
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn the_last_words_are_those_of_the_unit_itself() {
    let mut host = Host::new().await;
    let text = "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo starting; printf \"\\\\033[31mno disk\\\\033[0m\\\\n\" >&2; exit 3'\n";
    let says = host.add("zt-says.service", text);
    let silent = host.add("zt-silent.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n");
    let program = host.add("zt-none.service", "[Service]\nType=exec\nExecStart=/nowhere/program\n");
    host.systemd.daemon_reload().await.unwrap();
    for unit in [&says, &silent, &program] {
        assert_eq!(host.run(Verb::Start, unit).await, JobResult::Failed);
    }
    assert_eq!(host.last_words(&says).await.as_deref(), Some("no disk"));
    // The journal has it all by now.
    let silent = host.systemd.last_words(&silent, &host.unit(&silent).await.invocation).await;
    assert_eq!(silent, None, "systemd's own lines are not the process's");
    let program = host.systemd.last_words(&program, &host.unit(&program).await.invocation).await;
    assert!(program.as_ref().is_none_or(|line| line.contains("/nowhere/program")), "{program:?}");
    let link = "/run/systemd/system/zt-speaks.service";
    std::os::unix::fs::symlink("zt-says.service", link).unwrap();
    host.systemd.daemon_reload().await.unwrap();
    let alias = "zt-speaks.service".parse().unwrap();
    assert_eq!(host.last_words(&alias).await.as_deref(), Some("no disk"), "by its other name");
    fs::remove_file(link).unwrap();
}

/// As on a busy machine: journald no longer finds to which invocation a line belongs.
#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn the_last_words_are_known_though_the_journal_takes_them_late() {
    let (host, unit) =
        Host::with("zt-late.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo no disk; exit 3'\n").await;
    let journald = "systemd-journald.service".parse().unwrap();
    let journald = host.unit(&journald).await.main_pid.unwrap().to_string();
    let signal = |name: &str| assert!(Command::new("kill").args([name, &journald]).status().unwrap().success());
    signal("-STOP");
    let result = host.run(Verb::Start, &unit).await;
    signal("-CONT");
    let words = host.last_words(&unit).await;
    assert_eq!((result, words.as_deref()), (JobResult::Failed, Some("no disk")));
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_condition_that_does_not_hold_is_told() {
    let text = format!("[Unit]\nConditionPathExists=/nowhere\n{SLEEP}");
    let (host, unit) = Host::with("zt-condition.service", &text).await;
    host.quiet().await;
    assert_eq!(host.unit(&unit).await.unmet, [""; 0], "not tried yet");
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done, "systemd calls that done");
    let status = host.unit(&unit).await;
    assert_eq!(status.unmet, ["ConditionPathExists=/nowhere"]);
    assert!(status.is_down(), "{status:?}");
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn how_a_unit_ended_is_kept_for_as_long_as_it_is_watched() {
    let mut host = Host::new().await;
    host.systemd.watch_units(&BTreeSet::from(["zt-ends.service".parse().unwrap()]));
    host.quiet().await;
    let unit = host.add("zt-ends.service", "[Service]\nExecStart=/bin/sleep 1\n");
    host.systemd.daemon_reload().await.unwrap();
    host.quiet().await;
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    let ended = host.until(&unit, "ended", |it| it.active == ActiveState::Inactive).await;
    assert_eq!((ended.exit.as_deref(), ended.invocation.len()), (Some("exited with status 0"), 32));
    host.systemd.watch_units(&BTreeSet::new());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(host.unit(&unit).await.exit, None, "systemd may forget it now");
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_killed_service_is_restarted_by_its_drop_in_until_its_start_limit() {
    let (host, unit) = Host::with("zt-crash@.service", SLEEP).await;
    let unit = unit.for_replica(ReplicaNumber(1));
    let mut assignment = assignment(&unit);
    assignment.template.restart.delay = Span::from_millis(200);
    assignment.template.restart.limit_burst = 3;
    assert!(write(&host.files, &unit, &assignment, 252));
    host.systemd.daemon_reload().await.unwrap();
    host.systemd.watch_units(&BTreeSet::from([unit.clone()]));
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    let mut last = host.unit(&unit).await;
    assert_eq!(last.drop_in_paths, ["/run/systemd/system/zt-crash@0000000001.service.d/50-zkops.conf"]);
    for restarts in 1..=2 {
        kill(last.main_pid);
        let next =
            host.until(&unit, "restarted", |it| it.active == ActiveState::Active && it.main_pid != last.main_pid).await;
        assert_eq!(next.restarts, restarts);
        assert_ne!(next.invocation, last.invocation);
        last = next;
    }
    kill(last.main_pid);
    let failed = host.until(&unit, "failed", |it| it.active == ActiveState::Failed).await;
    println!("past its start limit: {failed:?}");
    assert_eq!(failed.exit.as_deref(), Some("killed by SIGKILL"));
    assert!(failed.is_down());
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Failed, "still past its limit");
    println!("started past its start limit: {:?}", host.unit(&unit).await);
    host.systemd.reset_failed(&unit).await.unwrap();
    assert_eq!(host.unit(&unit).await.active, ActiveState::Inactive);
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    shell(&format!("systemctl stop {unit}"));
    host.files.remove_variables(&unit).unwrap();
    host.files.remove_drop_in(&unit).unwrap();
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn stopped_means_that_no_process_is_left() {
    let stubborn = "[Service]\nKillMode=process\nExecStart=/bin/sh -c 'sleep 4 & exec sleep infinity'\n";
    let (host, unit) = Host::with("zt-leaves.service", stubborn).await;
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(host.run(Verb::Stop, &unit).await, JobResult::Done);
    let left = host.unit(&unit).await;
    assert_eq!((left.active, left.has_processes, left.is_down()), (ActiveState::Inactive, true, false));
    host.until(&unit, "its last process is gone", UnitStatus::is_down).await;
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_service_that_ignores_sigterm_is_stopped_all_the_same() {
    let deaf = "[Service]\nTimeoutStopSec=1\nExecStart=/bin/sh -c \"trap '' TERM; while :; do sleep 60; done\"\n";
    let (host, unit) = Host::with("zt-deaf.service", deaf).await;
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(host.run(Verb::Stop, &unit).await, JobResult::Done);
    let status = host.unit(&unit).await;
    println!("killed by its timeout: {status:?}");
    assert_eq!((status.active, status.is_down()), (ActiveState::Failed, true));
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_stop_takes_the_place_of_a_start() {
    let (host, unit) = Host::with("zt-slow.service", SLOW).await;
    let (started, stopped) = tokio::join!(host.run(Verb::Start, &unit), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(host.unit(&unit).await.job.as_deref(), Some("start"));
        host.run(Verb::Stop, &unit).await
    });
    assert_eq!((started, stopped), (JobResult::Canceled, JobResult::Done));
    assert!(host.unit(&unit).await.is_down());
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn jobs_end_whatever_is_reloaded_meanwhile() {
    let (host, unit) = Host::with("zt-slow.service", SLOW).await;
    let (started, ()) = tokio::join!(host.run(Verb::Start, &unit), async {
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            host.systemd.daemon_reload().await.unwrap();
        }
    });
    assert_eq!(started, JobResult::Done);
    assert_eq!(host.unit(&unit).await.active, ActiveState::Active);
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_reload_reports_every_watched_unit_and_brings_files_into_force() {
    let (host, unit) = Host::with("zt-files.service", SLEEP).await;
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    host.quiet().await;
    let mut assignment = assignment(&unit);
    assignment.template.restart.policy = RestartMode::Always;
    write(&host.files, &unit, &assignment, 252);
    assert!(host.needs_reload(&unit).await);
    assert!(timeout(Duration::from_secs(2), host.systemd.changed()).await.is_err(), "nothing happens by itself");
    host.systemd.daemon_reload().await.unwrap();
    assert_eq!(timeout(SOON, host.systemd.changed()).await.unwrap(), BTreeSet::from([unit.clone()]));
    let status = host.unit(&unit).await;
    assert!(!host.needs_reload(&unit).await && status.drop_in_paths.len() == 1, "{status:?}");
    assert_eq!(shell(&format!("systemctl show -P Restart {unit}")).trim(), "always");
    let ordered = shell(&format!("systemctl show -P Before {unit}"));
    assert!(ordered.split_whitespace().any(|it| it == "zkops-shutdown.service"), "{ordered}");
    assignment.template.restart.policy = RestartMode::No;
    write(&host.files, &unit, &assignment, 252);
    assert!(host.needs_reload(&unit).await, "its text changed");
    host.systemd.daemon_reload().await.unwrap();
    assert!(!host.needs_reload(&unit).await);
    host.files.remove_variables(&unit).unwrap();
    host.files.remove_drop_in(&unit).unwrap();
    assert!(host.needs_reload(&unit).await, "it is gone");
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn systemd_takes_every_setting_of_the_fullest_drop_in() {
    let (host, unit) = Host::with("zt-full.service", SLEEP).await;
    let began = shell("date +@%s.%N");
    let mut assignment = assignment(&unit);
    assignment.template.restart.policy = RestartMode::OnAbnormal;
    assignment.template.restart.delay = Span::from_millis(1500);
    assignment.template.restart.max_delay = Some(Span::from_secs(90));
    assignment.template.restart.limit_burst = 7;
    assignment.template.restart.limit_interval = Span::from_millis(2500);
    assignment.template.restart.watchdog = Some(Span::from_secs(10));
    let version = host.systemd.version().await.unwrap();
    write(&host.files, &unit, &assignment, version);
    host.systemd.daemon_reload().await.unwrap();
    // Only a running unit has a watchdog.
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    let read = |property: &str| shell(&format!("systemctl show -P {property} {unit}")).trim().to_owned();
    let settings = ["Restart", "RestartUSec", "StartLimitBurst", "StartLimitIntervalUSec", "WatchdogUSec"].map(read);
    assert_eq!(settings, ["on-abnormal", "1.500000s", "7", "2.500000s", "10s"]);
    if version >= 254 {
        assert_eq!(["RestartSteps", "RestartMaxDelayUSec"].map(read), ["5", "1min 30s"]);
    }
    let complaints = shell(&format!(
        "journalctl --sync; journalctl -q -o cat --since '{}' _PID=1 | grep -F zt-full.service.d || true",
        began.trim()
    ));
    assert_eq!(complaints, "", "systemd warned");
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_full_disk_is_told_with_the_path_and_leaves_what_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().display().to_string();
    shell(&format!("mount -t tmpfs -o size=16k tmpfs {dir}"));
    let (files, unit, id) = (UnitFiles::new(&dir), "a.service".parse().unwrap(), id());
    let text =
        |length| format!("# Generated by zkops for replica {id}; edits are overwritten.\n{}", "#".repeat(length));
    files.write_drop_in(&unit, &text(10)).unwrap();
    let error = files.write_drop_in(&unit, &text(1 << 20)).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write {dir}/a.service.d/50-zkops.conf"));
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("No space left on device"), "{source}");
    assert_eq!(files.read_drop_in(&unit).unwrap().unwrap(), text(10));
    assert_eq!(fs::read_dir(format!("{dir}/a.service.d")).unwrap().count(), 1, "nothing is left aside");
    shell(&format!("umount {dir}"));
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn pid_1_re_executes_itself() {
    let (mut host, unit) = Host::with("zt-reexec.service", SLEEP).await;
    let slow = host.add("zt-slow.service", SLOW);
    host.systemd.daemon_reload().await.unwrap();
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    host.quiet().await;
    let (started, ()) = tokio::join!(host.run(Verb::Start, &slow), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        tokio::task::spawn_blocking(|| shell("systemctl daemon-reexec")).await.unwrap();
        assert_eq!(timeout(SOON, host.systemd.changed()).await.unwrap(), BTreeSet::from([unit.clone()]));
    });
    assert_eq!(started, JobResult::Done);
    host.quiet().await;
    signals_still_come(&host, &unit).await;
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn the_bus_restarts() {
    let (mut host, unit) = Host::with("zt-bus.service", SLEEP).await;
    let slow = host.add("zt-slow.service", SLOW);
    host.systemd.daemon_reload().await.unwrap();
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    let before = host.unit(&unit).await;
    host.quiet().await;
    let (started, ()) = tokio::join!(host.run(Verb::Start, &slow), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        tokio::task::spawn_blocking(|| shell("systemctl restart dbus.service")).await.unwrap();
        assert_eq!(timeout(SOON, host.systemd.changed()).await.unwrap(), BTreeSet::from([unit.clone()]));
    });
    assert_eq!(started, JobResult::Done);
    host.quiet().await;
    assert_eq!(host.unit(&unit).await.main_pid, before.main_pid);
    signals_still_come(&host, &unit).await;
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_job_ends_while_the_bus_is_away() {
    let (mut host, slow) = Host::with("zt-slow.service", SLOW).await;
    let fails = host.add("zt-fails.service", &SLOW.replace("/bin/sleep 3", "/bin/sh -c 'sleep 3; exit 1'"));
    host.systemd.daemon_reload().await.unwrap();
    let (started, failed, ()) = tokio::join!(host.run(Verb::Start, &slow), host.run(Verb::Start, &fails), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        tokio::task::spawn_blocking(|| {
            shell("systemctl stop dbus.service dbus.socket; sleep 4; systemctl start dbus.socket dbus.service");
        })
        .await
        .unwrap();
    });
    assert_eq!((started, failed), (JobResult::Done, JobResult::Failed));
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn the_bus_is_away_for_a_while() {
    let (host, unit) = Host::with("zt-away.service", SLEEP).await;
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    let pid = host.unit(&unit).await.main_pid;
    host.quiet().await;
    shell("systemctl stop dbus.service dbus.socket");
    let began = Instant::now();
    let mut errors = 0;
    while began.elapsed() < Duration::from_secs(3) {
        if let Err(error) = timeout(SOON, host.systemd.unit(&unit)).await.expect("calls must not hang") {
            assert!(matches!(error, UnitError::Unreachable { .. }), "{error}");
            errors += 1;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(errors > 5, "{errors}");
    kill(pid);
    shell("systemctl start dbus.socket dbus.service");
    let status = host.until(&unit, "the bus is back", |it| it.active == ActiveState::Failed).await;
    assert_eq!(status.exit.as_deref(), Some("killed by SIGKILL"));
    host.quiet().await;
    host.systemd.reset_failed(&unit).await.unwrap();
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    signals_still_come(&host, &unit).await;
}

/// Kills the unit's process behind systemd's back.
async fn signals_still_come(host: &Host, unit: &UnitName) {
    host.quiet().await;
    kill(host.unit(unit).await.main_pid);
    let changed = timeout(SOON, host.systemd.changed()).await.expect("a signal");
    assert_eq!(changed, BTreeSet::from([unit.clone()]));
    host.until(unit, "failed", |it| it.active == ActiveState::Failed).await;
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_process_sees_the_environment_that_was_meant() {
    let text = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'env -0 >/run/zt-environment'\n";
    let (host, unit) = Host::with("zt-env.service", text).await;
    let mut assignment = assignment(&unit);
    assignment.version = Some("v1 \"%n\" $HOME ${HOME} \\ 'x' ;#".to_owned());
    assignment.config_version = Some(7);
    assignment.template.port = Some(8080);
    let values = [
        ("PLAIN", "hello"),
        ("EMPTY", ""),
        ("QUOTES", r#"a "b" 'c' \ \\ \n \x41 \" end\"#),
        ("PERCENT", "100% %n %% %%n %h"),
        ("DOLLAR", "$HOME ${PATH} $$ $"),
        ("SPACE", "  two  spaces  "),
        ("EQUALS", "a=b=c"),
        ("UNICODE", "äöü — 日本 🦀 \u{2028}"),
        ("HASH", "# ; no comment"),
    ];
    assignment.template.environment.extend(values.map(|(name, value)| (name.to_owned(), value.to_owned())));
    write(&host.files, &unit, &assignment, 252);
    host.systemd.daemon_reload().await.unwrap();
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    let seen = fs::read_to_string("/run/zt-environment").unwrap();
    let seen: BTreeSet<_> = seen.split('\0').collect();
    let expected = values.map(|(name, value)| format!("{name}={value}"));
    let version = format!("ZKOPS_VERSION={}", assignment.version.unwrap());
    let own = [
        "ZKOPS_CONFIG_VERSION=7",
        "ZKOPS_HOST=web1",
        "ZKOPS_PORT=8080",
        "ZKOPS_REPLICA=0000000001",
        "ZKOPS_SERVICE=zt",
    ];
    for line in expected.iter().map(String::as_str).chain(own).chain([version.as_str()]) {
        assert!(seen.contains(line), "{line:?} is not in {seen:?}");
    }
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn many_units_are_watched_with_few_rules() {
    let (host, _) = Host::with("zt-many@.service", SLEEP).await;
    let units: BTreeSet<UnitName> = (1..=600).map(|n| format!("zt-many@{n:010}.service").parse().unwrap()).collect();
    // systemd has rules of its own for what it is to keep in memory, and gives the bus up when it may not have one more.
    let lost = || shell("journalctl --boot _PID=1 --output=cat | grep --count 'Got disconnect on API bus' || true");
    let before = lost();
    host.systemd.watch_units(&units);
    host.quiet().await;
    assert_eq!(lost(), before);
    let unit = units.last().unwrap();
    assert_eq!(host.run(Verb::Start, unit).await, JobResult::Done);
    // On a busy machine all of them may be told once more first, as watched from now on.
    let alone = BTreeSet::from([unit.clone()]);
    timeout(SOON, async { while host.systemd.changed().await != alone {} }).await.unwrap();
    host.systemd.watch_units(&alone);
    signals_still_come(&host, unit).await;
    shell("systemctl reset-failed 'zt-many@*'");
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_signal_reaches_the_main_process() {
    let text = "[Service]\nExecStart=/bin/sh -c 'trap \"touch /run/zt-signalled\" USR1; while :; do sleep 0.1; done'\n";
    let (host, unit) = Host::with("zt-signal.service", text).await;
    assert_eq!(host.run(Verb::Start, &unit).await, JobResult::Done);
    let before = host.unit(&unit).await;
    // The shell may not have come to its trap yet: a signal that has no effect would end it.
    tokio::time::sleep(Duration::from_millis(500)).await;
    host.systemd.signal(&unit, 10).await.unwrap();
    timeout(SOON, async {
        while fs::remove_file("/run/zt-signalled").is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(host.unit(&unit).await.main_pid, before.main_pid);
    assert_eq!(host.run(Verb::Stop, &unit).await, JobResult::Done);
    host.systemd.signal(&unit, 10).await.expect("there is nobody to tell");
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn an_alias_signals_and_takes_its_drop_in() {
    let (host, unit) = Host::with("zt-real.service", SLEEP).await;
    let (nick, link) = ("zt-nick.service".parse().unwrap(), "/run/systemd/system/zt-nick.service");
    std::os::unix::fs::symlink("zt-real.service", link).unwrap();
    let mut wanted = assignment(&nick);
    wanted.template.restart.policy = RestartMode::No;
    write(&host.files, &nick, &wanted, 252);
    host.systemd.daemon_reload().await.unwrap();
    host.systemd.watch_units(&BTreeSet::from([nick.clone()]));
    assert_eq!(host.unit(&nick).await.id, unit.as_str());
    host.run(Verb::Start, &nick).await;
    let status = host.until(&nick, "it runs", |unit| unit.main_pid.is_some()).await;
    let drop_in = host.files.paths().drop_in(&nick).display().to_string();
    assert!(status.drop_in_paths.contains(&drop_in), "{status:?}");
    let settings = status.settings.unwrap();
    let variables = host.files.paths().variables(&nick).display().to_string();
    assert_eq!((settings.restart.as_str(), settings.environment_files), ("no", vec![variables]));
    host.quiet().await;
    shell("systemctl kill -s KILL zt-real.service");
    host.until(&nick, "it is gone", |unit| unit.main_pid.is_none()).await;
    host.systemd.reset_failed(&nick).await.unwrap();
    fs::remove_file(link).unwrap();
    host.files.remove_drop_in(&nick).unwrap();
    host.files.remove_variables(&nick).unwrap();
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn a_drop_in_is_in_force_until_a_later_one_takes_something_back() {
    let (host, unit) = Host::with("zt-force.service", SLEEP).await;
    let mut wanted = assignment(&unit);
    let values = [("A", "b c"), ("B", "q\"u\\o't"), ("C", "100%n"), ("D", "$HOME ${A}"), ("E", "ü=;#"), ("F", "")];
    wanted.template.environment = values.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    wanted.template.credentials = [("key".to_owned(), "/etc/machine-id".to_owned())].into();
    let version = host.systemd.version().await.unwrap();
    let (unit_file, drop_in) = (host.files.paths().unit_file(&unit), host.files.paths().drop_in(&unit));
    let variables = host.files.paths().variables(&unit);
    let placed = Placed {
        unit_file: &unit_file,
        drop_in: &drop_in,
        variables: &variables,
        has_drop_in: true,
        loaded: true,
        doubted: false,
    };
    for (policy, interval) in [("always", "1500ms"), ("on-failure", "60s"), ("no", "1us"), ("on-abnormal", "24h")] {
        let policy = serde_json::from_value(policy.into());
        let Ok(policy) = policy else { continue };
        (wanted.template.restart.policy, wanted.template.restart.limit_interval) = (policy, interval.parse().unwrap());
        write(&host.files, &unit, &wanted, version);
        host.systemd.daemon_reload().await.unwrap();
        assert_eq!(overruled(&host.unit(&unit).await, &wanted, placed), None, "{interval}");
    }
    for (name, section, line) in [
        ("Restart=", "Service", "Restart=on-abort"),
        ("StartLimitBurst=", "Unit", "StartLimitBurst=77"),
        ("StartLimitIntervalSec=", "Unit", "StartLimitIntervalSec=0"),
        ("EnvironmentFile=", "Service", "EnvironmentFile="),
        ("Environment=A", "Service", "Environment=A=other"),
        ("LoadCredential=key", "Service", "LoadCredential="),
    ] {
        shell("mkdir -p /etc/systemd/system/zt-force.service.d");
        fs::write("/etc/systemd/system/zt-force.service.d/99-x.conf", format!("[{section}]\n{line}\n")).unwrap();
        host.systemd.daemon_reload().await.unwrap();
        let said = overruled(&host.unit(&unit).await, &wanted, placed).map(|it| it.why).unwrap_or_default();
        assert!(said.contains(name) && said.contains("99-x.conf"), "{line}: {said}");
    }
    shell("mv /etc/systemd/system/zt-force.service.d/99-x.conf /etc/systemd/system/zt-force.service.d/50-zkops.conf");
    host.systemd.daemon_reload().await.unwrap();
    let said = overruled(&host.unit(&unit).await, &wanted, placed).map(|it| it.why).unwrap_or_default();
    assert!(said.starts_with("/etc/systemd/system/zt-force.service.d/50-zkops.conf is in force"), "{said}");
    shell("ln -sf /dev/null /etc/systemd/system/zt-force.service.d/50-zkops.conf");
    host.systemd.daemon_reload().await.unwrap();
    let said = overruled(&host.unit(&unit).await, &wanted, placed).map(|it| it.why).unwrap_or_default();
    // systemd lists a mask among the drop-ins that it read.
    assert!(said.starts_with("/etc/systemd/system/zt-force.service.d/50-zkops.conf"), "{said}");
    shell("rm -r /etc/systemd/system/zt-force.service.d");
}

#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn what_keeps_a_unit_from_its_start_is_named() {
    let mut host = Host::new().await;
    let requires = |what: &str| format!("[Unit]\nRequires={what}\nAfter={what}\n{SLEEP}");
    host.add("zt-fails.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n");
    let depends = host.add("zt-depends.service", &requires("zt-fails.service"));
    let missing = host.add("zt-missing.service", &requires("zt-nowhere.service"));
    let refuses = host.add("zt-refuses.service", &format!("[Unit]\nRefuseManualStart=yes\n{SLEEP}"));
    let bare = host.add("zt-bare.service", "[Service]\nType=simple\n");
    let ended = host.add("zt-ended.service", "[Service]\nRemainAfterExit=yes\nExecStart=/bin/true\n");
    let reloads = host.systemd.reloads();
    host.systemd.watch_units(&[&depends, &missing, &refuses, &bare, &ended].into_iter().cloned().collect());
    host.systemd.daemon_reload().await.unwrap();
    host.quiet().await;
    assert!(host.systemd.reloads() > reloads);

    assert_eq!(host.run(Verb::Start, &depends).await, JobResult::Dependency);
    let said = host.systemd.complaint(&depends).await.unwrap();
    assert!(said.contains("requires zt-fails.service, which failed (exit-code): exited with status 1"), "{said}");
    let error = host.systemd.run(Verb::Start, &missing).await.unwrap_err();
    assert!(matches!(&error, UnitError::Requires { required, .. } if required == "zt-nowhere.service"), "{error}");
    assert!(host.unit(&refuses).await.refuses_start);
    assert!(matches!(host.systemd.run(Verb::Start, &refuses).await, Err(UnitError::Refused { .. })));
    assert!(host.unit(&bare).await.is_broken());
    let said = host.systemd.complaint(&bare).await.unwrap();
    assert!(said.ends_with("Refusing."), "{said}");
    host.run(Verb::Start, &ended).await;
    host.until(&ended, "its process is gone", UnitStatus::has_ended).await;
    host.run(Verb::Stop, &ended).await;
}

/// dbus-daemon refuses more than 128 of a connection.
#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn hundreds_of_calls_at_once_are_all_answered() {
    let host = Host::new().await;
    let names: Vec<UnitName> = (0..400).map(|number| format!("nothing@{number}.service").parse().unwrap()).collect();
    let answers = timeout(3 * SOON, join_all(names.iter().map(|name| host.systemd.unit(name)))).await.unwrap();
    for answer in answers {
        assert_eq!(answer.unwrap().load, LoadState::NotFound);
    }
}

/// systemd has a match rule for each job, and dbus-daemon refuses more than 512 of a connection: systemd would give its own up.
#[tokio::test]
#[ignore = "needs systemd as PID 1"]
async fn hundreds_of_jobs_at_once_leave_systemd_on_the_bus() {
    let owner = || shell("busctl --system status org.freedesktop.systemd1 | grep ^UniqueName=");
    let text = "[Service]\nType=oneshot\nExecStart=/bin/sleep 2\n";
    let (host, _) = Host::with("zkops-test-many@0.service", text).await;
    let names: Vec<UnitName> =
        (0..700).map(|number| format!("zkops-test-many@{number}.service").parse().unwrap()).collect();
    let before = owner();
    let results = timeout(6 * SOON, join_all(names.iter().map(|name| host.systemd.run(Verb::Start, name)))).await;
    assert!(results.unwrap().into_iter().all(|result| result == Ok(JobResult::Done)));
    assert_eq!(owner(), before, "systemd has another connection");
}
