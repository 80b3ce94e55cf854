//! Rollouts and configuration revisions, as the command sees and steers them, against a real ZooKeeper. No controller
//! runs: its records are written by hand.
#![allow(clippy::unwrap_used, missing_docs)]

mod cli_support;

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::Child,
};

use cli_support::Tree;
use predicates::{prelude::PredicateBooleanExt as _, str::contains};
use serde_json::{Value, json};

const WEBAPP: &str = "name = \"webapp\"\nunit = \"webapp@.service\"\n[desired]\nversion = \"v1\"\nreplicas = 2\n";
const ORDERS: &str = "/services/webapp/rollouts";

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn apply(tree: &Tree, text: &str) {
    tree.zkops(&["apply", "-f", "-"]).write_stdin(text.to_owned()).assert().success();
}

/// The controller's answer to what is in the tree, with what it says of the newest rollout.
fn answer(tree: &Tree, summary: &str, rollout: &Value) {
    let version = |path| tree.get(path).map(|(_, version)| version);
    let (service, desired) = (tree.document("/services/webapp"), tree.document("/services/webapp/desired"));
    let status = json!({
        "observed_service": version("/services/webapp"), "observed_desired": version("/services/webapp/desired"),
        "summary": summary, "desired": desired["replicas"], "replicas": desired["replicas"], "ready": 1, "updated": 1,
        "rollout": rollout, "accepted": {"service": service, "desired": desired},
    });
    tree.put("/services/webapp/status", &status);
}

/// The record of a rollout that brings this version.
fn rollout(tree: &Tree, number: u64, version: &str, more: &Value) {
    let mut record = json!({
        "state": "running", "reason": "as wanted", "started": "2026-11-22T18:00:00Z", "progress": "2026-11-22T18:00:00Z",
        "healthy": 1, "revision": {"version": version, "unit": "webapp@.service", "template": {}},
    });
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tree.put(&format!("{ORDERS}/{number:010}"), &record);
}

/// Rollout 1 brought v1 and is completed; rollout 2 brings v2 and is in this state.
fn second(tree: &Tree, more: &Value) {
    apply(tree, WEBAPP);
    tree.put(ORDERS, &json!({}));
    rollout(tree, 1, "v1", &json!({"state": "completed", "ended": "2026-11-22T18:01:00Z"}));
    apply(tree, &WEBAPP.replace("v1", "v2"));
    let mut record = json!({"from": 1});
    record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    rollout(tree, 2, "v2", &record);
    answer(tree, "progressing", &json!({"number": 2, "state": "running", "healthy": 1, "total": 2}));
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap)
}

#[test]
fn a_rollout_is_shown_and_followed_to_its_end() {
    let tree = Tree::new("rollout-status");
    tree.zkops(&["rollout", "status", "webapp"]).assert().code(3).stderr(contains("no service \"webapp\""));
    apply(&tree, WEBAPP);
    tree.zkops(&["rollout", "status", "webapp"]).assert().code(3).stderr(contains("no rollout yet"));
    second(&tree, &json!({}));
    tree.zkops(&["rollout", "status", "webapp"]).assert().success().stdout(
        contains("Rollout:    2").and(contains("Revision:   version v2")).and(contains("rollout 1 (version v1)")),
    );
    let shown = tree.json(&["rollout", "status", "webapp"]);
    assert_eq!((&shown["number"], &shown["healthy"], &shown["total"]), (&json!(2), &json!(1), &json!(2)));
    assert_eq!((&shown["rollout"]["state"], &shown["ended"]), (&json!("running"), &json!(false)));
    tree.zkops(&["rollout", "status", "webapp", "--rollout", "9"]).assert().code(3);
    let mut child = tree.start(&["rollout", "status", "webapp", "--watch"]);
    let mut lines = lines(&mut child);
    assert_eq!(lines.next().unwrap(), "webapp: rollout 2: running, 1/2 healthy: as wanted");
    rollout(&tree, 2, "v2", &json!({"from": 1, "state": "completed", "reason": "all healthy"}));
    assert_eq!(lines.next().unwrap(), "webapp: rollout 2: completed: all healthy");
    assert!(child.wait().unwrap().success());
}

#[test]
fn waiting_tells_the_ways_a_rollout_can_end_apart() {
    let tree = Tree::new("rollout-wait");
    second(&tree, &json!({"state": "rolled_back", "reason": "replica 1 failed"}));
    let wait = |args: &[&str]| tree.zkops(&[&["rollout", "status", "webapp"], args].concat()).assert();
    wait(&[]).code(0);
    wait(&["--wait"]).code(7).stderr(contains("rollout 2 was rolled back: replica 1 failed; `zkops rollout resume"));
    rollout(&tree, 2, "v2", &json!({"from": 1, "state": "paused", "pause": "failure"}));
    wait(&["--watch"]).code(7).stderr(contains("is paused by a failure"));
    rollout(&tree, 2, "v2", &json!({"from": 1, "state": "paused", "pause": "canary"}));
    wait(&["--wait"]).code(8).stderr(contains("`zkops rollout promote webapp` goes on, `zkops rollout abort webapp`"));
    rollout(&tree, 2, "v2", &json!({"from": 1, "state": "paused", "pause": "operator"}));
    wait(&["--wait", "--timeout", "1s"]).code(5).stderr(contains("rollout 2: paused, 1/2 healthy"));
    wait(&["--wait", "--rollout", "1"]).code(0);
    rollout(&tree, 2, "v2", &json!({"from": 1, "state": "completed"}));
    wait(&["--wait"]).code(0);
    let mut status = tree.document("/services/webapp/status");
    status["conditions"] = json!([{"type": "InvalidDocument", "reason": "Unreadable",
                                   "subject": "/services/webapp/desired", "since": "2026-11-22T18:00:00Z",
                                   "message": "/services/webapp/desired: replicas: -1; the last good one stays"}]);
    tree.put("/services/webapp/status", &status);
    wait(&["--wait", "--timeout", "1s"]).code(5).stderr(contains("InvalidDocument: /services/webapp/desired"));
    apply(&tree, &WEBAPP.replace("v1", "v3"));
    wait(&["--wait", "--timeout", "1s"]).code(5).stderr(contains("no controller is connected"));
    answer(&tree, "progressing", &Value::Null);
    rollout(&tree, 2, "v2", &json!({"from": 1, "state": "superseded"}));
    wait(&["--wait", "--timeout", "1s"]).code(5).stderr(contains("the rollout after 2 has not begun yet"));
    wait(&["--wait", "--rollout", "2"]).code(7).stderr(contains("was superseded"));
}

#[test]
fn orders_are_written_once_they_make_sense() {
    let tree = Tree::new("rollout-orders");
    second(&tree, &json!({}));
    let rollout_verb = |verb: &str| tree.zkops(&["rollout", verb, "webapp"]).assert();
    rollout_verb("pause").success().stdout("rollout/webapp 2: pausing\n");
    let order = tree.document(ORDERS);
    assert_eq!((&order["rollout"], &order["action"]), (&json!(2), &json!("pause")));
    assert!(order["by"].as_str().unwrap().contains('@'), "{order}");
    rollout_verb("pause").success();
    assert_eq!(tree.get(ORDERS).unwrap().1, 3, "each order has a version of its own");
    rollout_verb("resume").code(4).stderr(contains("it is not paused"));
    rollout_verb("promote").code(4).stderr(contains("no canary of it waits"));
    assert_eq!(tree.get(ORDERS).unwrap().1, 3, "what makes no sense is not written");
    tree.zkops(&["rollout", "abort", "webapp", "--rollout", "1"])
        .assert()
        .code(4)
        .stderr(contains("newest rollout is 2"));
    rollout_verb("abort").success().stdout("rollout/webapp 2: aborting\n");
    assert_eq!(tree.document(ORDERS)["action"], "abort");
    tree.zkops(&["rollout", "status", "webapp"]).assert().stdout(contains("not carried out yet"));
    tree.zkops(&["rollout", "pause", "nope"]).assert().code(3);
}

#[test]
fn an_order_is_waited_for_until_it_is_carried_out() {
    let tree = Tree::new("rollout-heard");
    second(&tree, &json!({"state": "paused", "pause": "canary"}));
    let mut child = tree.start(&["rollout", "promote", "webapp", "--wait"]);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(said.next().unwrap(), "waiting for webapp: promote was requested, and is not carried out yet");
    let version = tree.get(ORDERS).unwrap().1;
    rollout(&tree, 2, "v2", &json!({"from": 1, "order": version}));
    assert_eq!(said.next().unwrap(), "waiting for webapp: rollout 2: running, 1/2 healthy: as wanted");
    rollout(&tree, 2, "v2", &json!({"from": 1, "order": version, "state": "completed"}));
    assert!(child.wait().unwrap().success());
}

#[test]
fn what_was_rolled_back_is_tried_again() {
    let tree = Tree::new("rollout-resume");
    second(&tree, &json!({"state": "rolled_back"}));
    let mut child = tree.start(&["rollout", "resume", "webapp", "--wait"]);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert_eq!(said.next().unwrap(), "waiting for webapp: the rollout after 2 has not begun yet");
    rollout(&tree, 3, "v2", &json!({"from": 1, "state": "completed"}));
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_abort_ends_when_all_is_as_before() {
    let tree = Tree::new("rollout-abort");
    second(&tree, &json!({}));
    let mut child = tree.start(&["rollout", "abort", "webapp", "--wait"]);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    said.next().unwrap();
    rollout(&tree, 2, "v2", &json!({"from": 1, "state": "rolled_back", "order": 1}));
    assert!(child.wait().unwrap().success());
}

#[test]
fn undo_wants_again_what_was_good() {
    let tree = Tree::new("rollout-undo");
    second(&tree, &json!({"state": "completed"}));
    tree.zkops(&["rollout", "undo", "webapp", "--to", "9"]).assert().code(3).stderr(contains("has no rollout 9"));
    tree.zkops(&["rollout", "undo", "webapp", "--to", "2"])
        .assert()
        .success()
        .stdout("service/webapp unchanged: it is as wanted by rollout 2 (version v2)\n");
    tree.zkops(&["rollout", "undo", "webapp"])
        .assert()
        .success()
        .stdout("service/webapp undone to rollout 1 (version v1)\n");
    assert_eq!(tree.document("/services/webapp/desired"), json!({"mode": "enabled", "version": "v1", "replicas": 2}));
    apply(&tree, &format!("port = 80\n{}", WEBAPP.replace("v1", "v3")));
    rollout(&tree, 3, "v3", &json!({"from": 2, "state": "rolled_back"}));
    tree.zkops(&["rollout", "undo", "webapp"]).assert().stdout("service/webapp undone to rollout 2 (version v2)\n");
    assert_eq!(tree.document("/services/webapp").get("port"), None, "the template goes back, too");
    let revision = json!({"version": "v2", "config_version": 5,
                          "unit": "webapp@.service", "template": {"config": {"apply": "reload"}}});
    rollout(&tree, 4, "v4", &json!({"state": "completed", "revision": revision}));
    rollout(&tree, 5, "v5", &json!({"from": 4}));
    tree.zkops(&["rollout", "undo", "webapp"])
        .assert()
        .code(3)
        .stderr(contains("configuration revision 5 was deleted"));
    assert_eq!(tree.document("/services/webapp/desired")["version"], "v2");
}

#[test]
fn history_tells_what_changed() {
    let tree = Tree::new("rollout-history");
    apply(&tree, WEBAPP);
    tree.zkops(&["rollout", "history", "webapp"]).assert().success().stderr("webapp has no rollout yet\n");
    second(&tree, &json!({"state": "rolled_back", "ended": "2026-11-22T18:00:30Z", "reason": "replica 1 failed"}));
    tree.zkops(&["rollout", "history", "webapp"]).assert().stdout(contains(
        "2         rolled back   v2        -        2026-11-22T18:00:00Z   30s    replica 1 failed\n",
    ));
    tree.zkops(&["rollout", "history", "webapp", "--diff"])
        .assert()
        .success()
        .stdout(contains("-version = \"v1\"\n+version = \"v2\"\n"));
    tree.zkops(&["rollout", "history", "webapp", "--diff", "1..9"]).assert().code(3);
    let list = tree.json(&["rollout", "history", "webapp", "--diff", "2..1"]);
    assert_eq!((&list["items"][1]["number"], &list["diffs"][0]["to"]), (&json!(2), &json!(1)));
    assert_eq!(list["items"][0]["rollout"]["state"], "completed");
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    folder
}

fn push(tree: &Tree, files: &[(&str, &str)], args: &[&str]) -> assert_cmd::assert::Assert {
    let folder = folder(files);
    tree.zkops(&[&["config", "push", "webapp", folder.path().to_str().unwrap()], args].concat()).assert()
}

const WITH_CONFIG: &str = "name = \"webapp\"\nunit = \"webapp@.service\"\n[desired]\nversion = \"v1\"\nreplicas = 2\n[config]\napply = \"reload\"\n";

#[test]
fn a_folder_becomes_the_next_revision() {
    let tree = Tree::new("config-push");
    let files = [("app.conf", "workers = 1\n"), ("conf.d/site.conf.j2", "port = {{ port }}\n")];
    push(&tree, &files, &[]).code(3).stderr(contains("apply its description first"));
    apply(&tree, WEBAPP);
    push(&tree, &files, &["--set"]).code(2).stderr(contains("no [config] section"));
    push(&tree, &files, &["--wait"]).code(2).stderr(contains("give both"));
    assert_eq!(tree.get("/services/webapp/config"), None, "nothing is half done");
    push(&tree, &files, &["--message", "first"])
        .success()
        .stdout("config/webapp 1 created: 2 files\n")
        .stderr(contains("no [config] section: hosts ignore the files"));
    let revision = tree.document("/services/webapp/config/1");
    assert_eq!(
        (&revision["message"], &revision["files"]["conf.d/site.conf"]["template"]),
        (&json!("first"), &json!(true))
    );
    apply(&tree, WITH_CONFIG);
    push(&tree, &files, &["--set"])
        .success()
        .stdout(contains("config/webapp 1 unchanged").and(contains("service/webapp configured: config_version = 1\n")))
        .stderr("");
    assert_eq!(tree.document("/services/webapp/desired")["config_version"], 1);
    let changed = [("app.conf", "workers = 2\n")];
    let answer = push(&tree, &changed, &["--owner", "www-data", "-o", "json"]).success();
    let answer: Value = serde_json::from_slice(&answer.get_output().stdout).unwrap();
    assert_eq!(answer, json!({"service": "webapp", "number": 2, "created": true, "set": false}));
    let broken = [("app.conf.j2", "{{ port }\n")];
    push(&tree, &broken, &[]).code(2).stderr(contains("app.conf, line 1: syntax error"));
    let large = "x".repeat(600_000);
    push(&tree, &[("small", "x"), ("large", &large)], &[])
        .code(2)
        .stderr(contains("the largest are large (600000 bytes)"));
    push(&tree, &[], &[]).code(2).stderr(contains("holds no files"));
    assert_eq!(tree.get("/services/webapp/config/3"), None);
    tree.zkops(&["config", "diff", "webapp", "1", "2"]).assert().code(1).stdout(
        contains("-workers = 1\n+workers = 2\n").and(contains("+++ /dev/null")).and(contains("owner root -> www-data")),
    );
    tree.zkops(&["config", "diff", "webapp", "2", "2"]).assert().code(0).stdout("");
    tree.zkops(&["config", "diff", "webapp", "2", "9"]).assert().code(3);
    tree.zkops(&["config", "show", "webapp", "1", "app.conf"]).assert().success().stdout("workers = 1\n");
    tree.zkops(&["config", "show", "webapp", "1", "nope"])
        .assert()
        .code(3)
        .stderr(contains("app.conf, conf.d/site.conf"));
    tree.zkops(&["config", "show", "webapp", "2"])
        .assert()
        .stdout(contains("app.conf   12      0644   www-data   root    text"));
}

#[test]
fn a_service_is_created_with_its_configuration() {
    let tree = Tree::new("config-first");
    let (description, folder) = (file(WITH_CONFIG), folder(&[("app.conf", "workers = 1\n")]));
    let paths = [description.path().to_str().unwrap(), folder.path().to_str().unwrap()];
    let apply_with = |text: &str, more: &[&str]| {
        let args = [&["apply", "-f", "-", "--config", paths[1]], more].concat();
        tree.zkops(&args).write_stdin(text.to_owned()).assert()
    };
    apply_with(WEBAPP, &[]).code(2).stderr(contains("has no [config] section"));
    apply_with(&WITH_CONFIG.replace("replicas = 2", "config_version = 7"), &[])
        .code(2)
        .stderr(contains("leave it out"));
    apply_with(WITH_CONFIG, &["--dry-run"]).success();
    assert_eq!(tree.get("/services/webapp"), None, "nothing is half done");
    apply_with(WITH_CONFIG, &["--check-index", "0"])
        .success()
        .stdout("config/webapp 1 created: 1 file\nservice/webapp created\n");
    assert_eq!(tree.document("/services/webapp/desired")["config_version"], 1);
    apply_with(WITH_CONFIG, &[])
        .success()
        .stdout(contains("config/webapp 1 unchanged").and(contains("service/webapp unchanged")));
    std::fs::write(folder.path().join("app.conf"), "workers = 2\n").unwrap();
    apply_with(WITH_CONFIG, &[]).success().stdout(contains("config/webapp 2 created").and(contains("configured")));
    assert_eq!(tree.document("/services/webapp/config/2")["files"]["app.conf"]["text"], "workers = 2\n");
}

#[test]
fn two_pushes_at_once_make_two_revisions() {
    let tree = Tree::new("config-race");
    apply(&tree, WEBAPP);
    std::thread::scope(|scope| {
        for text in ["one", "two"] {
            let tree = &tree;
            scope.spawn(move || push(tree, &[("file", text)], &[]).success());
        }
    });
    let list = tree.json(&["config", "list", "webapp"]);
    assert_eq!((list["items"].as_array().unwrap().len(), &list["items"][1]["number"]), (2, &json!(2)));
}

#[test]
fn a_revision_in_use_stays() {
    let tree = Tree::new("config-delete");
    apply(&tree, WITH_CONFIG);
    let revision = |n: u64| tree.put(&format!("/services/webapp/config/{n}"), &json!({"files": {"f": {"text": "x"}}}));
    (1..=4).for_each(revision);
    tree.put(ORDERS, &json!({}));
    let brings = |n: u64| json!({"revision": {"config_version": n, "unit": "webapp@.service", "template": {}}});
    let completed = |n: u64| {
        let mut more = brings(n);
        more["state"] = "completed".into();
        more
    };
    rollout(&tree, 1, "v1", &completed(1));
    rollout(&tree, 2, "v1", &completed(2));
    apply(&tree, &WITH_CONFIG.replace("replicas = 2", "config_version = 2"));
    tree.zkops(&["config", "list", "webapp"]).assert().stdout(
        contains("1          1       28      history").and(contains("2          1       28      desired, rollout 2")),
    );
    let delete = |args: &[&str]| tree.zkops(&[&["config", "delete", "webapp"], args].concat()).assert();
    delete(&["2"]).code(4).stderr(contains("it is in use: desired, rollout 2"));
    delete(&["4", "--force"]).code(4).stderr(contains("it is the newest"));
    delete(&["1"]).code(4).stderr(contains("rollout 1 brought it").and(contains("--force")));
    delete(&["1", "--force"]).success().stdout("config/webapp 1 deleted\n");
    delete(&["3"]).success();
    delete(&["3"]).code(3);
    assert_eq!(tree.json(&["config", "list", "webapp"])["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_configuration_that_is_not_there_is_not_applied() {
    let tree = Tree::new("config-apply");
    let text = format!("{}\n", WITH_CONFIG.replace("replicas = 2", "config_version = 7"));
    tree.zkops(&["apply", "-f", "-"]).write_stdin(text.clone()).assert().code(3).stderr(contains("revision 7"));
    assert_eq!(tree.get("/services/webapp"), None, "nothing is half done");
    apply(&tree, WITH_CONFIG);
    tree.put("/services/webapp/config/7", &json!({"files": {"f": {"text": "x"}}}));
    apply(&tree, &text);
    apply(&tree, &WEBAPP.replace("replicas = 2", "config_version = 9"));
    assert_eq!(tree.document("/services/webapp/desired")["config_version"], 9, "a mere number without [config]");
}

#[test]
fn apply_refuses_when_the_world_has_moved() {
    let tree = Tree::new("check-index");
    let index = || -> i64 {
        let output =
            tree.zkops(&["plan", "-f", "-", "-o", "json"]).write_stdin(WEBAPP).assert().get_output().stdout.clone();
        serde_json::from_slice::<Value>(&output).unwrap()["items"][0]["index"].as_i64().unwrap()
    };
    let apply_at = |index: &str, text: &str| {
        tree.zkops(&["apply", "-f", "-", "--check-index", index]).write_stdin(text.to_owned()).assert()
    };
    assert_eq!(index(), 0, "no such service");
    apply_at("1", WEBAPP).code(4).stderr(contains("index is 0, not 1").and(contains("zkops plan")));
    apply_at("0", WEBAPP).success();
    apply_at("0", &WEBAPP.replace("v1", "v2")).code(4);
    let planned = index();
    tree.put(ORDERS, &json!({}));
    rollout(&tree, 1, "v1", &json!({}));
    apply_at(&planned.to_string(), &WEBAPP.replace("v1", "v2")).code(4);
    assert_eq!(tree.document("/services/webapp/desired")["version"], "v1");
    apply_at(&format!("webapp={}", index()), &WEBAPP.replace("v1", "v2")).success();
    let (first, second) = (file(WEBAPP), file("name = \"other\"\nunit = \"other.service\"\n"));
    let paths = [first.path().to_str().unwrap(), second.path().to_str().unwrap()];
    let both = |more: &[&str]| tree.zkops(&[&["apply", "-f", paths[0], "-f", paths[1]], more].concat()).assert();
    both(&["--check-index", "7"]).code(2).stderr(contains("SERVICE=N"));
    both(&["--check-index", "webapp=7"]).code(2).stderr(contains("--check-index other=N"));
    both(&["--check-index", "webapp=7", "--check-index", "other=0"]).code(4);
    assert_eq!(tree.get("/services/other"), None, "all or nothing");
    let now = format!("webapp={}", index());
    both(&["--check-index", &now, "--check-index", "other=0"]).success();
}

#[test]
fn a_plan_tells_what_would_come_of_it() {
    let tree = Tree::new("plan");
    second(&tree, &json!({"state": "completed"}));
    let replica = |n: u32, rollout: u64| {
        let desired = json!({"mode": "enabled", "version": "v2", "node": "web1", "rollout": rollout});
        tree.put(&format!("/services/webapp/{n:010}/desired"), &desired);
    };
    replica(1, 2);
    replica(2, 2);
    for (path, document) in [
        ("", json!({})),
        ("/assigned", json!({})),
        (
            "/alive",
            json!({"version": "0.1.0", "machine_id": "m", "boot_id": "b",
            "pid": 1, "started": "2026-11-22T18:00:00Z"}),
        ),
    ] {
        tree.put(&format!("/hosts/web1{path}"), &document);
    }
    let plan = |text: &str| tree.zkops(&["plan", "-f", "-"]).write_stdin(text.to_owned()).assert();
    plan(&WEBAPP.replace("v1", "v2")).code(0).stdout(contains("webapp: no change").and(contains("--check-index")));
    plan(&WEBAPP.replace("v1", "v3")).code(1).stdout(
        contains("+version = \"v3\"").and(contains("order:    0000000001, 0000000002")).and(contains("restart")),
    );
    plan("name = \"x y\"").code(2);
    let configured = WEBAPP.replace("v1", "v3").replace("[desired]", "[desired]\nconfig_version = 1") + "[config]\n";
    tree.put("/services/webapp/config/1", &json!({"files": {}}));
    plan(&configured).code(1).stdout(contains("rollout 3 would begin"));
    plan(&configured.replace("config_version = 1", "config_version = 2")).stdout(contains("rollout 3").not());
    let (file, output) = (file(&WEBAPP.replace("v1", "v3")), ["-o", "json"]);
    let args = [&["plan", "-f", file.path().to_str().unwrap()], &output[..]].concat();
    let output = tree.zkops(&args).assert().code(1).get_output().stdout.clone();
    let item = &serde_json::from_slice::<Value>(&output).unwrap()["items"][0];
    assert_eq!((&item["outcome"], &item["rollout"]["number"]), (&json!("configured"), &json!(3)));
    assert_eq!(item["rollout"]["replicas"][0], json!({"replica": 1, "action": "restart", "batch": 1}));
}

#[test]
fn a_plan_names_those_that_go_and_the_surge_replica_that_is_the_canary() {
    let tree = Tree::new("plan-order");
    second(&tree, &json!({"state": "completed"}));
    tree.put("/services/webapp/desired", &json!({"version": "v2", "replicas": 4}));
    for host in ["web1", "web2"] {
        tree.put(&format!("/hosts/{host}"), &json!({}));
        tree.put(&format!("/hosts/{host}/assigned"), &json!({}));
    }
    let alive =
        json!({"version": "0.1.0", "machine_id": "m", "boot_id": "b", "pid": 1, "started": "2026-11-22T18:00:00Z"});
    tree.put("/hosts/web2/alive", &alive);
    // The first two are on a host that is lost.
    for (number, host) in [(1, "web1"), (2, "web1"), (3, "web2"), (4, "web2")] {
        let desired = json!({"mode": "enabled", "version": "v2", "node": host, "rollout": 2});
        tree.put(&format!("/services/webapp/{number:010}/desired"), &desired);
    }
    let policy = "[rollout]\ncanary = 1\nmax_surge = 2\nmax_failures = 1\n";
    let text = format!("{}{policy}", WEBAPP.replace("v1", "v3").replace("replicas = 2", "replicas = 3"));
    tree.zkops(&["plan", "-f", "-"]).write_stdin(text).assert().code(1).stdout(
        contains("at once: 4 -> 3 replicas\n")
            .and(contains("at once: 0000000002 is drained and removed ("))
            .and(contains("surge:    1 more starts first, as the canary, 1 more starts once that is good, and all are"))
            .and(contains("canary:   1 replica of the surge; then it waits"))
            .and(contains("batch 2:  0000000001, 0000000003, 0000000004\n"))
            .and(contains("all but 1 (max_failures: 1, none of the canary) must be ready")),
    );
}

#[test]
fn on_a_terminal_the_progress_is_drawn_as_bars() {
    let tree = Tree::new("rollout-bars");
    second(&tree, &json!({}));
    tree.put("/services/webapp/0000000001/desired", &json!({"mode": "enabled", "node": "web1", "rollout": 2}));
    let line = format!("{} rollout status webapp --watch", env!("CARGO_BIN_EXE_zkops"));
    let mut child = tree.run("script", &["-qefc", &line, "/dev/null"]);
    let mut screen = BufReader::new(child.stdout.take().unwrap());
    let mut seen = String::new();
    let mut read_until = |what: &str| {
        while !seen.contains(what) {
            let bytes = screen.fill_buf().unwrap();
            assert!(!bytes.is_empty(), "{what} is not in {seen:?}");
            seen.push_str(&String::from_utf8_lossy(bytes));
            let length = bytes.len();
            screen.consume(length);
        }
        seen.clone()
    };
    read_until("1/2 rollout 2: running");
    read_until("0000000001");
    rollout(&tree, 2, "v2", &json!({"from": 1, "state": "rolled_back", "reason": "replica 1 failed"}));
    let text = read_until("was rolled back: replica 1 failed");
    assert!(text.contains("State:      \u{1b}[31mrolled back"), "{text:?}");
    assert_eq!(child.wait().unwrap().code(), Some(7));
}
