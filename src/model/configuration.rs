//! A service's configuration: immutable revisions in the tree, and how a host brings one into force.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use serde::{Deserialize, Serialize};

use super::{
    Problem, Span,
    check::{command_problems, line_problems, shown},
    text::is_unprintable,
};

/// How a configuration revision comes into force on a host. A service without it has no files in the tree; its
/// `config_version` is then a mere number, whose change reloads the unit (or restarts it when it cannot reload).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConfigPolicy {
    /// A command that says whether the new files are good, before they are swapped in: the program's absolute path and
    /// its arguments, in which `{dir}` is the folder with the new files; it also sees `ZKOPS_CONFIG_DIR`. 0 = good.
    /// The agent's `accept_commands` must allow it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub check: Vec<String>,
    /// How long `check` may take; 30 s by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_timeout: Option<Span>,
    /// What makes a running process read the new files.
    pub apply: ConfigApply,
    /// How many revisions are kept in the tree beside those in use; [`ConfigPolicy::KEEP`] by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
    /// The signal of `apply = "signal"`, as signal(7) names it; `SIGHUP` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

/// What makes a running process read a new configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConfigApply {
    /// `systemctl reload`; a restart when the unit cannot reload.
    #[default]
    Reload,
    /// A restart.
    Restart,
    /// A signal to the main process. Nothing tells whether it worked but the probes.
    Signal,
}

/// `/services/<svc>/config/<n>`: one revision, immutable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRevision {
    /// By their path below the configuration's folder, as in `conf.d/site.conf`.
    pub files: BTreeMap<String, ConfigFile>,
    /// What the person who pushed it said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// One file of a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Its text; for a template, the template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Its bytes in base64, for what is no text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Its permissions in octal, as in `"0640"`; `"0644"` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Its owner on the host, by name; root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Its group on the host, by name; root when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Whether it is a template (minijinja), rendered for each replica.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub template: bool,
}

impl ConfigRevision {
    /// The largest revision, in bytes of its document.
    pub const MAX_BYTES: usize = super::MAX_DOCUMENT_BYTES;

    /// What is wrong with it beyond its shape: paths that lead elsewhere, permissions and names that are none.
    pub fn problems(&self) -> Vec<Problem> {
        let of_files = self.files.iter().flat_map(|(path, file)| {
            let of_file =
                file.problems().into_iter().map(move |problem| problem.within(&format!("files.{}", shown(path))));
            self.path_problem(path).into_iter().chain(of_file)
        });
        of_files.collect()
    }

    /// Refuses a path that leads elsewhere, and a file where another one needs a folder.
    fn path_problem(&self, path: &str) -> Option<Problem> {
        let plain = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
        // A name of "." between others, or "//", is passed over silently by components().
        let as_is = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        let above = Path::new(path).ancestors().skip(1).filter_map(Path::to_str);
        let file_above = above.into_iter().find(|above| self.files.contains_key(*above));
        let why = if !plain || !as_is {
            "write a path below the configuration's folder, without \"..\"".to_owned()
        } else if path.chars().any(is_unprintable) {
            "it contains a control character".to_owned()
        } else if path.split('/').any(|part| part.len() > 255) {
            "a name in it is longer than 255 bytes".to_owned()
        } else if let Some(above) = file_above {
            format!("\"{}\" is a file of its own", shown(above))
        } else {
            return None;
        };
        Some(Problem::new("files", format!("\"{}\" cannot be a file's path: {why}", shown(path))))
    }
}

impl ConfigFile {
    /// Its permissions; `0644` when it names none. `None` = what it names is none.
    pub fn permissions(&self) -> Option<u32> {
        let text = self.mode.as_deref().unwrap_or("0644");
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777 && text.len() <= 5)
    }

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.permissions().is_none() {
            let message = format!("{:?} is none: write it in octal, as in \"0640\", 0777 at most", self.mode);
            problems.push(Problem::new("mode", message));
        }
        for (key, name) in [("owner", &self.owner), ("group", &self.group)] {
            let message =
                "is no user's or group's name: no control character, : or /, no space around it, 1 to 255 bytes";
            if name.as_deref().is_some_and(|name| !is_account(name)) {
                problems.push(Problem::new(key, message));
            }
        }
        problems
    }
}

/// Whether the text can be a user's or a group's name, by what systemd calls the relaxed rules, or its number.
fn is_account(name: &str) -> bool {
    let word = |c: char| !is_unprintable(c) && !matches!(c, ':' | '/');
    let begins = !name.starts_with('-') && !matches!(name, "." | "..");
    (1..=255).contains(&name.len()) && begins && name.trim() == name && name.chars().all(word)
}

impl ConfigPolicy {
    /// How many revisions are kept beside those in use, unless it says otherwise.
    pub const KEEP: u32 = 20;

    pub(super) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if !self.check.is_empty() {
            problems.extend(command_problems("config.check", &self.check));
        }
        if self.check_timeout.is_some_and(|timeout| timeout.get().is_zero()) {
            problems.push(Problem::new("config.check_timeout", "must not be nothing"));
        }
        if self.signal.is_some() && self.apply != ConfigApply::Signal {
            problems.push(Problem::new("config.signal", "is only sent with apply = \"signal\""));
        }
        problems.extend(line_problems(self.signal.iter().map(|name| ("config.signal".to_owned(), name.trim()))));
        problems
    }
}
