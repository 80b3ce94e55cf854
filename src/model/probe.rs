//! Probes: whether a replica is ready for work, and whether it is still alive. Names and defaults as in Kubernetes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Problem, Span,
    check::{command_problems, line_problems},
    read_number,
};

/// What a probe's `host` says for the host's own address, as its agent.toml has it.
pub const OWN_ADDRESS: &str = "{address}";

/// A service's probes. Without a readiness probe a replica is ready while its unit is active (which for `Type=notify`
/// means that it said so).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probes {
    /// Ready = in `instances`; not ready = out of it, at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Probe>,
    /// Failing = the unit is restarted, at most so often as `restart.limit_burst` within `restart.limit_interval`
    /// says; then the replica is failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub liveness: Option<Probe>,
}

/// One probe: exactly one of `systemd`, `tcp`, `http`, `exec` and `zookeeper`, and its timing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probe {
    /// The unit is active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub systemd: Option<SystemdCheck>,
    /// A TCP connection is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpCheck>,
    /// An HTTP request is answered as wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCheck>,
    /// A command exits with 0. The agent's `accept_commands` must allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecCheck>,
    /// A `ZooKeeper` server answers a four-letter word as a healthy one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zookeeper: Option<ZooKeeperCheck>,
    /// How long after the unit became active the first check is made.
    pub initial_delay: Span,
    /// How long from the beginning of one check to that of the next. Until a replica that was started is ready for the
    /// first time, it is checked more often.
    pub period: Span,
    /// How long a check may take; longer is a failure.
    pub timeout: Span,
    /// So many successes in a row make it succeed. 1 for liveness.
    pub success_threshold: u32,
    /// So many failures in a row make it fail.
    pub failure_threshold: u32,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            systemd: None,
            tcp: None,
            http: None,
            exec: None,
            zookeeper: None,
            initial_delay: Span::ZERO,
            period: Span::from_secs(10),
            timeout: Span::from_secs(1),
            success_threshold: 1,
            failure_threshold: 3,
        }
    }
}

/// What a probe does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeCheck<'a> {
    /// See [`Probe::systemd`].
    Systemd(&'a SystemdCheck),
    /// See [`Probe::tcp`].
    Tcp(&'a TcpCheck),
    /// See [`Probe::http`].
    Http(&'a HttpCheck),
    /// See [`Probe::exec`].
    Exec(&'a ExecCheck),
    /// See [`Probe::zookeeper`].
    ZooKeeper(&'a ZooKeeperCheck),
}

/// The unit is active: nothing to set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemdCheck {}

/// A TCP connection is accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TcpCheck {
    /// The host to connect to; `{address}` is the replica's own, as its agent.toml has it; `127.0.0.1` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port; the service's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// An HTTP/1.1 `GET` is answered as wanted. Redirections are answers, they are not followed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HttpCheck {
    /// The path, with its query; `/` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The host to connect to; `{address}` is the replica's own, as its agent.toml has it; `127.0.0.1` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port; the service's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The status codes that are a success: `"200"`, or a range `"200-299"`; `"200-399"` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// Request headers.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// A text that the first 64 KiB of the body must contain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Over TLS; the certificate is not verified, as with Kubernetes' probes: the probe asks a process on its own host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub tls: bool,
}

/// A command exits with 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCheck {
    /// The program, by its absolute path, and its arguments; no shell. It sees the replica's `ZKOPS_` variables.
    pub command: Vec<String>,
}

/// A `ZooKeeper` server answers a four-letter word: `ruok` with `imok`, `stat` and `srvr` with a mode.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ZooKeeperCheck {
    /// `ruok` (the default), `stat` or `srvr`; the server's `4lw.commands.whitelist` must allow it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The host to connect to; `{address}` is the replica's own, as its agent.toml has it; `127.0.0.1` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port; the service's when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl HttpCheck {
    /// The first and the last status code that are a success; `None` when `status` is neither a code nor a range.
    pub fn statuses(&self) -> Option<(u16, u16)> {
        let code = |text: &str| read_number(text.trim()).ok().filter(|code| (100..=599).contains(code));
        let Some(text) = &self.status else { return Some((200, 399)) };
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (code(first)?, code(last)?),
            None => (code(text)?, code(text)?),
        };
        (first <= last).then_some((first, last))
    }
}

impl Probe {
    /// The check; `None` unless there is exactly one.
    pub fn check(&self) -> Option<ProbeCheck<'_>> {
        let checks = [
            self.systemd.as_ref().map(ProbeCheck::Systemd),
            self.tcp.as_ref().map(ProbeCheck::Tcp),
            self.http.as_ref().map(ProbeCheck::Http),
            self.exec.as_ref().map(ProbeCheck::Exec),
            self.zookeeper.as_ref().map(ProbeCheck::ZooKeeper),
        ];
        let mut there = checks.into_iter().flatten();
        there.next().filter(|_| there.next().is_none())
    }

    /// The host that is connected to, if the check has one and says so.
    fn host(&self) -> Option<&str> {
        match self.check()? {
            ProbeCheck::Tcp(tcp) => tcp.host.as_deref(),
            ProbeCheck::Http(http) => http.host.as_deref(),
            ProbeCheck::ZooKeeper(zookeeper) => zookeeper.host.as_deref(),
            ProbeCheck::Systemd(_) | ProbeCheck::Exec(_) => None,
        }
    }

    fn problems(&self, key: &str, port: Option<u16>) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut check = |bad: bool, part: &str, message: &str| {
            if bad {
                let key = if part.is_empty() { key.to_owned() } else { format!("{key}.{part}") };
                problems.push(Problem::new(&key, message));
            }
        };
        check(self.check().is_none(), "", "needs exactly one of systemd, tcp, http, exec and zookeeper");
        check(self.period.get().is_zero(), "period", "must be longer than nothing");
        check(self.timeout.get().is_zero(), "timeout", "must be longer than nothing");
        check(self.success_threshold == 0, "success_threshold", "must be 1 or more");
        check(self.failure_threshold == 0, "failure_threshold", "must be 1 or more");
        let odd = self.host().is_some_and(|host| host != OWN_ADDRESS && host.contains(['{', '}', '/', ' ']));
        check(odd, "host", "must be a host's name, an IP address or {address}, the host's own from its agent.toml");
        let texts =
            [("host", self.host()), ("http.status", self.http.as_ref().and_then(|http| http.status.as_deref()))];
        let texts = texts.into_iter().filter_map(|(part, text)| Some((format!("{key}.{part}"), text?)));
        let broken = line_problems(texts);
        let no_port = "is missing, and the service has no port";
        match self.check() {
            Some(ProbeCheck::Tcp(tcp)) => check(tcp.port.or(port).is_none(), "tcp.port", no_port),
            Some(ProbeCheck::ZooKeeper(zookeeper)) => {
                check(zookeeper.port.or(port).is_none(), "zookeeper.port", no_port);
                let known = matches!(zookeeper.command.as_deref(), None | Some("ruok" | "stat" | "srvr"));
                check(!known, "zookeeper.command", "must be ruok, stat or srvr");
            }
            Some(ProbeCheck::Http(http)) => {
                check(http.port.or(port).is_none(), "http.port", no_port);
                check(http.statuses().is_none(), "http.status", "must be a status code or a range, as in \"200-299\"");
                let path = http.path.as_deref().unwrap_or("/");
                check(!path.starts_with('/'), "http.path", "must begin with /");
                let bad = |text: &str| text.chars().any(|c| c.is_control() || c == ' ');
                check(bad(path), "http.path", "must not have spaces or control characters; write them as %20");
                let headers = http.headers.iter();
                let control = |text: &str| text.chars().any(char::is_control);
                let odd = |(name, value): (&String, &String)| name.is_empty() || bad(name) || control(value);
                check(headers.into_iter().any(odd), "http.headers", "must have no spaces or control characters");
            }
            Some(ProbeCheck::Exec(exec)) => {
                problems.extend(command_problems(&format!("{key}.exec.command"), &exec.command));
            }
            Some(ProbeCheck::Systemd(_)) | None => {}
        }
        problems.extend(broken);
        problems
    }
}

impl Probes {
    /// Whether one of them asks the host by its own address.
    pub fn ask_own_address(&self) -> bool {
        [&self.readiness, &self.liveness].into_iter().flatten().any(|probe| probe.host() == Some(OWN_ADDRESS))
    }

    /// Whether one of them is a command.
    pub fn run_commands(&self) -> bool {
        [&self.readiness, &self.liveness].into_iter().flatten().any(|probe| probe.exec.is_some())
    }

    /// Whether there are none.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// What is wrong with the probes of a service with this port.
    pub(super) fn problems(&self, port: Option<u16>) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (key, probe) in [("probes.readiness", &self.readiness), ("probes.liveness", &self.liveness)] {
            problems.extend(probe.iter().flat_map(|probe| probe.problems(key, port)));
        }
        if self.liveness.as_ref().is_some_and(|probe| probe.success_threshold > 1) {
            problems.push(Problem::new("probes.liveness.success_threshold", "must be 1 for liveness"));
        }
        problems
    }
}
