#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use rstest::rstest;

use super::{AgentSettings, CliSettings, ConfigError, ControllerSettings, document};

/// A root with these files.
fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn agent(files: &[(&str, &str)]) -> Result<AgentSettings, ConfigError> {
    AgentSettings::load(root(files).path(), None)
}

fn patterns(settings: &AgentSettings) -> Vec<&str> {
    settings.accepts.units.patterns().collect()
}

#[test]
fn every_key_of_the_agent_is_read() {
    let text = r#"
        allowed_units = ["webapp@*.service"]
        accept_unit_files = true
        host = "web1"
        address = "10.0.0.1"
        state_dir = "/srv/zkops"
        [labels]
        zone = "a"
        [zookeeper]
        servers = "zk1:2181,zk2:2181/prod"
        session_timeout = "6s"
    "#;
    let settings = agent(&[("etc/zkops/agent.toml", text)]).unwrap();
    assert_eq!(patterns(&settings), ["webapp@*.service"]);
    assert!(settings.accepts.unit_files);
    assert_eq!(settings.host.as_str(), "web1");
    assert_eq!(settings.address.as_deref(), Some("10.0.0.1"));
    assert_eq!(settings.state_dir, PathBuf::from("/srv/zkops"));
    assert_eq!(settings.labels.get("zone").map(String::as_str), Some("a"));
    assert_eq!(settings.zookeeper.servers, "zk1:2181,zk2:2181/prod");
    assert_eq!(settings.zookeeper.session_timeout, Duration::from_secs(6));
}

#[test]
fn a_limited_agent_accepts_nothing_that_takes_root() {
    assert!(agent(&[("etc/zkops/agent.toml", "host = 'web1'\nlimited = true")]).unwrap().accepts.limited);
    for key in ["accept_unit_files", "accept_commands", "accept_packages"] {
        let (package, ours) = ("limited = true".to_owned(), format!("{key} = true"));
        let files = [("usr/lib/zkops/agent.toml.d/50-limited.toml", &*package), ("etc/zkops/agent.toml", &*ours)];
        let error = agent(&files).unwrap_err().to_string();
        assert!(error.contains(&format!("limited and {key} exclude each other")), "{error}");
        // Taken back, it is in nobody's way.
        let back = format!("{key} = false");
        assert!(agent(&[files[0], files[1], ("etc/zkops/agent.toml.d/back.toml", &*back)]).unwrap().accepts.limited);
    }
}

#[test]
fn without_a_file_the_defaults_hold() {
    let settings = agent(&[("etc/zkops/agent.toml", "host = 'web1'")]).unwrap();
    assert!(
        settings.accepts.units.is_empty()
            && !settings.accepts.unit_files
            && settings.labels.is_empty()
            && !settings.accepts.limited
    );
    assert_eq!((settings.address, settings.state_dir), (None, PathBuf::from("/var/lib/zkops/agent")));
    assert_eq!(settings.zookeeper.servers, "127.0.0.1:2181");
    assert_eq!(settings.zookeeper.session_timeout, Duration::from_secs(15));
    assert_eq!(CliSettings::load(root(&[]).path(), None).unwrap().zookeeper.servers, "127.0.0.1:2181");
    let controller = root(&[("etc/zkops/controller.toml", "name = 'zk1'")]);
    let controller = ControllerSettings::load(controller.path(), None).unwrap();
    assert_eq!((controller.name.as_str(), controller.failover_max_fraction), ("zk1", 0.55));
}

#[test]
fn drop_ins_come_after_the_main_file_by_name_whatever_their_folder() {
    let settings = agent(&[
        ("etc/zkops/agent.toml", "host = 'main'\naddress = 'main'\n[labels]\na = 'main'\nb = 'main'"),
        ("usr/lib/zkops/agent.toml.d/90-package.toml", "host = 'package'"),
        ("etc/zkops/agent.toml.d/10-admin.toml", "host = 'admin'\n[labels]\nb = 'admin'"),
        ("run/zkops/agent.toml.d/50-boot.toml", "[zookeeper]\nservers = 'zk1:2181'"),
        ("etc/zkops/agent.toml.d/99-notes.txt", "no TOML at all"),
        ("etc/zkops/agent.toml.d/.99-aside.toml", "no TOML at all"),
    ])
    .unwrap();
    assert_eq!((settings.host.as_str(), settings.address.as_deref()), ("package", Some("main")));
    assert_eq!(settings.zookeeper.servers, "zk1:2181");
    assert_eq!(settings.labels.into_values().collect::<Vec<_>>(), ["main", "admin"]);
}

#[test]
fn a_stronger_folder_masks_a_file_of_the_same_name() {
    let files = [
        ("usr/lib/zkops/agent.toml.d/50-x.toml", "host = 'package'"),
        ("run/zkops/agent.toml.d/50-x.toml", "address = 'boot'"),
        ("usr/lib/zkops/agent.toml.d/60-y.toml", "nonsense"),
        ("etc/zkops/agent.toml", "host = 'main'"),
    ];
    let root = root(&files);
    fs::create_dir(root.path().join("etc/zkops/agent.toml.d")).unwrap();
    symlink("/dev/null", root.path().join("etc/zkops/agent.toml.d/60-y.toml")).unwrap();
    let settings = AgentSettings::load(root.path(), None).unwrap();
    assert_eq!((settings.host.as_str(), settings.address.as_deref()), ("main", Some("boot")));
}

#[test]
fn patterns_add_up_until_an_empty_list() {
    let add = |last: &str| {
        let settings = agent(&[
            ("etc/zkops/agent.toml", "host = 'a'\nallowed_units = ['a.service']"),
            ("etc/zkops/agent.toml.d/10.toml", "allowed_units = ['b.service']"),
            ("etc/zkops/agent.toml.d/20.toml", last),
        ]);
        patterns(&settings.unwrap()).join(" ")
    };
    assert_eq!(add(""), "a.service b.service");
    assert_eq!(add("allowed_units = ['c.service']"), "a.service b.service c.service");
    assert_eq!(add("allowed_units = []"), "");
}

#[test]
fn a_named_file_stands_in_for_all_others() {
    let root = root(&[
        ("etc/zkops/agent.toml", "nonsense"),
        ("etc/zkops/agent.toml.d/10.toml", "nonsense"),
        ("my.toml", "host = 'mine'"),
        ("my.toml.d/10.toml", "address = 'mine'"),
    ]);
    let main = root.path().join("my.toml");
    let settings = AgentSettings::load(root.path(), Some(&main)).unwrap();
    assert_eq!((settings.host.as_str(), settings.address.as_deref()), ("mine", Some("mine")));
    let error = AgentSettings::load(root.path(), Some(Path::new("/nowhere.toml"))).unwrap_err();
    assert!(matches!(&error, ConfigError::Unreadable { path, .. } if path == Path::new("/nowhere.toml")), "{error}");
}

/// Reads `text` as the file `agent.toml` and tells what is wrong with it, from its line on.
fn agent_problem(text: &str) -> String {
    let error = agent(&[("etc/zkops/agent.toml", text)]).unwrap_err().to_string();
    let (_, rest) = error.split_once("etc/zkops/agent.toml").unwrap();
    rest.to_owned()
}

#[rstest]
#[case("\nallowed_unit = []", ":2: allowed_unit: there is no key \"allowed_unit\"; did you mean \"allowed_units\"?")]
#[case("Host = 'a'", ":1: Host: there is no key \"Host\"; did you mean \"host\"?")]
#[case("[zookeeper]\nserver = 'a'", ":2: zookeeper.server: there is no key \"server\"; did you mean \"servers\"?")]
#[case("[zoo]", ":1: zoo: there is no key \"zoo\"; there are: ")]
#[case("host = 3", ":1: host: invalid type: integer `3`, expected a string")]
#[case("host = 'localhost'", ":1: host: \"localhost\" may be any machine: use a name that no other host has")]
#[case("host = 'Web_1'", ":1: host: \"Web_1\" is not a host name: use lower-case")]
#[case("accept_unit_files = 'yes'", ":1: accept_unit_files: invalid type: string \"yes\", expected a boolean")]
#[case("allowed_units = 'a'", ":1: allowed_units: invalid type: string \"a\", expected a sequence")]
#[case("allowed_units = [\n'a.service',\n'b']", ":3: allowed_units[1]: \"b\" matches no service unit")]
#[case("address = '10.0.0.1:80'", ":1: address: \"10.0.0.1:80\" is neither an IP address nor a host name")]
#[case("[labels]\n'a b' = 'c'", ":2: labels.a b: \"a b\" is not a label's key")]
#[case("[labels]\na = 'ü'", ":2: labels.a: \"ü\" is not a label's key or value")]
#[case("[labels]\na = 1", ":2: labels.a: invalid type: integer `1`, expected a string")]
#[case("state_dir = 'here'", ":1: state_dir: \"here\" is not an absolute path")]
#[case("[zookeeper]\nservers = 'zk1'", ":2: zookeeper.servers: \"zk1\" has no port for zk1")]
#[case("[zookeeper]\nsession_timeout = 15", ":2: zookeeper.session_timeout: invalid type: integer `15`")]
#[case("[zookeeper]\nsession_timeout = '15'", ":2: zookeeper.session_timeout: \"15\" is not a duration")]
#[case("[zookeeper]\nsession_timeout = '999ms'", ":2: zookeeper.session_timeout: 999ms is too short")]
#[case("[zookeeper]\nsession_timeout = '61s'", ":2: zookeeper.session_timeout: 1m 1s is too long")]
#[case("host = 'a'\nhost = 'b'", ":2: duplicate key")]
#[case("host = 'a'\nhost", ":2: ")]
fn what_is_wrong_with_a_file_is_told_with_line_and_key(#[case] text: &str, #[case] expected: &str) {
    let problem = agent_problem(text);
    assert!(problem.starts_with(expected), "{problem}");
}

#[rstest]
#[case("failover_max_fraction = 0", "0 is not a fraction")]
#[case("failover_max_fraction = 1.5", "1.5 is not a fraction")]
#[case("failover_max_fraction = -0.1", "-0.1 is not a fraction")]
#[case("failover_max_fraction = nan", "NaN is not a fraction")]
#[case("failover_max_fraction = '55 %'", "invalid type")]
#[case("metrics_listen = ':9641'", "there is no key \"metrics_listen\"")]
#[case("name = ''", "\"\" is not a host name")]
fn the_controllers_file_is_as_strict(#[case] text: &str, #[case] expected: &str) {
    let root = root(&[("etc/zkops/controller.toml", text)]);
    let error = ControllerSettings::load(root.path(), None).unwrap_err().to_string();
    assert!(error.contains("controller.toml:1: ") && error.contains(expected), "{error}");
}

#[test]
fn a_whole_number_is_a_fraction_too() {
    let root = root(&[("etc/zkops/controller.toml", "name = 'a'\nfailover_max_fraction = 1")]);
    let fraction = ControllerSettings::load(root.path(), None).unwrap().failover_max_fraction;
    assert!((fraction - 1.0).abs() < f64::EPSILON);
}

#[test]
fn the_clis_file_is_as_strict() {
    let root = root(&[("etc/zkops/cli.toml", "servers = 'zk1:2181'")]);
    let error = CliSettings::load(root.path(), None).unwrap_err().to_string();
    assert!(error.ends_with("cli.toml:1: servers: there is no key \"servers\"; there are: zookeeper"), "{error}");
}

#[test]
fn a_check_tells_all_that_is_wrong() {
    let root = root(&[
        ("etc/zkops/agent.toml", "host = 3"),
        ("etc/zkops/agent.toml.d/10.toml", "host = 'good'"),
        ("etc/zkops/agent.toml.d/20.toml", "hots = 'bad'"),
    ]);
    fs::create_dir(root.path().join("etc/zkops/agent.toml.d/30.toml")).unwrap();
    let check = AgentSettings::check(root.path(), None);
    assert_eq!((check.files.len(), check.problems.len(), check.is_ok()), (4, 3, false));
    let text = check.to_string();
    assert!(text.contains("20.toml:1: hots: there is no key \"hots\"; did you mean \"host\"?\n"), "{text}");
    assert!(text.contains("30.toml: Is a directory"), "{text}");
    assert!(text.ends_with("the configuration cannot be used"), "{text}");
}

#[test]
fn a_file_that_is_no_text_is_an_error() {
    let root = root(&[]);
    fs::create_dir_all(root.path().join("etc/zkops")).unwrap();
    fs::write(root.path().join("etc/zkops/agent.toml"), b"host = '\xff'").unwrap();
    assert!(matches!(AgentSettings::load(root.path(), None), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn other_documents_can_be_read_the_same_way() {
    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Document {
        #[expect(dead_code, reason = "only its key matters")]
        replicas: u32,
    }
    let error = document::parse::<Document>(Path::new("webapp.toml"), "\n\nreplica = 3").unwrap_err();
    assert_eq!(error.to_string(), "webapp.toml:3: replica: there is no key \"replica\"; did you mean \"replicas\"?");
    let error = document::parse::<Document>(Path::new("webapp.toml"), "").unwrap_err();
    assert!(error.to_string().contains("missing field `replicas`"), "{error}");
}
