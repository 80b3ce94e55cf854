//! The verbs against a real ZooKeeper. No controller runs: its side of the documents is written by hand.
#![allow(clippy::unwrap_used, missing_docs)]

mod cli_support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    thread,
    time::Duration,
};

use cli_support::Tree;
use predicates::{prelude::PredicateBooleanExt as _, str::contains};
use serde_json::{Value, json};

const WEBAPP: &str = "name = \"webapp\"\nunit = \"webapp@.service\"\n[desired]\nversion = \"v1\"\nreplicas = 2\n";

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn apply(tree: &Tree, text: &str, outcome: &'static str) {
    let file = file(text);
    let path = file.path().to_str().unwrap();
    tree.zkops(&["apply", "-f", path]).assert().success().stdout(contains(outcome));
}

/// The controller's answer to the versions that are in the tree.
fn answer(tree: &Tree, summary: &str, ready: u32) {
    let version = |path| tree.get(path).map(|(_, version)| version);
    let wanted = tree.document("/services/webapp/desired")["replicas"].clone();
    let status = json!({
        "observed_service": version("/services/webapp"), "observed_desired": version("/services/webapp/desired"),
        "summary": summary, "desired": wanted, "replicas": wanted, "ready": ready, "updated": ready,
        "conditions": [{"type": "Progressing", "message": "starting", "since": "2026-11-22T18:00:00Z"}],
    });
    tree.put("/services/webapp/status", &status);
}

#[test]
fn init_makes_the_roots_once() {
    let tree = Tree::empty("init");
    for verb in [&["status"][..], &["get", "hosts"], &["scale", "webapp", "1"]] {
        tree.zkops(verb).assert().code(3).stderr(contains("run `zkops init`"));
    }
    tree.zkops(&["init"]).assert().success().stdout(contains("/init/services created"));
    tree.zkops(&["init"]).assert().success().stdout("the tree is there already, unchanged\n");
    tree.zkops(&["status"]).assert().success().stderr(contains("no services"));
}

#[test]
fn apply_creates_changes_and_leaves_alone() {
    let tree = Tree::new("apply");
    let changed = WEBAPP.replace("v1", "v2");
    apply(&tree, WEBAPP, "service/webapp created");
    assert_eq!(tree.document("/services/webapp/desired"), json!({"mode": "enabled", "version": "v1", "replicas": 2}));
    apply(&tree, WEBAPP, "service/webapp unchanged");
    apply(&tree, &changed, "service/webapp configured");
    assert_eq!(tree.get("/services/webapp").unwrap().1, 0, "the description did not change");
    apply(&tree, "name = \"webapp\"\nunit = \"webapp@.service\"\nport = 80\n", "configured");
    assert_eq!(tree.document("/services/webapp/desired")["version"], "v2", "left out is left alone");
}

#[test]
fn times_that_cannot_hold_together_are_told_by_who_writes_them() {
    let tree = Tree::new("times");
    let hangs = "[probes.readiness]\ntcp = { port = 80 }\ntimeout = \"30s\"\n[rollout]\nmin_healthy_time = \"10s\"\n";
    let file = file(&format!("{WEBAPP}{hangs}"));
    let path = file.path().to_str().unwrap();
    let told = "rollout.min_healthy_time: 10s is shorter than probes.readiness.timeout (30s)";
    tree.zkops(&["plan", "-f", path]).assert().code(1).stdout(contains(told));
    for verb in [&["apply", "-f", path, "--dry-run"][..], &["apply", "-f", path]] {
        tree.zkops(verb).assert().success().stderr(contains(format!("{path}: {told}"))).stdout(contains("created"));
    }
}

#[test]
fn documents_read_as_a_person_would_write_them() {
    let tree = Tree::new("order");
    apply(&tree, WEBAPP, "created");
    let line = "zkops get services webapp -o json | tr -d ' \\n'";
    tree.shell(line).assert().stdout(contains(r#""desired":{"mode":"enabled","version":"v1","replicas":2}"#));
}

#[test]
fn several_files_are_checked_before_the_first_is_written() {
    let tree = Tree::new("several");
    let (good, bad) = (file(WEBAPP), file("name = \"other\"\nunit = \"other\"\n"));
    let paths = [good.path().to_str().unwrap(), bad.path().to_str().unwrap()];
    tree.zkops(&["apply", "-f", paths[0], "-f", paths[1]]).assert().code(2).stderr(contains(":2:8: unit: "));
    assert_eq!(tree.get("/services/webapp"), None);
    tree.zkops(&["apply", "-f", "-", "--dry-run"])
        .write_stdin(WEBAPP)
        .assert()
        .success()
        .stdout(contains("created (dry run)"));
    assert_eq!(tree.get("/services/webapp"), None);
    tree.zkops(&["apply", "-f", "-"]).write_stdin(WEBAPP).assert().success();
    assert!(tree.get("/services/webapp").is_some());
}

/// A folder of services, `svc000.toml` and so on.
fn services(count: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..count {
        let text = format!("name = \"svc{number:03}\"\nunit = \"webapp@.service\"\n");
        std::fs::write(folder.path().join(format!("svc{number:03}.toml")), text).unwrap();
    }
    folder
}

/// With a session a file, it ended after some 58: see `maxClientCnxns` in `cli_support`.
#[test]
fn a_folder_of_services_is_applied_over_one_connection() {
    let (tree, folder) = (Tree::new("folder"), services(300));
    let output = tree.zkops(&["apply", "-f", folder.path().to_str().unwrap()]).assert().success();
    let said = String::from_utf8(output.get_output().stdout.clone()).unwrap();
    let names: Vec<_> = said.lines().collect();
    assert_eq!((names.len(), names[0], names[299]), (300, "service/svc000 created", "service/svc299 created"));
    tree.zkops(&["diff", "-f", folder.path().to_str().unwrap()]).assert().code(0).stdout("");
}

#[test]
fn several_files_follow_one_option_and_one_text_has_several_services() {
    let (tree, folder) = (Tree::new("files"), services(3));
    let path = |number: usize| folder.path().join(format!("svc{number:03}.toml")).to_str().unwrap().to_owned();
    let said = "service/svc000 created\nservice/svc001 created\nservice/svc002 created\n";
    tree.zkops(&["apply", "-f", &path(0), &path(1), "-f", &path(2), "--dry-run"])
        .assert()
        .success()
        .stdout(said.replace("created", "created (dry run)"));
    let texts = [0, 1, 2].map(|number| std::fs::read_to_string(path(number)).unwrap());
    tree.zkops(&["apply", "-f", "-"]).write_stdin(texts.join("---\n")).assert().success().stdout(said);
    tree.zkops(&["plan", "-f", "-"])
        .write_stdin(texts.join("---\n"))
        .assert()
        .code(0)
        .stdout(contains("svc002: rollout 1 would begin"));
    let bad = format!("{}---\n{}unti = 1\n", texts[0], texts[1]);
    tree.zkops(&["apply", "-f", "-"]).write_stdin(bad).assert().code(2).stderr(contains("<stdin>:6:1: unti: "));
    let twice = format!("{}---\n{}", texts[0], texts[0]);
    tree.zkops(&["apply", "-f", "-"])
        .write_stdin(twice)
        .assert()
        .code(2)
        .stderr(contains("<stdin>:4: name: <stdin> describes \"svc000\" as well"));
}

/// A server that accepts connections and never answers, as one that is stopped by SIGSTOP.
#[test]
fn a_server_that_serves_no_session_is_passed_over() {
    let tree = Tree::new("frozen");
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = frozen.local_addr().unwrap().to_string();
    for _ in 0..10 {
        let begun = std::time::Instant::now();
        tree.zkops_beside(&address, &["get", "services"]).assert().success();
        // Before it is given up, which takes 2 s.
        assert!(begun.elapsed() < Duration::from_millis(1800), "{:?}", begun.elapsed());
    }
    tree.zkops(&["get", "services"])
        .env("ZKOPS_ZOOKEEPER", &address)
        .assert()
        .code(6)
        .stderr(contains(format!("{address} accepts connections but serves no session")));
}

#[test]
fn diff_has_exit_codes_of_its_own() {
    let tree = Tree::new("diff");
    let (same, other) = (file(WEBAPP), file(&WEBAPP.replace("replicas = 2", "replicas = 5")));
    let diff = |file: &tempfile::NamedTempFile| tree.zkops(&["diff", "-f", file.path().to_str().unwrap()]).assert();
    diff(&same).code(1).stdout(contains("--- /dev/null").and(contains("+unit = \"webapp@.service\"")));
    apply(&tree, WEBAPP, "created");
    diff(&same).code(0).stdout("");
    diff(&other).code(1).stdout(contains("-replicas = 2\n+replicas = 5\n"));
    tree.put_raw("/services/webapp/desired", "{nonsense");
    diff(&same).code(1).stdout(contains("-{nonsense\n"));
}

#[test]
fn a_document_that_cannot_be_read_is_a_conflict() {
    let tree = Tree::new("unreadable");
    apply(&tree, WEBAPP, "created");
    tree.put_raw("/services/webapp/desired", "{nonsense");
    tree.put_raw("/hosts/web1", "nonsense");
    for words in [&["scale", "webapp", "4"][..], &["disable", "webapp"], &["hosts", "cordon", "web1"]] {
        tree.zkops(words).assert().code(4).stderr(contains("cannot be read"));
    }
}

#[test]
fn small_changes_keep_what_a_newer_version_wrote() {
    let tree = Tree::new("newer");
    tree.put("/services/webapp", &json!({"unit": "webapp@.service", "canary": {"steps": 3}}));
    tree.put("/services/webapp/desired", &json!({"mode": "enabled", "replicas": 2, "pinned": true}));
    tree.zkops(&["scale", "webapp", "4"]).assert().success().stdout("service/webapp scaled from 2 to 4\n");
    tree.zkops(&["disable", "webapp"]).assert().success().stdout("service/webapp disabled\n");
    tree.zkops(&["disable", "webapp"]).assert().success().stdout("service/webapp unchanged\n");
    assert_eq!(tree.document("/services/webapp/desired"), json!({"mode": "disabled", "replicas": 4, "pinned": true}));
    apply(&tree, "name = \"webapp\"\nunit = \"webapp@.service\"\nport = 80\n", "configured");
    assert_eq!(tree.document("/services/webapp")["canary"], json!({"steps": 3}));
    tree.zkops(&["delete", "webapp", "--yes"]).assert().success().stdout("service/webapp deleting\n");
    let description = tree.document("/services/webapp");
    assert_eq!((&description["deleting"], &description["canary"]["steps"]), (&json!(true), &json!(3)));
    tree.zkops(&["scale", "webapp", "5"]).assert().code(4).stderr(contains("is being deleted"));
}

#[test]
fn a_service_written_by_hand_is_a_service() {
    let tree = Tree::new("hand");
    tree.put("/services/webapp", &json!({"unit": "webapp@.service"}));
    tree.zkops(&["scale", "webapp", "3"]).assert().success();
    assert_eq!(tree.document("/services/webapp/desired")["replicas"], 3);
    tree.put_raw("/services/webapp/desired", "{\"replicas\": -1}");
    tree.zkops(&["scale", "webapp", "4"])
        .assert()
        .code(4)
        .stderr(contains("replicas: invalid value").and(contains("zkops apply")));
    tree.zkops(&["status", "webapp"])
        .assert()
        .success()
        .stdout(contains("Unreadable: /services/webapp/desired: replicas"));
    apply(&tree, WEBAPP, "configured");
    tree.zkops(&["scale", "nope", "1"]).assert().code(3);
    tree.zkops(&["scale", "webapp", "10001"]).assert().code(2).stderr(contains("10001 is more than 10000"));
}

#[test]
fn waiting_ends_with_the_goal() {
    let tree = Tree::new("wait");
    apply(&tree, WEBAPP, "created");
    answer(&tree, "healthy", 2);
    let mut child = tree.start(&["scale", "webapp", "3", "--wait"]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    assert!(line().starts_with("waiting for webapp: no controller is connected"));
    answer(&tree, "progressing", 2);
    assert_eq!(line(), "waiting for webapp: progressing, 2/3 ready, 2 up to date; Progressing: starting");
    answer(&tree, "healthy", 3);
    assert!(child.wait().unwrap().success());
    tree.zkops(&["scale", "webapp", "3", "--wait"]).assert().success().stderr("");
}

#[test]
fn waiting_has_an_end_of_its_own() {
    let tree = Tree::new("timeout");
    apply(&tree, WEBAPP, "created");
    tree.zkops(&["disable", "webapp", "--wait", "--timeout", "2s"])
        .assert()
        .code(5)
        .stderr(contains("timed out after 2s waiting for webapp: no controller is connected"));
    answer(&tree, "progressing", 1);
    tree.zkops(&["disable", "webapp", "--wait", "--timeout", "2s"])
        .assert()
        .code(5)
        .stderr(contains("Progressing: starting"));
}

#[test]
fn deleting_ends_when_the_service_is_gone() {
    let tree = Tree::new("delete");
    apply(&tree, WEBAPP, "created");
    thread::scope(|scope| {
        scope.spawn(|| {
            while tree.document("/services/webapp")["deleting"] != true {
                thread::sleep(Duration::from_millis(20));
            }
            tree.remove("/services/webapp/desired");
            tree.remove("/services/webapp");
        });
        tree.zkops(&["delete", "webapp", "--yes", "--wait"]).assert().success();
    });
    tree.zkops(&["delete", "webapp", "--yes"]).assert().code(3);
}

/// A host whose agent is there as far as the tree shows.
fn host(tree: &Tree, name: &str) {
    tree.put(
        &format!("/hosts/{name}/alive"),
        &json!({"version": "0.1.0", "labels": {"zone": "a"}, "machine_id": "m", "boot_id": "b", "pid": 1,
                "started": "2026-11-22T18:00:00Z"}),
    );
}

#[test]
fn hosts_take_the_operators_word() {
    let tree = Tree::new("hosts");
    host(&tree, "web1");
    tree.zkops(&["hosts"]).assert().success().stdout(contains("web1   ready"));
    tree.zkops(&["hosts", "cordon", "web1"]).assert().success().stdout("host/web1 cordoned\n");
    tree.zkops(&["hosts", "cordon", "web1"]).assert().success().stdout("host/web1 unchanged\n");
    tree.zkops(&["hosts", "label", "web1", "zone=b", "disk=ssd"]).assert().success();
    tree.zkops(&["hosts", "label", "web1", "disk-"]).assert().success();
    assert_eq!(tree.document("/hosts/web1"), json!({"labels": {"zone": "b"}, "cordon": true}));
    let listed = tree.json(&["hosts", "list", "web1"]);
    assert_eq!((&listed["state"], &listed["labels"]["zone"]), (&json!("cordoned"), &json!("b")));
    tree.zkops(&["hosts", "uncordon", "web1"]).assert().success();
    assert_eq!(tree.json(&["hosts"])["items"][0]["state"], "ready");
    tree.zkops(&["hosts", "cordon", "web9"]).assert().code(3);
}

/// A host that is there for the controller, too: its agent has made the parent of its index.
fn joined(tree: &Tree, name: &str) {
    host(tree, name);
    tree.put(&format!("/hosts/{name}"), &json!({}));
    tree.put(&format!("/hosts/{name}/assigned"), &json!({}));
}

/// So many replicas of a service, all on web1, though web2 is there; no rollout is under way.
fn crowded(tree: &Tree, service: &str, replicas: u32) {
    let revision = json!({"version": "v1", "unit": format!("{service}@.service"), "template": {}});
    let record = json!({"state": "completed", "revision": revision, "started": "2026-11-22T18:00:00Z",
                        "progress": "2026-11-22T18:00:00Z"});
    tree.put(&format!("/services/{service}"), &json!({"unit": format!("{service}@.service")}));
    tree.put(&format!("/services/{service}/desired"), &json!({"version": "v1", "replicas": replicas}));
    tree.put(&format!("/services/{service}/rollouts/0000000001"), &record);
    for number in 1..=replicas {
        let desired = json!({"mode": "enabled", "version": "v1", "node": "web1", "rollout": 1});
        let index = json!({"mode": "enabled", "version": "v1", "unit": format!("{service}@{number:010}.service"), "template": {}});
        tree.put(&format!("/services/{service}/{number:010}/desired"), &desired);
        tree.put(&format!("/hosts/web1/assigned/{service}.{number:010}"), &index);
    }
}

/// What is asked of the service's replicas: by their numbers, the hosts that they are to leave.
fn asked(tree: &Tree, service: &str) -> Option<Value> {
    Some(tree.get(&format!("/services/{service}/moves"))?.0["leave"].clone())
}

#[test]
fn rebalance_asks_for_the_moves_that_it_lists() {
    let tree = Tree::new("rebalance");
    for name in ["web1", "web2"] {
        joined(&tree, name);
    }
    tree.zkops(&["rebalance"]).assert().success().stdout(contains("nothing to move"));
    crowded(&tree, "webapp", 4);
    let listed = || contains("webapp.0000000004: web1 → web2 (").and(contains("webapp.0000000003: web1 → web2 ("));
    tree.zkops(&["rebalance", "--dry-run"]).assert().success().stdout(listed());
    assert_eq!(asked(&tree, "webapp"), None, "a dry run writes nothing");
    let said = listed().and(contains("service/webapp: 2 moves asked for\n"));
    tree.zkops(&["rebalance", "webapp"]).env("USER", "ann").env_remove("SUDO_USER").assert().success().stdout(said);
    let document = tree.document("/services/webapp/moves");
    assert_eq!(document["leave"], json!({"3": "web1", "4": "web1"}));
    assert!(document["by"].as_str().unwrap().starts_with("ann@"), "{document}");
    tree.zkops(&["rebalance", "nope"]).assert().code(3).stderr(contains("there is no service \"nope\""));
    tree.zkops(&["rebalance", "--max-moves", "-1"]).assert().code(2);
}

#[test]
fn rebalance_is_bounded() {
    let tree = Tree::new("bounded");
    for name in ["web1", "web2"] {
        joined(&tree, name);
    }
    for name in ["alpha", "webapp"] {
        crowded(&tree, name, 4);
    }
    tree.zkops(&["rebalance", "--max-moves", "3"]).assert().success();
    let both = (asked(&tree, "alpha"), asked(&tree, "webapp"));
    let of = |asked: &Option<Value>| asked.as_ref().map_or(0, |asked| asked.as_object().unwrap().len());
    assert_eq!(of(&both.0) + of(&both.1), 3, "{both:?}");
    tree.zkops(&["rebalance", "webapp", "--max-moves", "1"]).assert().success();
    assert_eq!((asked(&tree, "alpha"), asked(&tree, "webapp")), (both.0, Some(json!({"4": "web1"}))), "others stay");
    tree.zkops(&["rebalance", "--max-moves", "0"]).assert().success();
    assert_eq!((asked(&tree, "alpha"), asked(&tree, "webapp")), (None, None));
}

#[test]
fn rebalancing_again_keeps_what_makes_sense_and_takes_back_the_rest() {
    let tree = Tree::new("again");
    for name in ["web1", "web2"] {
        joined(&tree, name);
    }
    crowded(&tree, "webapp", 4);
    // What another operator asked for some time ago.
    tree.put("/services/webapp/moves", &json!({"leave": {"1": "web1", "2": "web1", "3": "web1"}, "by": "bob@ops2"}));
    tree.zkops(&["rebalance"]).assert().success().stdout(
        contains("; asked for before)\n")
            .and(contains("webapp.0000000001: stays on web1 (it was asked to leave before: taken back)\n"))
            .and(contains("service/webapp: 2 moves asked for\n")),
    );
    assert_eq!(asked(&tree, "webapp"), Some(json!({"2": "web1", "3": "web1"})));
    let version = tree.get("/services/webapp/moves").unwrap().1;
    tree.zkops(&["rebalance"]).assert().success().stdout(contains("service/webapp unchanged\n"));
    assert_eq!(tree.get("/services/webapp/moves").unwrap().1, version, "nothing is written");
    // The controller has a rollout to do first, and the other host goes meanwhile.
    tree.put("/services/webapp/desired", &json!({"version": "v2", "replicas": 4}));
    let waits =
        "webapp.0000000002: to leave web1, as asked for before (the service's rollout is under way: left as it is)";
    tree.zkops(&["rebalance"]).assert().success().stdout(contains(waits));
    assert_eq!(tree.get("/services/webapp/moves").unwrap().1, version);
    tree.put("/services/webapp/desired", &json!({"version": "v1", "replicas": 4}));
    tree.put("/hosts/web2", &json!({"cordon": true}));
    let said = contains("webapp.0000000002: stays on web1").and(contains("webapp: no move is asked for any more\n"));
    tree.zkops(&["rebalance"]).assert().success().stdout(said);
    assert_eq!(asked(&tree, "webapp"), None, "no host fits any more: nobody waits for one for ever");
}

#[test]
fn a_drain_has_a_deadline_until_it_is_called_off() {
    let tree = Tree::new("deadline");
    host(&tree, "web1");
    tree.zkops(&["hosts", "drain", "web1", "--deadline", "10m"]).assert().success().stdout("host/web1 draining\n");
    let word = tree.document("/hosts/web1");
    let deadline: jiff::Timestamp = word["drain_deadline"].as_str().unwrap().parse().unwrap();
    let minutes = jiff::Timestamp::now().until(deadline).unwrap().get_seconds().div_euclid(60);
    assert!(word["drain"] == true && (8..10).contains(&minutes), "{word}");
    // Whether it is drained is one word, and whether it takes new replicas another.
    tree.zkops(&["hosts", "uncordon", "web1"]).assert().success().stdout("host/web1 unchanged\n");
    assert_eq!(tree.document("/hosts/web1"), word);
    tree.zkops(&["hosts", "drain", "web1"]).assert().success();
    assert_eq!(tree.document("/hosts/web1"), json!({"drain": true}), "as long as it takes");
    tree.zkops(&["hosts", "drain", "web1", "--deadline", "1h"]).assert().success();
    tree.zkops(&["hosts", "undrain", "web1"]).assert().success().stdout("host/web1 undrained\n");
    assert_eq!(tree.document("/hosts/web1"), json!({}));
    tree.zkops(&["hosts", "drain", "web1", "--deadline", "soon"]).assert().code(2);
}

#[test]
fn draining_a_host_ends_when_nothing_is_left_on_it() {
    let tree = Tree::new("drain");
    host(&tree, "web1");
    let work = "/hosts/web1/assigned/webapp.0000000001";
    tree.put(work, &json!({"mode": "enabled", "unit": "webapp@0000000001.service", "template": {}}));
    tree.zkops(&["hosts", "drain", "web1", "--wait", "--timeout", "2s"])
        .assert()
        .code(5)
        .stderr(contains("web1: 1 left: webapp.0000000001"));
    tree.zkops(&["hosts"]).assert().stdout(contains("draining"));
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            tree.remove(work);
        });
        tree.zkops(&["hosts", "drain", "web1", "--wait"]).assert().success();
    });
    tree.zkops(&["hosts"]).assert().stdout(contains("drained"));
    tree.zkops(&["hosts", "undrain", "web1"]).assert().success().stdout("host/web1 undrained\n");
}

#[test]
fn only_a_host_that_is_gone_is_forgotten() {
    let tree = Tree::new("forget");
    host(&tree, "web1");
    tree.zkops(&["hosts", "delete", "web1"]).assert().code(4).stderr(contains("agent is connected"));
    tree.remove("/hosts/web1/alive");
    tree.put("/hosts/web1/assigned/webapp.0000000001", &json!({}));
    tree.zkops(&["hosts", "delete", "web1"]).assert().code(4).stderr(contains("1 replica is assigned"));
    tree.zkops(&["hosts", "delete", "web1", "--force"]).assert().success().stdout("host/web1 deleted\n");
    assert_eq!(tree.get("/hosts/web1"), None);
}

/// One replica that runs, and one that has no host.
fn two_replicas(tree: &Tree) {
    apply(tree, WEBAPP, "created");
    host(tree, "web1");
    answer(tree, "degraded", 1);
    let wanted = |node: Value| json!({"mode": "enabled", "version": "v1", "node": node, "reason": "fewest replicas"});
    tree.put("/services/webapp/0000000001/desired", &wanted(json!("web1")));
    tree.put(
        "/services/webapp/0000000001/status",
        &json!({"state": "running", "node": "web1", "pid": 42, "version": "v1", "updated": "2026-11-22T18:00:00Z"}),
    );
    tree.put("/services/webapp/0000000002/desired", &wanted(Value::Null));
    tree.put(
        "/services/webapp/instances/web1",
        &json!({"replica": 1, "pid": 42, "version": "v1", "started": "2026-11-22T18:00:00Z"}),
    );
}

#[test]
fn people_see_what_is_and_why() {
    let tree = Tree::new("people");
    two_replicas(&tree);
    tree.zkops(&["status"])
        .assert()
        .stdout(contains("webapp    enabled   v1        1/2     1         degraded   -         Progressing"));
    tree.zkops(&["status", "webapp"])
        .assert()
        .stdout(contains("Status:     degraded").and(contains("0000000001   web1   running    yes     42    v1")));
    tree.zkops(&["explain", "webapp"]).assert().stdout(
        contains("webapp.0000000001 is on web1: running, ready\n  reason: fewest replicas\n")
            .and(contains("webapp.0000000002 is on no host: unplaced, not ready")),
    );
    tree.zkops(&["get", "instances"]).assert().stdout(contains("webapp    web1       0000000001"));
    tree.zkops(&["get", "replicas", "webapp.2"]).assert().stdout(contains("webapp.0000000002   -      unplaced"));
    tree.zkops(&["get", "replicas", "webapp.3"]).assert().code(3);
    tree.zkops(&["status", "nope"]).assert().code(3).stderr(contains("there is no service \"nope\""));
}

/// A service with so many replicas, each with two kilobytes to say, on hosts of its own.
fn talkative(tree: &Tree, name: &str, replicas: u32) {
    tree.put(&format!("/services/{name}"), &json!({"unit": format!("{name}@.service")}));
    tree.put(&format!("/services/{name}/desired"), &json!({"replicas": replicas, "version": "v1"}));
    tree.put(&format!("/services/{name}/status"), &json!({"summary": "healthy", "desired": replicas}));
    for number in 1..=replicas {
        let (id, node) = (format!("/services/{name}/{number:010}"), format!("{name}{number}"));
        let said = json!({
            "state": "running", "node": node, "message": "x".repeat(2048), "updated": "2026-11-22T18:00:00Z"
        });
        tree.put(&format!("{id}/desired"), &json!({"mode": "enabled", "node": node}));
        tree.put(&format!("{id}/status"), &said);
        let instance = json!({"replica": number, "address": "y".repeat(2048), "started": "2026-11-22T18:00:00Z"});
        tree.put(&format!("/services/{name}/instances/{node}"), &instance);
        host(tree, &node);
    }
}

/// No service's page grows with the others, and no list with what is said of each replica.
#[test]
fn a_question_costs_what_its_answer_shows() {
    let tree = Tree::new("cost");
    talkative(&tree, "alpha", 1);
    host(&tree, "web1");
    let pages = [
        &["status", "alpha"][..],
        &["get", "replicas", "alpha.1"],
        &["get", "instances", "alpha"],
        &["get", "services", "alpha"],
        &["events", "alpha"],
        &["get", "hosts", "web1"],
        &["hosts", "list", "web1", "-o", "json"],
    ];
    let before: Vec<_> = pages.iter().map(|page| tree.cost(page)).collect();
    talkative(&tree, "beta", 10);
    for (page, (printed, bytes)) in pages.iter().zip(before) {
        let (again, cost) = tree.cost(page);
        // The farewell may come too late to be counted.
        assert!(again == printed && cost.abs_diff(bytes) < 100, "{page:?}: {bytes}, then {cost}\n{printed}{again}");
    }
    for (list, shown) in
        [(&["status"][..], "10/10"), (&["get", "services"], "10/10"), (&["hosts"], "beta10"), (&["events"], "")]
    {
        let (printed, bytes) = tree.cost(list);
        assert!(bytes < 10_000 && printed.contains(shown), "{list:?}: {bytes}\n{printed}");
    }
    let (_, everything) = tree.cost(&["get", "replicas"]);
    assert!(everything > 40_000, "{everything}");
}

#[test]
fn what_nothing_is_done_about_is_told() {
    let tree = Tree::new("alone");
    two_replicas(&tree);
    assert_eq!(tree.json(&["status"])["notes"], json!([]));
    tree.put("/services/worker", &json!({"unit": "worker.service"}));
    tree.put("/services/No Such_Name!/desired", &json!({}));
    tree.put("/hosts/a_b", &json!({}));
    let missing = "/services/worker/desired is missing; write it, with `zkops apply` or by hand";
    let told = [
        "/hosts/a_b is left alone: \"a_b\" is not a host name".to_owned(),
        "/services/No Such_Name! is left alone: \"No Such_Name!\" is not a service name".to_owned(),
        format!("nothing of worker runs: {missing}"),
    ];
    let page = tree.zkops(&["status"]).assert().success().stdout(contains("webapp    enabled"));
    let page = String::from_utf8(page.get_output().stdout.clone()).unwrap();
    let lines: Vec<_> = page.lines().rev().take(told.len()).collect();
    let json = tree.json(&["status"]);
    assert_eq!(json["items"].as_array().unwrap().len(), 2, "webapp and worker");
    let notes: Vec<_> = json["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    assert_eq!(notes.len(), told.len(), "{notes:?}");
    for ((line, note), told) in lines.iter().rev().zip(notes).zip(told) {
        assert!(line.starts_with(&told) && *line == note, "{line:?} and {note:?} begin with {told:?}");
    }
    tree.zkops(&["explain", "worker"]).assert().success().stdout(contains(format!("nothing of it runs: {missing}")));
    assert_eq!(tree.json(&["explain", "worker"])["why"], json!([format!("nothing of it runs: {missing}")]));
}

#[test]
fn programs_get_stable_shapes() {
    let tree = Tree::new("programs");
    two_replicas(&tree);
    let page = tree.json(&["status", "webapp"]);
    assert_eq!((&page["name"], &page["replicas"][0]["status"]["pid"]), (&json!("webapp"), &json!(42)));
    assert_eq!(page["instances"][0]["instance"]["replica"], 1);
    assert_eq!(tree.json(&["get", "replicas"])["items"][1]["name"], "webapp.0000000002");
    assert_eq!(tree.json(&["get", "replicas", "webapp.0000000001"])["ready"], true);
    assert_eq!(tree.json(&["explain", "webapp.1"])["replicas"][0]["why"][0], "reason: fewest replicas");
    assert_eq!(tree.json(&["get", "services"])["items"][0]["versions"]["desired"], 0);
    assert_eq!(tree.json(&["get", "hosts", "web1"])["alive"]["pid"], 1);
}

#[test]
fn events_are_followed_as_they_come() {
    let tree = Tree::new("events");
    apply(&tree, WEBAPP, "created");
    let event = |n: u32| json!({"at": format!("2026-11-22T18:00:0{n}Z"), "reason": "Moved", "replica": n, "message": format!("event {n}")});
    let status = |events: &[Value]| tree.put("/services/webapp/status", &json!({"events": events}));
    status(&[event(1)]);
    tree.zkops(&["events", "webapp"])
        .assert()
        .success()
        .stdout(contains("2026-11-22T18:00:01Z   webapp.0000000001   -      Moved    event 1"));
    let mut child = tree.start(&["events", "--follow"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "2026-11-22T18:00:01Z  webapp.0000000001: event 1");
    status(&[event(1), event(2)]);
    assert_eq!(lines.next().unwrap().unwrap(), "2026-11-22T18:00:02Z  webapp.0000000002: event 2");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_status_is_watched() {
    let tree = Tree::new("watch");
    apply(&tree, WEBAPP, "created");
    answer(&tree, "progressing", 1);
    let mut child = tree.start(&["status", "--watch"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line.contains("progressing")));
    answer(&tree, "healthy", 2);
    assert!(lines.by_ref().any(|line| line.contains("healthy")));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let tree = Tree::new("pipe");
    let long = format!("{}[environment]\nLONG = \"{}\"\n", WEBAPP, "x".repeat(100_000));
    apply(&tree, &long, "created");
    let line = "{ zkops get services -o json; echo \"code $?\" >&2; } | head -c 10";
    tree.shell(line).assert().success().stderr("code 0\n");
}

#[test]
fn generated_files_come_from_the_definition() {
    let tree = Tree::new("generated");
    tree.shell("zkops completions bash | grep -c undrain").assert().success();
    tree.shell("zkops completions zsh | head -c 1").assert().success().stderr("");
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man");
    tree.zkops(&["man", pages.to_str().unwrap()]).assert().success();
    let page = std::fs::read_to_string(pages.join("zkops.1")).unwrap();
    assert!(page.contains("ZooKeeper unreachable"), "the man page has the exit codes");
    assert!(pages.join("zkops-hosts-drain.1").exists());
}
