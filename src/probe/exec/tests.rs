#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use super::*;
use crate::probe::tests::{LONG, SHORT};

fn shell(script: &str, environment: &[(&str, &str)]) -> Exec {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Exec::new(&ExecCheck { command }, &environment.collect(), false).unwrap()
}

async fn run(script: &str) -> Result<(), String> {
    shell(script, &[]).run(LONG).await.map_err(|failure| failure.to_string())
}

/// The process that a script left the number of in this file, once it has.
async fn noted(file: &Path) -> String {
    loop {
        match fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
            _ => sleep(Duration::from_millis(5)).await,
        }
    }
}

/// Waits until a process is dead. One that is not its parent's to reap may stay a zombie of the machine's own init.
async fn until_dead(process: &str) {
    let stat = format!("/proc/{process}/stat");
    while fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until a process is dead and reaped.
async fn until_gone(process: &str) {
    while fs::exists(format!("/proc/{process}")).unwrap() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_status_decides_and_the_last_line_tells() {
    assert_eq!(run("echo fine >&2").await, Ok(()));
    assert_eq!(run("exit 3").await, Err("/bin/sh: exited with status 3".to_owned()));
    let script = "echo one >&2; echo ' two ' >&2; echo >&2; echo out; exit 1";
    assert_eq!(run(script).await, Err("/bin/sh: exited with status 1: two".to_owned()));
    assert_eq!(run("kill -9 $$").await, Err("/bin/sh: killed by signal 9".to_owned()));
}

#[tokio::test]
async fn a_command_that_cannot_be_started_says_why() {
    let exec =
        Exec::new(&ExecCheck { command: vec!["/nonexistent/check".to_owned()] }, &BTreeMap::new(), false).unwrap();
    let expected = "/nonexistent/check: cannot be started: No such file or directory";
    assert_eq!(exec.run(LONG).await, Err(expected.to_owned().into()));
    assert!(Exec::new(&ExecCheck { command: Vec::new() }, &BTreeMap::new(), false).is_err());
}

#[tokio::test]
async fn the_environment_is_the_replicas_own() {
    assert!(env::var_os("HOME").is_some() || env::var_os("CARGO_MANIFEST_DIR").is_some(), "there is one to inherit");
    let script = r#"names=$(env | sed 's/=.*//' | grep -v -e '^_$' -e '^PWD$' -e '^SHLVL$' -e '^OLDPWD$' | sort | tr '\n' ' ')
        echo "$names in $PWD" >&2; [ "$ZKOPS_REPLICA" = 0000000001 ] && [ "$names" = "PATH ZKOPS_REPLICA " ]"#;
    assert_eq!(shell(script, &[("ZKOPS_REPLICA", "0000000001")]).run(LONG).await, Ok(()));
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let (leader, child) = (folder.path().join("leader"), folder.path().join("child"));
    let script = format!(
        "trap '' TERM INT HUP; sleep 1000 & echo $! >{}; echo $$ >{}; echo waiting >&2; wait",
        child.display(),
        leader.display()
    );
    let limit = Span::from_millis(500);
    let ended = shell(&script, &[]).run(limit).await;
    assert_eq!(ended, Err("/bin/sh: did not end within 500ms: waiting".to_owned().into()));
    until_gone(&noted(&leader).await).await;
    until_dead(&noted(&child).await).await;
}

#[tokio::test]
async fn what_a_command_leaves_behind_is_killed_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let child = folder.path().join("child");
    assert_eq!(run(&format!("sleep 1000 & echo $! >{}", child.display())).await, Ok(()));
    until_dead(&noted(&child).await).await;
}

#[tokio::test]
async fn a_process_that_leaves_the_group_does_not_hold_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let child = folder.path().join("child");
    let began = Instant::now();
    let script =
        format!("setsid sh -c 'echo $$ >{0}; exec sleep 20' & while ! [ -s {0} ]; do :; done; exit 2", child.display());
    assert_eq!(run(&script).await, Err("/bin/sh: exited with status 2".to_owned()));
    assert!(began.elapsed() < Duration::from_secs(15), "it holds standard error open for longer");
    let child = Pid::from_raw(noted(&child).await.parse().unwrap()).unwrap();
    rustix::process::kill_process(child, Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_command_that_never_stops_talking_is_not_remembered() {
    let mut running = shell("yes >&2", &[]).spawn(LONG).unwrap();
    let _ = timeout(SHORT.get(), running.end()).await.unwrap_err();
    assert!(running.tail.kept.capacity() <= 16 * TAIL, "{}", running.tail.kept.capacity());
}

#[tokio::test]
async fn dropping_a_check_kills_and_reaps_its_command() {
    let folder = tempfile::tempdir().unwrap();
    let leader = folder.path().join("leader");
    let exec = shell(&format!("echo $$ >{}; while :; do sleep 1000; done", leader.display()), &[]);
    let task = tokio::spawn(async move { exec.run(LONG).await });
    let process = noted(&leader).await;
    task.abort();
    until_gone(&process).await;
}

/// What a script comes to that says what systemd-run does.
async fn as_systemd_run(script: &str) -> Result<(), Failure> {
    let exec = shell(script, &[]);
    let mut running = exec.spawn(LONG).unwrap();
    running.unit = Some("zkops-run-0-none.service".to_owned());
    running.tail.accounted = true;
    exec.follow(running, LONG, None).await
}

#[tokio::test]
async fn only_a_command_that_has_run_counts_against_the_replica() {
    let running = "Running as unit: zkops-run-0-none.service; invocation ID: 1";
    for own in [
        "Failed to connect to bus: No such file or directory",
        "Failed to start transient service unit: Connection timed out",
        "Job for zkops-run-0-none.service canceled.",
        &format!("{running}\n          Finished with result: n/a"),
        running,
    ] {
        let came_to = as_systemd_run(&format!("echo '{own}' >&2; exit 1")).await;
        assert!(matches!(came_to, Err(Failure::NotAsked(_))), "{own}: {came_to:?}");
    }
    for said in ["Failed to open the pool\n", "Failed to open the pool"] {
        let end = "Finished with result: exit-code\nMain processes terminated with: code=exited/status=3\n";
        let came_to = as_systemd_run(&format!("printf '%s\n%s%s' '{running}' '{said}' '{end}' >&2; exit 3")).await;
        assert_eq!(came_to, Err(Failure::Replica("exited with status 3: Failed to open the pool".to_owned())));
    }
    let program = "Job for a.service failed because the control process exited with error code.";
    let came_to = as_systemd_run(&format!("echo '{program}' >&2; exit 1")).await;
    assert!(matches!(came_to, Err(Failure::Replica(_))), "{came_to:?}");
    assert_eq!(as_systemd_run("exit 0").await, Ok(()));
}

/// As when systemd has other things to do first: a reload, say.
#[tokio::test]
async fn the_time_of_a_check_begins_when_it_runs() {
    let script = "sleep 2; echo 'Running as unit: zkops-run-0-none.service' >&2; sleep 2; exit 0";
    let exec = shell(script, &[]);
    let mut running = exec.spawn(LONG).unwrap();
    (running.unit, running.tail.accounted) = (Some("zkops-run-0-none.service".to_owned()), true);
    assert_eq!(exec.follow(running, Span::from_millis(3000), None).await, Ok(()));
}

/// As one that waits for a disk that hangs: another would hang, too.
#[tokio::test]
async fn no_check_begins_beside_one_that_cannot_be_killed() {
    let exec = Exec { in_unit: true, ..shell("exit 0", &[("ZKOPS_REPLICA", "7")]) };
    ending().insert(exec.clone(), "zkops-run-0-none.service".to_owned());
    // Nothing of it awaits its end: it is systemd that has not come to it.
    assert!(matches!(exec.wait_for_turn(SHORT).await, Err(Failure::NotAsked(_))));
    ending().remove(&exec);
    assert!(exec.wait_for_turn(LONG).await.is_ok());
    assert_eq!((exec.rest(), shell("", &[]).rest()), (UNIT_REST, Duration::ZERO));
}
