//! Where a service's versions come from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Problem, Span,
    check::{command_problems, line_problems},
};

/// Where the versions come from: at most one of `archive`, `apt`, `nix` and `exec`; none = whatever is installed.
///
/// Texts may contain `{version}`, and this machine's architecture as the kernel (`{arch}`: `x86_64`, `aarch64`), Debian
/// (`{debarch}`: `amd64`, `arm64`) or Go (`{goarch}`) calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// A tar archive over HTTP, verified and unpacked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveSource>,
    /// A Debian package. The agent's `accept_packages` must allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apt: Option<AptSource>,
    /// A Nix store path. The agent's `accept_packages` must allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nix: Option<NixSource>,
    /// A command of your own. The agent's `accept_commands` must allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecSource>,
    /// How long one attempt to fetch a version may take; 5 minutes by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// How many releases stay on a host beside those in use; 2 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
}

/// A tar archive: `.tar.gz`, `.tgz`, `.tar.zst` or `.tar`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveSource {
    /// Its URL, `http` or `https`.
    pub url: String,
    /// The archive's SHA-256 in hexadecimal, by version; by `VERSION/ARCHITECTURE`, with any of the architecture's names,
    /// where each has an archive of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sha256: BTreeMap<String, String>,
    /// Where the SHA-256 is found, in the format of sha256sum(1) or of BSD's sha256(1), when `sha256` does not have the version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256_url: Option<String>,
    /// The minisign public key (`RW…`) that must have signed the archive; the signature is at the URL with `.minisig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minisign_key: Option<String>,
    /// How many leading folders of each path in the archive are left out, as `tar --strip-components` does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub strip_components: u32,
}

/// A Debian package, installed by apt-get(8) as `package=version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AptSource {
    /// The package's name.
    pub package: String,
}

/// A Nix store path, realised and set as a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NixSource {
    /// The store path; `{version}` alone when the version is the path.
    pub store_path: String,
}

/// A command that brings a version onto the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSource {
    /// The program, by its absolute path, and its arguments; no shell. It sees `ZKOPS_SERVICE`, `ZKOPS_VERSION`,
    /// `ZKOPS_HOST` and `ZKOPS_RELEASE_DIR`: an empty folder, which is the release when the command exits with 0.
    pub command: Vec<String>,
}

impl Source {
    /// Whether nothing is set.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing is to be fetched.
    pub fn is_none(&self) -> bool {
        self.archive.is_none() && self.apt.is_none() && self.nix.is_none() && self.exec.is_none()
    }

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |bad: bool, key: &str, message: &str| {
            if bad {
                problems.push(Problem::new(key, message));
            }
        };
        let kinds = [self.archive.is_some(), self.apt.is_some(), self.nix.is_some(), self.exec.is_some()];
        let count = kinds.into_iter().filter(|there| *there).count();
        check(count > 1, "source", "takes one of archive, apt, nix and exec");
        check(self.timeout.is_some_and(|timeout| timeout.get().is_zero()), "source.timeout", "must not be nothing");
        if let Some(archive) = &self.archive {
            let web = |url: &str| url.starts_with("http://") || url.starts_with("https://");
            check(!web(&archive.url), "source.archive.url", "must begin with http:// or https://");
            let sum_url = archive.sha256_url.as_deref();
            check(sum_url.is_some_and(|url| !web(url)), "source.archive.sha256_url", "must begin with http(s)://");
            let unverified = archive.sha256.is_empty() && sum_url.is_none() && archive.minisign_key.is_none();
            let message = "nothing would verify the archive: give sha256, sha256_url or minisign_key";
            check(unverified, "source.archive", message);
            for (version, sum) in &archive.sha256 {
                let good = sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_hexdigit());
                check(!good, &format!("source.archive.sha256.{version}"), "is not 64 hexadecimal digits");
            }
        }
        if let Some(apt) = &self.apt {
            let message = "is no name of a Debian package: lower-case letters, digits and + - .";
            check(!is_debian_package(&apt.package), "source.apt.package", message);
        }
        problems.extend(self.exec.iter().flat_map(|exec| command_problems("source.exec.command", &exec.command)));
        problems.extend(line_problems(self.lines()));
        problems
    }

    /// Its texts that have to be one line each, by their keys.
    fn lines(&self) -> Vec<(String, &str)> {
        let archive = self.archive.iter().flat_map(|archive| {
            let digests = archive.sha256.keys().map(|version| ("sha256", version));
            let (sum_url, key) = (archive.sha256_url.as_ref(), archive.minisign_key.as_ref());
            let others = [("url", Some(&archive.url)), ("sha256_url", sum_url), ("minisign_key", key)];
            let others = others.into_iter().filter_map(|(key, text)| Some((key, text?)));
            // As it is read: without what is around it.
            digests.chain(others).map(|(key, text)| (format!("source.archive.{key}"), text.trim()))
        });
        let nix = self.nix.iter().map(|nix| ("source.nix.store_path".to_owned(), nix.store_path.as_str()));
        archive.chain(nix).collect()
    }

    /// What is wrong with a version of this source beyond what any version must be.
    pub fn version_problems(&self, version: &str) -> Vec<Problem> {
        let bad = self.apt.is_some() && !is_debian_version(version);
        let problem =
            || Problem::new("version", format!("{version:?} is no version of a Debian package (deb-version(7))"));
        bad.then(problem).into_iter().collect()
    }
}

/// Debian policy, 5.6.7: at least two characters, the first a letter or digit.
fn is_debian_package(name: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    name.len() >= 2 && name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(word)
}

/// deb-version(7), and narrower at both ends: apt-get(8) takes a first `-` for an option, a last `-` or `+` for an order
/// to remove or install, and a `/` for a path or a release.
fn is_debian_version(version: &str) -> bool {
    let (epoch, rest) = version.split_once(':').map_or((None, version), |(epoch, rest)| (Some(epoch), rest));
    let is_epoch = epoch.is_none_or(|epoch| !epoch.is_empty() && epoch.bytes().all(|byte| byte.is_ascii_digit()));
    let word = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
    let begins = rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    is_epoch && begins && rest.chars().all(word) && !rest.ends_with(['-', '+'])
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}
