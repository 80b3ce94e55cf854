//! Templates that take all they can get, rendered as the agent has it done: none takes more than its process may have.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path};

use rstest::rstest;
use zkops::{
    configuration::{ConfigurationError, Configurations, Facts, Renderer, Wanted},
    model::{ConfigFile, ConfigPolicy, ConfigRevision},
};

/// How much more this process may have, in KiB, for a text of 4 MiB and its way here.
const OWN_KIB: u64 = 32 * 1024;

async fn stage(text: &str, dir: &Path) -> Result<String, ConfigurationError> {
    let configurations = Configurations::new(dir, Renderer::Process(env!("CARGO_BIN_EXE_zkops").into()));
    let (id, unit) = ("webapp.0000000001".parse().unwrap(), "webapp@0000000001.service".parse().unwrap());
    let wanted = Wanted { id: &id, unit: &unit, revision: 1, version: Some("v1"), port: Some(80) };
    let facts = Facts {
        host: "web1".parse().unwrap(),
        address: None,
        labels: BTreeMap::new(),
        release_dir: None,
        instances: BTreeMap::new(),
    };
    let file =
        ConfigFile { text: Some(text.into()), base64: None, mode: None, owner: None, group: None, template: true };
    let files = BTreeMap::from([("app.conf".to_owned(), file)]);
    let revision = ConfigRevision { files, message: None };
    configurations.stage(&wanted, &ConfigPolicy::default(), &revision, &facts).await?;
    configurations.switch(&wanted).unwrap();
    Ok(fs::read_to_string(configurations.config_dir(&id.service, &unit).join("app.conf")).unwrap())
}

/// The most memory that this process has had, in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_template_is_rendered() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(stage("{{ host }}:{{ port }} {{ config_version }}\n", dir.path()).await.unwrap(), "web1:80 1\n");
    let dir = tempfile::tempdir().unwrap();
    let error = stage("\n{{ address }}", dir.path()).await.unwrap_err().message;
    assert!(error.contains("app.conf, line 2: undefined") && error.contains("web1 has no address"), "{error}");
}

const MEMORY: &str = "app.conf: the template takes more than 64 MiB of memory";

#[rstest]
#[case::doubled(
    "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    MEMORY
)]
#[case::added(
    "{% set ns = namespace(x='x') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    MEMORY
)]
#[case::multiplied("{% set x = 'x' * 90000000 %}{{ x|length }}", MEMORY)]
#[case::listed("{{ ([1] * 1000000000)|list|length }}", MEMORY)]
#[case::collected(
    "{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x, 'x' * (9000000 + i)] %}{% endfor %}",
    MEMORY
)]
#[case::captured("{% set x %}{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}{% endset %}", MEMORY)]
#[case::filtered("{% filter upper %}{% for i in range(99999) %}{{ 'x' * 10000 }}{% endfor %}{% endfilter %}", MEMORY)]
#[case::replaced("{{ ('x' * 1000000)|replace('x', 'x' * 1000)|length }}", MEMORY)]
#[case::indented("{{ ('x\n' * 1000000)|indent(1000)|length }}", MEMORY)]
#[case::padded("{{ ('%0999999999d'|format(1))|length }}", "app.conf")]
#[case::sliced("{{ range(99999)|batch(999999999, 'x')|list|length }}", "app.conf")]
#[case::nested(
    "{% set ns = namespace(x=[]) %}{% for i in range(3) %}{% for j in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}{% endfor %}",
    "nests its values too deeply"
)]
#[case::recursive("{% macro m(x) %}{{ m(x ~ 'x') }}{% endmacro %}{{ m('x') }}", "app.conf")]
#[case::searched(
    "{{ 2 in ([1] * 1000000000000) }}",
    "app.conf: the template takes more than 5 s of a processor's time"
)]
#[case::looped("{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}", "app.conf")]
#[case::told("{% set x = 'x' * 9000000 %}{{ x + 1 }}", "app.conf, line 1")]
#[tokio::test]
async fn a_template_that_takes_all_it_can_get_is_rejected(#[case] text: &str, #[case] says: &str) {
    let dir = tempfile::tempdir().unwrap();
    let before = peak();
    let error = stage(text, dir.path()).await.unwrap_err();
    assert!(error.rejected && error.message.contains(says) && error.message.len() < 2000, "{error}");
    // The kernel's counters are not exact to the page: the peak may be told a little lower than before.
    let more = peak().saturating_sub(before);
    assert!(more < OWN_KIB, "{more} KiB");
}
