#![allow(clippy::unwrap_used)]

use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::model::{
    Desired, ReplicaDesired, ReplicaNumber, ServiceSpec, ServiceStatus, assigned, decode, encode, released,
};

/// An assignment's keys, and beside them those of its template.
fn good() -> Value {
    json!({
        "mode": "enabled", "unit": "webapp@0000000001.service", "version": "v1.2.3", "port": 8080,
        "environment": {"GREETING": "say \"100 %\" of $HOME \\o/ — 'ok'"},
        "credentials": {"tls-key": "/etc/webapp/tls.key"},
        "probes": {"readiness": {"http": {}}},
    })
}

#[test]
fn what_is_good_passes_and_reads_back() {
    let checked: CheckedAssignment = decode(assigned(good()).to_string().as_bytes()).unwrap();
    assert_eq!(decode::<CheckedAssignment>(&encode(&checked)), Ok(checked.clone()));
    assert_eq!(checked.with_mode(Mode::Drain).mode, Mode::Drain);
    assert_eq!(decode::<Assignment>(&encode(&checked)), Ok(checked.into()));
}

#[rstest]
#[case(json!({"unit": "webapp@.service"}), "unit: webapp@.service is a template")]
#[case(json!({"unit": "webapp-@1.service"}), "unit: ")]
#[case(json!({"unit": "webapp@...service"}), "unit: ")]
#[case(json!({"unit": "a.service\nx"}), r"a.service\nx")]
#[case(json!({"version": ""}), "version: ")]
#[case(json!({"version": "v1\nX=1"}), "version: ")]
#[case(json!({"version": "v".repeat(256)}), "version: has more than 255 bytes")]
#[case(json!({"port": 0}), "port: ")]
#[case(json!({"unit_file": "[Unit]\n"}), "unit_file: has no [Service] section")]
#[case(json!({"unit_file": "[Service]\nX=\u{1b}[2J"}), "unit_file: has a control character")]
#[case(json!({"restart": {"limit_burst": 0}}), "restart.limit_burst: ")]
#[case(json!({"environment": {"A\nB": "x"}}), r"environment.A\nB: a variable's name")]
#[case(json!({"environment": {"": "x"}}), "a variable's name")]
#[case(json!({"environment": {"ZKOPS_HOST": "x"}}), "are set by zkops")]
#[case(json!({"environment": {"A": "x\u{85}y"}}), "environment.A: the value has a control character")]
#[case(json!({"environment": {"A": "x\u{ffff}"}}), "environment.A: the value has a control character")]
#[case(json!({"credentials": {"x:/a\nExecStartPre=+/bin/sh": "/etc/hostname"}}), r"credentials.x:/a\nExecStartPre=+/bin/sh: a cred")]
#[case(json!({"credentials": {"..": "/etc/hostname"}}), "credentials...: a credential's name is that of a file")]
#[case(json!({"credentials": {"x": "etc/hostname"}}), "credentials.x: must be the absolute path")]
#[case(json!({"credentials": {"x": "/etc/hostname\\"}}), "credentials.x: must be the absolute path")]
#[case(json!({"credentials": {"x": "/etc/%H"}}), "credentials.x: must be the absolute path")]
#[case(json!({"credentials": {"x": "/etc/a:b"}}), "credentials.x: must be the absolute path")]
#[case(json!({"credentials": {"x": "/etc/a\nB=c"}}), "credentials.x: must be the absolute path")]
#[case(json!({"credentials": {"x": format!("/{}", "x".repeat(4095))}}), "credentials.x: has more than 4095 bytes")]
#[case(json!({"drain_time": "-5s"}), "drain_time: ")]
#[case(json!({"source": {"apt": {"package": "/tmp/evil"}}}), "source.apt.package: ")]
#[case(json!({"source": {"apt": {"package": "-o"}}}), "source.apt.package: ")]
#[case(json!({"source": {"apt": {"package": "x"}}}), "source.apt.package: ")]
#[case(json!({"source": {"apt": {"package": "webapp"}}, "version": "1/../2.deb"}), "version: ")]
#[case(json!({"source": {"apt": {"package": "webapp"}}, "version": "-o"}), "version: ")]
#[case(json!({"source": {"apt": {"package": "webapp"}}, "version": "1.0-"}), "version: ")]
#[case(json!({"source": {"exec": {"command": ["/bin/true", "a\u{0}b"]}}}), "source.exec.command: has a NUL")]
#[case(json!({"source": {"exec": {"command": ["true"]}}}), "source.exec.command: must begin")]
#[case(json!({"probes": {"readiness": {"exec": {"command": []}}}}), "probes.readiness.exec.command: must begin")]
#[case(json!({"probes": {"readiness": {}}}), "probes.readiness: needs exactly one")]
#[case(json!({"config": {"check": ["sh"]}}), "config.check: must begin")]
fn what_would_break_a_line_or_leave_a_folder_is_refused(#[case] change: Value, #[case] says: &str) {
    let mut document = good();
    document.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let error = decode::<CheckedAssignment>(assigned(document.clone()).to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.contains(says), "{error}");
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

/// Else an upgrade would take from its services what is in force.
#[test]
fn what_earlier_releases_accepted_and_does_no_harm_passes() {
    for change in released() {
        let mut document = good();
        document.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let checked = decode::<CheckedAssignment>(assigned(document.clone()).to_string().as_bytes());
        assert!(checked.is_ok(), "{change}: {checked:?}");
        document["unit"] = "webapp@.service".into();
        let spec: ServiceSpec = decode(document.to_string().as_bytes()).unwrap();
        assert_eq!(spec.problems(), [], "{change}");
        let status = json!({ "accepted": { "service": document, "desired": { "replicas": 2 } } });
        let status: ServiceStatus = decode(status.to_string().as_bytes()).unwrap();
        assert_eq!(status.problems(), [], "{change}");
        assert_eq!(spec.template().problems(), [], "{change}");
    }
}

#[test]
fn what_a_new_description_must_not_say_is_told() {
    let flaws = |change: &Value| {
        let mut document = json!({ "unit": "webapp@.service" });
        document.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let spec: ServiceSpec = decode(document.to_string().as_bytes()).unwrap();
        spec.flaws().into_iter().map(|flaw| flaw.key).collect::<Vec<_>>()
    };
    for path in ["/etc/webapp/", "/etc//webapp", "/etc/./webapp", "//etc/webapp", "/"] {
        assert_eq!(flaws(&json!({"credentials": {"x": path}})), ["credentials.x"], "{path}");
    }
    assert_eq!(flaws(&json!({"restart": {"limit_interval": "0s"}})), ["restart.limit_interval"]);
    assert_eq!(flaws(&json!({"credentials": {"x": "/etc/webapp/..x"}})), [""; 0]);
}

#[test]
fn there_are_not_too_many_of_anything() {
    let many: serde_json::Map<_, _> = (0..501).map(|n| (format!("V{n}"), "/x".into())).collect();
    for key in ["environment", "credentials"] {
        let mut document = good();
        document[key] = Value::Object(many.clone());
        let error =
            decode::<CheckedAssignment>(assigned(document.clone()).to_string().as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&format!("{key}: has 501 entries, 500 are allowed")), "{error}");
    }
    let mut document = good();
    document["environment"]["GREETING"] = "x".repeat(Assignment::MAX_BYTES).into();
    let error = decode::<CheckedAssignment>(assigned(document.clone()).to_string().as_bytes()).unwrap_err().to_string();
    assert!(error.contains("are allowed"), "{error}");
}

/// Else a leader would write what no agent acts on.
#[test]
fn the_largest_description_makes_a_good_assignment() {
    let mut spec = ServiceSpec::new("webapp@.service".parse().unwrap());
    spec.unit_file = Some(format!("[Service]\n{}", "#".repeat(ServiceSpec::MAX_BYTES - 300)));
    let size = encode(&spec).len();
    assert!((ServiceSpec::MAX_BYTES - 300..=ServiceSpec::MAX_BYTES).contains(&size), "{size}");
    assert_eq!(spec.problems(), []);
    let desired = Desired { version: Some("v".repeat(255)), ..Desired::default() };
    let made = Assignment::new(&spec.revision(&desired), &ReplicaDesired::unplaced(&desired), ReplicaNumber(u32::MAX));
    assert_eq!(made.problems(), []);
}
