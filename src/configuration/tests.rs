#![allow(clippy::unwrap_used)]

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use rstest::rstest;
use tempfile::TempDir;

use super::*;
use crate::model::{ConfigFile, Span};

/// A host with one replica of `webapp`.
struct Host {
    dir: TempDir,
    configurations: Configurations,
    id: ReplicaId,
    unit: UnitName,
    facts: Facts,
}

impl Host {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let peer = Peer {
            host: "db1".parse().unwrap(),
            address: Some("10.0.0.7".into()),
            port: Some(5432),
            version: None,
            replica: ReplicaNumber(3),
        };
        let facts = Facts {
            host: "web1".parse().unwrap(),
            address: None,
            labels: BTreeMap::from([("rack".to_owned(), "r1".to_owned())]),
            release_dir: Some("/r/v1".into()),
            instances: BTreeMap::from([("my-db".parse().unwrap(), vec![peer])]),
        };
        let configurations = Configurations::new(dir.path(), Renderer::Here);
        let unit = "webapp@0000000001.service".parse().unwrap();
        Self { dir, configurations, id: "webapp.0000000001".parse().unwrap(), unit, facts }
    }

    fn wanted(&self, revision: u64) -> Wanted<'_> {
        Wanted { id: &self.id, unit: &self.unit, revision, version: Some("v1"), port: Some(80) }
    }

    async fn stage(&self, number: u64, check: &str, revision: &ConfigRevision) -> Result<(), ConfigurationError> {
        let check = if check.is_empty() {
            Vec::new()
        } else {
            ["/bin/sh", "-c", check, "sh", "{dir}"].map(str::to_owned).to_vec()
        };
        let policy = ConfigPolicy { check, check_timeout: Some(Span::from_millis(2000)), ..ConfigPolicy::default() };
        self.configurations.stage(&self.wanted(number), &policy, revision, &self.facts).await
    }

    /// What is in force.
    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.configurations.config_dir(&self.id.service, &self.unit).join(path)).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.dir.path().join("config/webapp")) else { return Vec::new() };
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn text(text: &str) -> ConfigFile {
    ConfigFile { text: Some(text.into()), base64: None, mode: None, owner: None, group: None, template: false }
}

fn template(words: &str) -> ConfigFile {
    ConfigFile { template: true, ..text(words) }
}

fn revision(files: &[(&str, ConfigFile)]) -> ConfigRevision {
    let files = files.iter().map(|(path, file)| ((*path).to_owned(), file.clone())).collect();
    ConfigRevision { files, message: None }
}

#[tokio::test]
async fn a_revision_is_staged_and_switched_to_and_back() {
    let host = Host::new();
    let (one, two) = (revision(&[("app.conf", text("one"))]), revision(&[("app.conf", text("two"))]));
    assert!(!host.configurations.is_staged(&host.wanted(1)));
    host.stage(1, "", &one).await.unwrap();
    assert!(host.configurations.is_staged(&host.wanted(1)) && !host.configurations.is_current(&host.wanted(1)));
    let before = host.configurations.switch(&host.wanted(1)).unwrap();
    assert!(before.is_none() && host.configurations.is_current(&host.wanted(1)));
    host.stage(2, "test $(cat $1/app.conf) = two && test $(readlink -f $ZKOPS_CONFIG_DIR) = $(readlink -f $1)", &two)
        .await
        .unwrap();
    assert_eq!(host.read("app.conf"), "one");
    let one = host.configurations.switch(&host.wanted(2)).unwrap();
    assert_eq!(host.read("app.conf"), "two");
    host.configurations.switch_back(&host.id.service, &host.unit, one.as_deref()).unwrap();
    assert_eq!(host.read("app.conf"), "one");
    host.configurations.switch_back(&host.id.service, &host.unit, None).unwrap();
    assert!(!host.configurations.config_dir(&host.id.service, &host.unit).is_symlink());
}

#[tokio::test]
async fn another_version_is_another_configuration() {
    let host = Host::new();
    let files = revision(&[("app.conf", template("{{ version }}"))]);
    host.stage(1, "", &files).await.unwrap();
    host.configurations.switch(&host.wanted(1)).unwrap();
    let newer = Wanted { version: Some("v2"), ..host.wanted(1) };
    assert!(!host.configurations.is_staged(&newer) && !host.configurations.is_current(&newer));
    host.configurations.stage(&newer, &ConfigPolicy::default(), &files, &host.facts).await.unwrap();
    host.configurations.switch(&newer).unwrap();
    assert_eq!(host.read("app.conf"), "v2");
}

#[tokio::test]
async fn a_template_that_does_not_end_is_rejected() {
    let host = Host::new();
    let words = "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}x{% endfor %}{% endfor %}{% endfor %}";
    let error = host.stage(1, "", &revision(&[("app.conf", template(words))])).await.unwrap_err();
    assert!(error.rejected && error.to_string().contains("fuel"), "{error}");
}

#[tokio::test]
async fn templates_see_the_host_and_the_instances_of_other_services() {
    let host = Host::new();
    let words = "{{ host }} {{ labels.rack }} {{ service }} {{ replica }} {{ version }} {{ config_version }} {{ port }}\n\
                 {{ release_dir }} {{ config_dir }}\n\
                 {% for db in instances[\"my-db\"] %}{{ db.host }} {{ db.address }}:{{ db.port }}{% endfor %} <&>\n";
    let files = revision(&[("a.html", template(words)), ("plain", text("{{ host }}"))]);
    assert_eq!(services_named(&files), ["my-db".parse().unwrap()].into());
    host.stage(7, "", &files).await.unwrap();
    host.configurations.switch(&host.wanted(7)).unwrap();
    let dir = host.dir.path().join("config/webapp/current@0000000001");
    let first = "web1 r1 webapp 0000000001 v1 7 80\n";
    assert_eq!(host.read("a.html"), format!("{first}/r/v1 {}\ndb1 10.0.0.7:5432 <&>\n", dir.display()));
    assert_eq!(host.read("plain"), "{{ host }}");
}

#[test]
fn services_are_found_however_templates_name_them() {
    let named = |words: &str| {
        let services = services_named(&revision(&[("x", template(words))]));
        services.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        named("{{ instances.db|length }} {{ instances [ 'a-b' ] }} {{instances[\"c\"][0]}}"),
        ["a-b", "c", "db"]
    );
    assert_eq!(named("{% for s in instances %}{{ instances[s] }} my instances. {% endfor %}"), Vec::<String>::new());
    assert!(services_named(&revision(&[("x", text("instances.db"))])).is_empty());
}

#[rstest]
#[case::undefined(template("a\nport = {{ prot }}\n"), &["app.conf, line 2", "undefined", "{{ prot }}"])]
#[case::absent(template("{{ address }}"), &["line 1", "undefined", "web1 has no address: set `address` in its agent.toml"])]
#[case::spaces(template("x {{address|upper}}"), &["line 1", "undefined", "web1 has no address"])]
#[case::truth(template("{% if address %}x{% endif %}"), &["line 1", "undefined", "web1 has no address"])]
#[case::concat(template("{{ 'http://' ~ address }}"), &["line 1", "undefined", "web1 has no address"])]
#[case::set(template("{% set a = address %}\n{{ a }}"), &["line 2", "undefined"])]
#[case::peer(template("\n{% for db in instances['my-db'] %}{{ db.version }}{% endfor %}"),
    &["line 2", "undefined", "my-db has no version: set it in its desired"])]
#[case::peers(template("{{ instances['my-db']|map(attribute='version')|join(',') }}"),
    &["line 1", "undefined", "my-db has no version"])]
#[case::none(template("port = {{ none }}"), &["app.conf, line 1", "undefined"])]
#[case::first(template("{{ instances['my-db'][1:]|first }}"), &["line 1", "undefined"])]
#[case::otherwise(template("{{ 'x' if port == 1 }}"), &["line 1", "undefined"])]
#[case::long(template("{% for a in range(10000) %}{{ 'x' * 1000 }}{% endfor %}"), &["app.conf", "longer than 4194304 bytes"])]
#[case::repeated(template("{{ 'a' * 600000000 }}"), &["app.conf, line 1", "too large"])]
#[case::label(template("{{ labels.zone }}"), &["line 1", "undefined"])]
#[case::service(template("{{ instances.cache[0] }}"), &["line 1", "undefined"])]
#[case::syntax(template("ok\n{% for %}"), &["app.conf, line 2", "syntax error"])]
#[case::mode(ConfigFile { mode: Some("0999".into()), ..text("x") }, &["files.app.conf.mode: ", "\"0999\""])]
#[case::setuid(ConfigFile { mode: Some("4755".into()), ..text("x") }, &["files.app.conf.mode: ", "\"4755\""])]
#[case::owner(ConfigFile { owner: Some("root\nx".into()), ..text("x") }, &["files.app.conf.owner: is no user's"])]
#[case::group(ConfigFile { group: Some("-x".into()), ..text("x") }, &["files.app.conf.group: is no user's"])]
#[case::base64(ConfigFile { text: None, base64: Some("!".into()), ..text("") }, &["app.conf: base64"])]
#[case::neither(ConfigFile { text: None, ..text("") }, &["neither text nor base64"])]
#[case::both(ConfigFile { base64: Some(String::new()), ..text("") }, &["both text and base64"])]
#[tokio::test]
async fn what_cant_be_rendered_is_rejected_with_its_place(#[case] file: ConfigFile, #[case] words: &[&str]) {
    let host = Host::new();
    let error = host.stage(1, "", &revision(&[("app.conf", file)])).await.unwrap_err();
    assert!(error.rejected && words.iter().all(|word| error.message.contains(word)), "{error}");
    assert!(!error.message.contains(char::is_control), "{error:?}");
    assert!(host.names().is_empty());
}

#[tokio::test]
async fn what_may_be_absent_can_be_asked_for() {
    let host = Host::new();
    let words = "{{ address|default('127.0.0.1') }} {% if address is defined %}x{% else %}none{% endif %} \
                 {{ instances['my-db']|map(attribute='host')|join('+') }} {{ [1, 2]|join }}";
    host.stage(1, "", &revision(&[("app.conf", template(words))])).await.unwrap();
    host.configurations.switch(&host.wanted(1)).unwrap();
    assert_eq!(host.read("app.conf"), "127.0.0.1 none db1 12");
}

#[tokio::test]
async fn a_revision_can_only_become_so_large() {
    let host = Host::new();
    let large = template("{% for a in range(4) %}{{ 'x' * 1000000 }}{% endfor %}");
    let files: Vec<_> = ["a", "b", "c", "d", "e"].map(|path| (path, large.clone())).into();
    host.stage(1, "", &revision(&files[..4])).await.unwrap();
    let error = host.stage(2, "", &revision(&files)).await.unwrap_err();
    assert!(error.rejected && error.message.contains("e: the revision's files become more than 16777216"), "{error}");
}

#[tokio::test]
async fn a_check_looks_at_the_new_files_by_their_own_paths() {
    let host = Host::new();
    let old = revision(&[("app.conf", text("old"))]);
    host.stage(1, "", &old).await.unwrap();
    host.configurations.switch(&host.wanted(1)).unwrap();
    let new = revision(&[("app.conf", text("new")), ("conf.d/more", text("more"))]);
    let script = "set -e; test $(cat $ZKOPS_CONFIG_DIR/app.conf) = new; test -e $ZKOPS_CONFIG_DIR/conf.d/more; \
                  test $(basename $ZKOPS_CONFIG_DIR) = current@0000000001; test $(cat $1/app.conf) = new";
    host.stage(2, script, &new).await.unwrap();
    assert_eq!(host.read("app.conf"), "old");
}

#[rstest]
#[case(&["/etc/passwd"])]
#[case(&["../x"])]
#[case(&["a/../../x"])]
#[case(&["a/./b"])]
#[case(&["a//b"])]
#[case(&["a/"])]
#[case(&[""])]
#[case(&["."])]
#[case(&["a\nb"])]
#[case(&["a", "a/b"])]
#[case(&["a", "a.b", "a/b/c"])]
#[tokio::test]
async fn paths_that_lead_elsewhere_are_rejected(#[case] paths: &[&str]) {
    let host = Host::new();
    let files: Vec<_> = paths.iter().map(|path| (*path, text("x"))).collect();
    let error = host.stage(1, "", &revision(&files)).await.unwrap_err();
    assert!(error.rejected && error.message.contains("cannot be a file's path"), "{error}");
    assert!(host.names().is_empty() && !host.dir.path().join("x").exists());
}

#[tokio::test]
async fn what_a_check_refuses_is_not_there() {
    let host = Host::new();
    let files = revision(&[("app.conf", text("one"))]);
    let refused = host.stage(1, "echo app.conf:1: bad >&2; exit 1", &files).await.unwrap_err();
    assert!(refused.rejected && refused.message.ends_with("exited with status 1: app.conf:1: bad"), "{refused}");
    let crashed = host.stage(1, "kill -SEGV $$", &files).await.unwrap_err();
    assert!(crashed.rejected && crashed.message.contains("killed by a signal"), "{crashed}");
    let late = host.stage(1, "sleep 60", &files).await.unwrap_err();
    assert!(!late.rejected && late.message.contains("took too long"), "{late}");
    let policy = ConfigPolicy { check: vec!["/no/such".into()], ..ConfigPolicy::default() };
    let missing = host.configurations.stage(&host.wanted(1), &policy, &files, &host.facts).await.unwrap_err();
    assert!(missing.rejected && missing.message.contains("/no/such"), "{missing}");
    assert!(host.names().is_empty());
}

#[tokio::test]
async fn files_get_their_modes_and_owners() {
    let host = Host::new();
    let secret = ConfigFile { mode: Some("0640".into()), owner: Some("root".into()), ..text("x") };
    let binary = ConfigFile { text: None, base64: Some("AP8=".into()), mode: Some("444".into()), ..text("") };
    let files = revision(&[("conf.d/deep/secret", secret), ("binary", binary), ("plain", text("x"))]);
    host.stage(1, "", &files).await.unwrap();
    host.configurations.switch(&host.wanted(1)).unwrap();
    let dir = host.configurations.config_dir(&host.id.service, &host.unit);
    let mode = |path: &str| dir.join(path).metadata().unwrap().permissions().mode() & 0o7777;
    assert_eq!(["conf.d/deep/secret", "binary", "plain", "conf.d/deep"].map(mode), [0o640, 0o444, 0o644, 0o755]);
    assert_eq!(fs::read(dir.join("binary")).unwrap(), [0, 255]);
    let theirs = ConfigFile { owner: Some("4711".into()), group: Some("4712".into()), ..text("x") };
    let staged = host.stage(2, "", &revision(&[("theirs", theirs)])).await;
    if rustix::process::geteuid().is_root() {
        host.configurations.switch(&host.wanted(2)).unwrap();
        let found = dir.join("theirs").metadata().unwrap();
        assert_eq!((staged, found.uid(), found.gid()), (Ok(()), 4711, 4712));
    }
    let nobody = ConfigFile { owner: Some("zkops-nobody-here".into()), ..text("x") };
    let error = host.stage(3, "", &revision(&[("app.conf", nobody)])).await.unwrap_err();
    assert!(!error.rejected && error.message.contains("app.conf: there is no user"), "{error}");
}

#[tokio::test]
async fn a_folder_that_cant_be_made_may_be_fixed() {
    let host = Host::new();
    fs::write(host.dir.path().join("config"), "in the way").unwrap();
    let error = host.stage(1, "", &revision(&[("app.conf", text("x"))])).await.unwrap_err();
    assert!(!error.rejected && error.message.contains("cannot make"), "{error}");
    assert!(host.configurations.switch(&host.wanted(1)).is_err());
    host.configurations.prune(&host.id.service, &BTreeSet::new(), 1);
}

#[tokio::test]
async fn pruning_keeps_what_is_in_force_and_some_more() {
    let host = Host::new();
    let files = revision(&[("app.conf", text("x"))]);
    for number in 1..=4 {
        host.stage(number, "", &files).await.unwrap();
    }
    host.configurations.switch(&host.wanted(1)).unwrap();
    let left = host.dir.path().join("config/webapp/.new-9.00000000@0000000001");
    fs::create_dir(&left).unwrap();
    let units = BTreeSet::from([host.unit.clone()]);
    host.configurations.prune(&host.id.service, &units, 0);
    assert!(!left.exists());
    let revisions: Vec<_> = host.names().iter().map(|name| name.split('.').next().unwrap().to_owned()).collect();
    assert_eq!(revisions, ["1", "4", "current@0000000001"]);
    host.configurations.prune(&host.id.service, &BTreeSet::new(), 2);
    assert!(host.names().is_empty());
}

#[test]
fn a_folder_is_read_as_a_revision() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("conf.d")).unwrap();
    fs::write(path("app.conf.j2"), "{{ port }}\n").unwrap();
    fs::write(path("conf.d/site"), "site").unwrap();
    fs::write(path("binary"), [0xff, 0]).unwrap();
    fs::set_permissions(path("conf.d/site"), fs::Permissions::from_mode(0o600)).unwrap();
    let expected = revision(&[
        ("app.conf", template("{{ port }}\n")),
        ("binary", ConfigFile { text: None, base64: Some("/wA=".into()), ..text("") }),
        ("conf.d/site", ConfigFile { mode: Some("0600".into()), ..text("site") }),
    ]);
    assert_eq!(read_folder(dir.path()), Ok(expected));
    assert_eq!(read_folder(dir.path()), read_folder(dir.path()));
}

#[test]
fn a_folder_that_is_no_revision_is_refused() {
    let refused = |prepare: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        read_folder(dir.path()).unwrap_err().message
    };
    let write = |dir: &Path, name: &str, size: usize| fs::write(dir.join(name), vec![b'x'; size]).unwrap();
    assert!(refused(&|_| ()).contains("holds no files"));
    assert!(refused(&|dir| symlink("/etc/passwd", dir.join("link")).unwrap()).contains("link: is a symbolic link"));
    assert!(
        refused(&|dir| drop(std::os::unix::net::UnixListener::bind(dir.join("s")).unwrap())).contains("is no file")
    );
    assert!(refused(&|dir| ["a", "a.j2"].iter().for_each(|name| write(dir, name, 1))).contains("with and without .j2"));
    assert!(refused(&|dir| fs::write(dir.join("a.j2"), "\n{% if %}").unwrap()).contains("a, line 2: syntax error"));
    assert!(refused(&|dir| fs::write(dir.join("a.j2"), [0xff]).unwrap()).contains("cannot be a template"));
    let large =
        refused(&|dir| [("a", 1), ("b", 300_000), ("c", 250_000)].iter().for_each(|(n, size)| write(dir, n, *size)));
    assert!(
        large.contains("524288 are allowed") && large.ends_with("are b (300000 bytes), c (250000 bytes), a (1 bytes)")
    );
    // Small enough as it is, too large as a document.
    let escaped = refused(&|dir| fs::write(dir.join("quotes"), vec![b'"'; 300_000]).unwrap());
    assert!(escaped.contains("quotes (300000 bytes)"), "{escaped}");
    assert!(read_folder(Path::new("/no/such/folder")).unwrap_err().message.contains("/no/such/folder"));
}
