#![allow(clippy::unwrap_used)]

use super::*;
use crate::model::Amount;

fn complaints(text: &str) -> Vec<String> {
    parse("x.toml", text)
        .map_or_else(|found| found.iter().map(ToString::to_string).collect(), |ok| vec![format!("{ok:?}")])
}

const HEAD: &str = "name = \"webapp\"\nunit = \"webapp@.service\"\n";

#[test]
fn the_whole_format_is_read() {
    let text = r#"
name = "webapp"
unit = "webapp@.service"
unit_file = """
[Service]
ExecStart=/bin/true
"""
port = 8080
lost_after = "15s"
drain_time = "2s"
max_unavailable = 2
wait_for_reboot = true
[desired]
version = "v1"
replicas = 3
[placement]
constraints = ["zone in (a,b)", "!gpu"]
spread = "rack"
max_per_host = 1
[restart]
policy = "always"
delay = "500ms"
[environment]
GREETING = "hello"
"#;
    let manifest = parse("x.toml", text).unwrap();
    assert_eq!(manifest.name.as_str(), "webapp");
    assert_eq!((manifest.spec.port, manifest.spec.max_unavailable), (Some(8080), Amount::Count(2)));
    assert_eq!(manifest.spec.placement.constraints.len(), 2);
    assert_eq!(serde_json::to_string(&manifest.desired).unwrap(), r#"{"replicas":3,"version":"v1"}"#);
}

#[test]
fn the_example_is_good() {
    let manifest = parse("webapp.toml", include_str!("../../../examples/webapp/webapp.toml")).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.spec.port), ("webapp", Some(8080)));
}

#[test]
fn a_file_without_desired_leaves_it_alone() {
    assert!(parse("x.toml", HEAD).unwrap().desired.is_none());
}

#[test]
fn unknown_keys_name_what_was_meant() {
    let text = format!(
        "{HEAD}prot = 8080\nreplicas = 3\n[desired]\nreplica = 3\nport = 1\n[restart]\nzzz = 1\n[extra]\na = 1\n"
    );
    assert_eq!(
        complaints(&text),
        [
            "3:1: prot: unknown key; did you mean `port`?",
            "4:1: replicas: unknown key; it belongs to [desired]",
            "6:1: desired.replica: unknown key; did you mean `replicas`?",
            "7:1: desired.port: unknown key; it belongs to the top of the file",
            "9:1: restart.zzz: unknown key",
            "10:2: extra: unknown key",
        ]
    );
}

#[test]
fn every_wrong_value_is_found_at_once() {
    let text = "name = \"Web App\"\nunit = \"webapp\"\nport = 99999\nlost_after = 10\n[desired]\nreplicas = -1\nmode = \"enable\"\n\
                [placement]\nconstraints = [\"a=b\", \"a b\"]\n[environment]\nPORT = 80\n";
    insta::assert_snapshot!(complaints(text).join("\n"), @r#"
    1:8: name: "Web App" is not a service name: use lower-case letters, digits and inner '-', 63 characters at most (RFC 1123 label)
    2:8: unit: "webapp" is not a service unit's name: write PREFIX.service, or PREFIX@.service for a template, with letters, digits and :-_.\, no - at PREFIX's end, no . at an instance's beginning and 243 characters at most (systemd.unit(5))
    3:8: port: invalid value: integer `99999`, expected a whole number from 0 to 65535
    4:14: lost_after: invalid type: integer `10`, expected a string: put it in quotes (a duration with its unit, as in "10s")
    6:12: desired.replicas: invalid value: integer `-1`, expected a whole number, 0 or more
    7:8: desired.mode: unknown variant `enable`, expected one of `enabled`, `disabled`, `drain`; did you mean `enabled`?
    9:23: placement.constraints.1: "a b" is not a label selector: write key=value, key!=value, key in (a,b), key notin (a,b), key or !key
    11:8: environment.PORT: invalid type: integer `80`, expected a string: put it in quotes
    "#);
}

#[test]
fn values_that_contradict_each_other_have_lines() {
    let text = "name = \"w\"\nunit = \"w.service\"\nport = 0\nunit_file = \"nonsense\"\n[desired]\nreplicas = 20000\nversion = \"\"\n\
                [placement]\nmax_per_host = 2\n[environment]\nZKOPS_X = \"1\"\n";
    insta::assert_snapshot!(complaints(text).join("\n"), @r#"
    3:8: port: must be 1 to 65535
    4:13: unit_file: has no [Service] section
    6:12: desired.replicas: 20000 is more than 10000
    7:11: desired.version: must not be empty or have control characters; leave it out instead
    9:16: placement.max_per_host: a plain unit runs at most once on a host; use a template unit (PREFIX@.service)
    11:11: environment.ZKOPS_X: names that start with ZKOPS_ are set by zkops
    "#);
}

/// What is in the tree already may say it; nobody writes it again.
#[test]
fn what_earlier_releases_accepted_is_refused_in_a_file() {
    for (line, key, says) in [
        ("drain_time = \"8785h\"", "drain_time", "\"8785h\" is longer than a year: write \"8784h\" or less"),
        ("drain_time = \"+2s\"", "drain_time", "\"+2s\" is not a duration"),
        ("[restart]\nmax_delay = \"9000h\"", "restart.max_delay", "is longer than a year"),
        ("[source]\ntimeout = \"8785h\"", "source.timeout", "is longer than a year"),
        ("[restart]\nlimit_interval = \"0s\"", "restart.limit_interval", "must be longer than nothing"),
        ("[probes.readiness]\ntcp = {}\nperiod = \"9000h\"", "probes.readiness.period", "is longer than a year"),
        ("[credentials]\nx = \"/etc/x/\"", "credentials.x", "must be a path without empty parts"),
        ("[credentials]\nx = \"/etc//x\"", "credentials.x", "must be a path without empty parts"),
    ] {
        let found = complaints(&format!("{HEAD}port = 80\n{line}\n"));
        let number = 3 + line.lines().count();
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with(&format!("{number}:")), "{found:?}");
        assert!(found[0].contains(&format!(": {key}: ")) && found[0].contains(says), "{found:?}");
    }
    let good = format!("{HEAD}drain_time = \"60s\"\n[environment]\nA = \"9000h\"\nB = \"+2s\"\n");
    assert!(parse("x.toml", &good).is_ok());
}

#[test]
fn missing_keys_say_what_to_write() {
    insta::assert_snapshot!(complaints("port = 80\n").join("\n"), @r#"
    1:1: name: missing; write name = "SERVICE"
    1:1: unit: missing; write unit = "NAME.service", or "NAME@.service" to run several on a host
    "#);
}

#[test]
fn broken_toml_names_its_line() {
    insta::assert_snapshot!(complaints("name = \"w\"\nunit = w.service\n[desired\nreplicas = 3\n").join("\n"), @r#"
    2:8: string values must be quoted, expected literal string
    3:9: unclosed table, expected `]`
    "#);
    insta::assert_snapshot!(complaints("name = \"a\"\nname = \"b\"\n").join("\n"), @"2:1: duplicate key");
}

#[test]
fn sections_must_be_sections() {
    insta::assert_snapshot!(complaints(&format!("{HEAD}desired = 3\nplacement = \"x\"\nrestart = [1]\n")).join("\n"), @r#"
    3:1: desired: must be a section: [desired]
    4:1: placement: must be a section: [placement]
    5:1: restart: must be a section: [restart]
    "#);
}

#[test]
fn deleting_is_not_for_files() {
    assert_eq!(
        complaints(&format!("{HEAD}deleting = true\n")),
        ["3:1: deleting: unknown key; `zkops delete` removes a service"]
    );
}

#[test]
fn a_description_that_zookeeper_could_not_hold_is_refused() {
    let text = format!("{HEAD}unit_file = '''\n[Service]\n#{}'''\n", "x".repeat(ServiceSpec::MAX_BYTES));
    assert_eq!(complaints(&text), ["3:1: the description takes 131144 bytes in the tree, 131072 are allowed"]);
}

#[test]
fn the_sections_of_a_rollout_are_read() {
    let text = format!(
        "{HEAD}port = 8080\n{}",
        r#"
max_unavailable = "25%"
[source]
timeout = "2m"
[source.archive]
url = "https://example.org/webapp-{version}-{arch}.tar.zst"
sha256_url = "https://example.org/SHA256SUMS"
strip_components = 1
[source.archive.sha256]
"v1.2.3" = "0000000000000000000000000000000000000000000000000000000000000000"
[credentials]
"tls.key" = "/etc/webapp/tls.key"
[config]
check = ["/usr/bin/webapp", "--check", "{dir}"]
apply = "signal"
signal = "SIGUSR1"
[probes.readiness]
http = { path = "/healthz", status = "200-299", headers = { Host = "webapp" } }
period = "2s"
[probes.liveness.exec]
command = ["/usr/bin/webapp-ping"]
[rollout]
max_surge = 1
canary = "10%"
batches = [1, "10%", "50%"]
batch_pause = "30s"
on_failure = "pause"
"#
    );
    let spec = parse("x.toml", &text).unwrap().spec;
    assert_eq!(spec.rollout.batches, [Amount::Count(1), Amount::Percent(10), Amount::Percent(50)]);
    assert!(spec.probes.readiness.is_some_and(|probe| probe.check().is_some()));
    assert_eq!(spec.credentials["tls.key"], "/etc/webapp/tls.key");
}

#[test]
fn mistakes_in_the_sections_of_a_rollout_are_told() {
    let text = format!(
        "{HEAD}{}",
        r#"max_unavailable = "a few"
canary = 1
readiness = "tcp"
[source]
archive = "https://example.org/x.tar.gz"
packages = "webapp"
[source.apt]
pakage = "webapp"
[source.exec]
command = "/usr/bin/fetch"
[credentials]
key = 7
[config]
check = ["webapp --check"]
aply = "reload"
signal = "SIGHUP"
[probes.readiness]
path = "/healthz"
http = { port = "80", headrs = { a = "b" } }
tcp = true
period = 5
[probes.liveness]
failure_treshold = 3
[rollout]
max_surge = "150%"
canary = 1.5
batches = 3
on_failure = "rolback"
min_healthy_time = 30
progress_dedline = "1h"
max_unavailable = 1
"#
    );
    insta::assert_snapshot!(complaints(&text).join("\n"), @r#"
    3:19: max_unavailable: "a few" is neither a number of replicas, as in 2, nor a share of them, as in "25%"
    4:1: canary: unknown key; it belongs to [rollout]
    5:1: readiness: unknown key; it belongs to [probes]
    7:1: source.archive: must be a section: [source.archive]
    8:1: source.packages: unknown key
    9:9: source.apt.package: missing; write package = "NAME"
    10:1: source.apt.pakage: unknown key; did you mean `package`?
    12:11: source.exec.command: invalid type: string "/usr/bin/fetch", expected a list in [ ], as in ["…"]
    14:7: credentials.key: invalid type: integer `7`, expected a string: put it in quotes
    17:1: config.aply: unknown key; did you mean `apply`?
    20:1: probes.readiness.path: unknown key; it belongs to [probes.readiness.http]
    21:17: probes.readiness.http.port: invalid type: string "80", expected a whole number from 0 to 65535, without quotes
    21:23: probes.readiness.http.headrs: unknown key; did you mean `headers`?
    22:1: probes.readiness.tcp: must be a section: [probes.readiness.tcp]
    23:10: probes.readiness.period: invalid type: integer `5`, expected a string: put it in quotes (a duration with its unit, as in "10s")
    25:1: probes.liveness.failure_treshold: unknown key; did you mean `failure_threshold`?
    27:13: rollout.max_surge: "150%" is neither a number of replicas, as in 2, nor a share of them, as in "25%"
    28:10: rollout.canary: invalid type: floating point `1.5`, expected a number of replicas, as in 2, or a share of them, as in "25%"
    29:11: rollout.batches: invalid type: integer `3`, expected a list in [ ]
    30:14: rollout.on_failure: unknown variant `rolback`, expected `rollback` or `pause`; did you mean `rollback`?
    31:20: rollout.min_healthy_time: invalid type: integer `30`, expected a string: put it in quotes (a duration with its unit, as in "10s")
    32:1: rollout.progress_dedline: unknown key; did you mean `progress_deadline`?
    33:1: rollout.max_unavailable: unknown key; it belongs to the top of the file
    "#);
}

#[test]
fn contradictions_in_the_sections_of_a_rollout_are_told() {
    let text = format!(
        "{HEAD}max_unavailable = 0\n{}",
        r#"[source.archive]
url = "ftp://example.org/x"
[source.apt]
package = "webapp"
[credentials]
"a b" = "secret"
[config]
check = ["webapp"]
signal = "SIGHUP"
[probes.readiness]
http = {}
tcp = {}
[probes.liveness]
zookeeper = { command = "conf", port = 2181 }
success_threshold = 2
[rollout]
min_healthy_time = "10m"
batches = [0]
"#
    );
    insta::assert_snapshot!(complaints(&text).join("\n"), @r#"
    3:19: max_unavailable: must be 1 or more unless rollout.max_surge is, or nothing could ever change
    4:2: source: takes one of archive, apt, nix and exec
    4:9: source.archive: nothing would verify the archive: give sha256, sha256_url or minisign_key
    5:7: source.archive.url: must begin with http:// or https://
    9:9: credentials.a b: a credential's name has letters, digits and - _ .
    9:9: credentials.a b: must be the absolute path of a file on the host, without % : and \
    11:9: config.check: must begin with the program's absolute path
    12:10: config.signal: is only sent with apply = "signal"
    13:9: probes.readiness: needs exactly one of systemd, tcp, http, exec and zookeeper
    17:25: probes.liveness.zookeeper.command: must be ruok, stat or srvr
    18:21: probes.liveness.success_threshold: must be 1 for liveness
    19:2: rollout.healthy_deadline: must be longer than min_healthy_time
    21:11: rollout.batches: each batch must be 1 or more
    "#);
}
