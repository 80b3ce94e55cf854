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
    2:8: unit: "webapp" is not a service unit's name: write PREFIX.service, or PREFIX@.service for a template, with letters, digits and :-_.\ (systemd.unit(5))
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
