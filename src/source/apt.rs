//! Releases that are Debian packages.
//!
//! Fetching downloads the package and all that it needs; switching installs it, for the whole host. Maintainer scripts
//! would start, restart or stop the package's units at once (deb-systemd-invoke(1), invoke-rc.d(8), or systemctl itself),
//! while zkops wants to choose the moment. `policy-rc.d` cannot help: its path is fixed, it belongs to the administrator,
//! and it would hold back the units of other packages too. All of these ways call `systemctl` by its name, though, so a
//! small script of that name is put first on the `PATH` of maintainer scripts (apt's `DPkg::Path`, apt 1.9 and later): it
//! leaves out the units that zkops drives and hands on the rest. needrestart(1) is told to stand back.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use super::{
    SourceError,
    command::{self, Environment, Order, Outcome},
    folder::Folder,
    link,
};
use crate::{blocking, model::UnitName};

/// What stands in for systemctl(1).
const SYSTEMCTL: &str = include_str!("systemctl.sh");

/// dpkg's record of all packages; it changes with each of them.
const STATUS: &str = "/var/lib/dpkg/status";

/// How long dpkg's lock is waited for, in seconds.
const LOCK_WAIT: u32 = 60;

/// Debian packages on this host.
#[derive(Debug)]
pub(super) struct Apt {
    /// The folder for the stand-in.
    dir: PathBuf,
    /// One apt-get of ours at a time.
    lock: tokio::sync::Mutex<()>,
    /// What is installed, by package, and when dpkg's record changed last when that was asked.
    known: Arc<Known>,
}

/// What dpkg said of packages, each with the time of its record's last change then.
#[derive(Debug, Default)]
struct Known(Mutex<BTreeMap<String, (SystemTime, Option<Installed>)>>);

/// A package as dpkg has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Installed {
    /// Its version.
    version: String,
    /// Whether it is on hold (apt-mark(8)). zkops changes it all the same: a hold keeps others from it.
    held: bool,
}

impl Apt {
    /// With its own files below `dir`.
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, lock: tokio::sync::Mutex::default(), known: Arc::default() }
    }

    /// Whether this version of the package is installed. dpkg is asked only when its record has changed. May block.
    pub(super) fn has(&self, package: &str, version: &str) -> bool {
        self.known.installed(package).is_some_and(|installed| installed.version == version)
    }

    /// The package as dpkg has it, asked beside the loop.
    async fn installed(&self, package: &str) -> Option<Installed> {
        let (known, package) = (Arc::clone(&self.known), package.to_owned());
        blocking::PACKAGES.run(move || known.installed(&package)).await
    }

    /// Downloads the package and what it needs.
    pub(super) async fn fetch(
        &self,
        package: &str,
        version: &str,
        folder: &Folder,
        limit: Duration,
    ) -> Result<(), SourceError> {
        check(package, version)?;
        let _one = self.lock.lock().await;
        let held = self.installed(package).await.is_some_and(|installed| installed.held);
        let mut arguments = vec!["--download-only".to_owned()];
        arguments.extend(install(package, version, held));
        let download = apt_get(arguments, Vec::new(), Some(limit));
        let mut outcome = run(&download).await?;
        if is_unknown(&outcome.output) {
            // The lists may be old. One list that cannot be had is no harm when the version is in another.
            let update = vec!["-o".into(), "APT::Update::Error-Mode=any".into(), "update".into()];
            let updated = run(&apt_get(update, Vec::new(), Some(limit))).await?;
            outcome = run(&download).await?;
            if is_unknown(&outcome.output) && updated.status != Some(0) {
                return Err(SourceError::passing(format!("apt-get update {}", updated.words())));
            }
        }
        judge(&outcome, package, version)?;
        let (mark, text) = (folder.mark(version), package.to_owned());
        let written = blocking::beside(move || write_mark(&mark, &text)).await;
        written.map_err(|error| SourceError::io(folder.path().display(), &error))
    }

    /// Whether [`Self::fetch`] has done its work for this version.
    pub(super) fn is_fetched(&self, package: &str, version: &str, folder: &Folder) -> bool {
        fs::read_to_string(folder.mark(version)).is_ok_and(|text| text == package) || self.has(package, version)
    }

    /// Installs the package, leaving its units as they are.
    pub(super) async fn install(&self, package: &str, version: &str, unit: &UnitName) -> Result<(), SourceError> {
        check(package, version)?;
        let _one = self.lock.lock().await;
        let before = self.installed(package).await;
        if before.as_ref().is_some_and(|installed| installed.version == version) {
            return Ok(());
        }
        let held = before.is_some_and(|installed| installed.held);
        let dir = self.dir.clone();
        let path = blocking::beside(move || stand_in(&dir)).await;
        let path = path.map_err(|error| SourceError::io(self.dir.display(), &error))?;
        let mut arguments = vec!["-o".to_owned(), format!("DPkg::Path={}", path.display())];
        arguments.extend(install(package, version, held));
        let environment = vec![("ZKOPS_HELD_UNITS".into(), unit.to_string())];
        let order = apt_get(arguments, environment.clone(), None);
        let mut outcome = run(&order).await?;
        if outcome.output.contains("dpkg --configure -a") {
            // An earlier dpkg was cut short, as by a power loss.
            run(&repair(&path, environment)).await?;
            outcome = run(&order).await?;
        }
        if held {
            // Installing takes the hold away.
            hold(package).await;
        }
        self.known.forget(package);
        judge(&outcome, package, version)?;
        match self.installed(package).await {
            Some(installed) if installed.version == version => Ok(()),
            found => {
                let found =
                    found.map_or_else(|| "is not installed".to_owned(), |found| format!("is {}", found.version));
                Err(SourceError::passing(format!("apt-get installed {package}={version}, but it {found}")))
            }
        }
    }
}

impl Known {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (SystemTime, Option<Installed>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock is not held while dpkg is asked: others are known.
    fn installed(&self, package: &str) -> Option<Installed> {
        let changed = fs::metadata(STATUS).and_then(|found| found.modified()).ok()?;
        if let Some((_, installed)) = self.lock().get(package).filter(|(at, _)| *at == changed) {
            return installed.clone();
        }
        let installed = query(package).ok()?;
        self.lock().insert(package.to_owned(), (changed, installed.clone()));
        installed
    }

    fn forget(&self, package: &str) {
        self.lock().remove(package);
    }
}

/// Writes the stand-in; the `PATH` that has it first.
fn stand_in(dir: &Path) -> io::Result<PathBuf> {
    link::make_dir(dir)?;
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(SYSTEMCTL.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o755))?;
    file.into_temp_path().persist(dir.join("systemctl"))?;
    Ok(format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", dir.display()).into())
}

/// The names and versions that Debian allows, less what apt-get would take for something else: a file (it has a `/`), an
/// option, a pattern, or a wish to remove or to install (it ends in `-` or `+`). Whatever the tree says, what is
/// installed comes from this host's repositories.
fn check(package: &str, version: &str) -> Result<(), SourceError> {
    let named = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !package.starts_with(lower) || package.len() < 2 || !package.chars().all(named) {
        return Err(SourceError::rejected(format!(
            "{package:?} is no name of a Debian package: see source.apt.package"
        )));
    }
    let word = |c: char| c.is_ascii_alphanumeric() || ".+~:-".contains(c);
    let good = version.starts_with(|c: char| c.is_ascii_digit()) && version.chars().all(word);
    if good && !version.ends_with(['-', '+']) {
        return Ok(());
    }
    let rule = "write it as dpkg does, as in 1.2.3-1";
    Err(SourceError::rejected(format!("{version:?} is no version of a Debian package: {rule}")))
}

/// What installs the package. Nothing is removed for it, and configuration files stay as the administrator has them.
fn install(package: &str, version: &str, held: bool) -> Vec<String> {
    let mut arguments = vec!["--yes", "--allow-downgrades", "--no-remove"];
    arguments.extend(held.then_some("--allow-change-held-packages"));
    arguments.extend([
        "-o",
        "Dpkg::Options::=--force-confdef",
        "-o",
        "Dpkg::Options::=--force-confold",
        "install",
        "--",
    ]);
    let mut arguments: Vec<_> = arguments.into_iter().map(str::to_owned).collect();
    arguments.push(format!("{package}={version}"));
    arguments
}

fn apt_get(arguments: Vec<String>, mut environment: Environment, limit: Option<Duration>) -> Order {
    let mut command = vec!["apt-get".to_owned(), "-q".to_owned()];
    command.extend(["-o".to_owned(), format!("DPkg::Lock::Timeout={LOCK_WAIT}")]);
    command.extend(arguments);
    environment.extend(quiet());
    Order { command, environment, limit, ..Order::default() }
}

fn repair(path: &Path, mut environment: Environment) -> Order {
    let path = format!("PATH={}", path.display());
    let command = ["env", &path, "dpkg", "--force-confdef", "--force-confold", "--configure", "-a"];
    environment.extend(quiet());
    Order { command: command.map(str::to_owned).to_vec(), environment, ..Order::default() }
}

/// Puts the package on hold again.
async fn hold(package: &str) {
    let command = ["apt-mark", "hold", "--", package].map(str::to_owned).to_vec();
    match run(&Order { command, environment: quiet(), ..Order::default() }).await {
        Ok(outcome) if outcome.status == Some(0) => {}
        Ok(outcome) => tracing::warn!("apt-mark hold {package} {}", outcome.words()),
        Err(error) => tracing::warn!("apt-mark hold {package}: {error}"),
    }
}

/// Nobody is there to answer questions, and nothing else is to restart services.
fn quiet() -> Environment {
    [("DEBIAN_FRONTEND", "noninteractive"), ("APT_LISTCHANGES_FRONTEND", "none"), ("NEEDRESTART_SUSPEND", "1")]
        .map(|(name, value)| (name.into(), value.to_owned()))
        .into()
}

async fn run(order: &Order) -> Result<Outcome, SourceError> {
    let program = order.command.first().map_or("", String::as_str);
    command::run(order).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::rejected(format!("{program}: {error}")),
        _ => SourceError::io(program, &error),
    })
}

/// Whether apt-get does not know such a version, or such a package.
fn is_unknown(output: &str) -> bool {
    let version = output.lines().any(|line| line.starts_with("E: Version ") && line.ends_with("was not found"));
    version || output.contains("E: Unable to locate package") || output.contains("has no installation candidate")
}

/// What apt-get's end means. Errors that may pass are looked for first: a full disk makes dpkg fail like a bad package.
fn judge(outcome: &Outcome, package: &str, version: &str) -> Result<(), SourceError> {
    if outcome.status == Some(0) {
        return Ok(());
    }
    let has = |words: &[&str]| words.iter().any(|words| outcome.output.contains(words));
    let locked = ["Could not get lock", "Unable to lock", "Unable to acquire", "is locked by another process"];
    let full = ["No space left on device", "You don't have enough free space", "Disk quota exceeded"];
    let hopeless = [
        "unmet dependencies",
        "Unable to correct problems",
        "but remove is disabled",
        "without --allow-unauthenticated",
        "Sub-process /usr/bin/dpkg returned an error code",
    ];
    let what = format!("apt-get install {package}={version}");
    if outcome.late || has(&locked) {
        Err(SourceError::passing(format!("{what} {}", outcome.words())))
    } else if has(&full) {
        Err(SourceError::passing(format!("{what}: the disk is full")))
    } else {
        let rejected = is_unknown(&outcome.output) || has(&hopeless);
        Err(SourceError { rejected, message: format!("{what} {}", outcome.words()) })
    }
}

/// Asks dpkg for a package; an error when dpkg cannot be asked.
fn query(package: &str) -> io::Result<Option<Installed>> {
    blocking::may_block();
    let format = "--showformat=${db:Status-Want} ${db:Status-Status} ${Version}\n";
    let mut command = Command::new("/usr/bin/dpkg-query");
    command.args(["--show", format, "--", package]).env("LC_ALL", "C.UTF-8").stdin(Stdio::null()).stderr(Stdio::null());
    Ok(parse(&String::from_utf8_lossy(&command.output()?.stdout)))
}

/// The first installed one of dpkg-query's lines, of which a package has one for each architecture.
fn parse(lines: &str) -> Option<Installed> {
    lines.lines().find_map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
        [want, "installed", version] if !version.is_empty() => {
            Some(Installed { version: version.to_owned(), held: want == "hold" })
        }
        _ => None,
    })
}

fn write_mark(mark: &Path, package: &str) -> io::Result<()> {
    link::make_dir(mark.parent().unwrap_or(Path::new("/")))?;
    fs::write(mark, package)
}

#[cfg(test)]
mod tests;
