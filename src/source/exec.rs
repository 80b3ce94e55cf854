//! Releases that a command of the service's own makes.

use std::{io, path::Path, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{
    SourceError, blocking,
    command::{self, Order, Outcome},
    folder::Folder,
    link, text,
};
use crate::model::{ExecSource, HostName, ServiceName};

/// The exit status by which a command says that trying again cannot help: `EX_DATAERR` of sysexits.h.
const HOPELESS: i32 = 65;

/// What a command is told.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) source: ExecSource,
    pub(super) service: ServiceName,
    pub(super) version: String,
    pub(super) host: HostName,
    pub(super) folder: Folder,
    pub(super) limit: Duration,
}

impl Attempt {
    /// Has the command fill a new folder, which then becomes the release. A command that an agent of before has left
    /// behind is ended first.
    pub(super) async fn run(self) -> Result<(), SourceError> {
        command::end_unit(&self.unit()).await;
        let (folder, version) = (self.folder.clone(), self.version.clone());
        let doing = format!("cannot make a folder in {}", folder.path().display());
        let new = blocking(move || {
            folder.clear(&version)?;
            folder.new_release(&version).map_err(|error| SourceError::io(doing, &error))
        });
        let new = new.await?;
        let outcome = command::run(&self.order(&new)).await;
        let judged = self.judge(outcome);
        blocking(move || {
            let doing = format!("cannot keep {}", new.display());
            let settle = || self.folder.settle(&new, &self.version).map_err(|error| SourceError::io(doing, &error));
            let settled = judged.and_then(|()| settle());
            if settled.is_err() {
                let _ = link::remove(&new);
            }
            settled
        })
        .await
    }

    fn order(&self, new: &Path) -> Order {
        let environment = vec![
            ("ZKOPS_SERVICE".into(), self.service.to_string()),
            ("ZKOPS_VERSION".into(), self.version.clone()),
            ("ZKOPS_HOST".into(), self.host.to_string()),
            ("ZKOPS_RELEASE_DIR".into(), new.display().to_string()),
        ];
        let command = self.source.command.iter().map(|word| text::fill(word, &self.version)).collect();
        Order { command, environment, limit: Some(self.limit), unit: Some(self.unit()), ..Order::default() }
    }

    /// The same for every attempt at this version: systemd runs it once at a time, whoever asks.
    fn unit(&self) -> String {
        let digest = Sha256::digest(self.version.as_bytes());
        format!("zkops-fetch-{}-{}.service", self.service, hex::encode(&digest[..8]))
    }

    fn judge(&self, outcome: io::Result<Outcome>) -> Result<(), SourceError> {
        let program = self.source.command.first().map_or("", String::as_str);
        let outcome = outcome.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => {
                SourceError::rejected(format!("{program}: {error}"))
            }
            _ => SourceError::io(program, &error),
        })?;
        match outcome.status {
            Some(0) => Ok(()),
            status => {
                let message = format!("{program} for {} {}", self.version, outcome.words());
                Err(SourceError { rejected: status == Some(HOPELESS), message })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;

    use crate::{
        model::{ExecSource, Source, Span},
        source::{SourceError, Sources, Wanted, folder::Folder},
    };

    /// Fetches v1 by a script; what is in the service's folder then, and what came of it.
    async fn fetch(script: &str) -> (Vec<String>, Result<(), SourceError>) {
        fetch_by(["/bin/sh", "-c", script, "sh", "{version}"].map(str::to_owned).to_vec()).await
    }

    async fn fetch_by(command: Vec<String>) -> (Vec<String>, Result<(), SourceError>) {
        let dir = tempfile::tempdir().unwrap();
        let (sources, id) = (Sources::new(dir.path()), "webapp.0000000001".parse().unwrap());
        let timeout = Some(Span::from_millis(2000));
        let source = Source { exec: Some(ExecSource { command }), timeout, ..Source::default() };
        let (unit, host) = ("webapp.service".parse().unwrap(), "web1".parse().unwrap());
        let wanted = Wanted { id: &id, unit: &unit, source: &source, version: "v1", host: &host };
        let result = sources.fetch(&wanted).await;
        if result.is_ok() {
            sources.switch(&wanted).await.unwrap();
            assert_eq!(
                fs::read_to_string(sources.link(&id.service, &unit).join("app")).unwrap(),
                "v1 webapp v1 web1\n"
            );
        }
        let names = fs::read_dir(dir.path().join("releases/webapp")).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        (names, result)
    }

    #[tokio::test]
    async fn a_command_makes_the_release() {
        let script = "echo $1 $ZKOPS_SERVICE $ZKOPS_VERSION $ZKOPS_HOST >$ZKOPS_RELEASE_DIR/app";
        assert_eq!(fetch(script).await, (vec!["current".to_owned(), "v1".to_owned()], Ok(())));
    }

    #[tokio::test]
    async fn words_arrive_as_they_are_written() {
        let words = ["${d} $$ $HOME", "%n%%", "a\\", "", "two\nlines", "'\"", ";", "*", "{version}", "{debarch"];
        let script = "printf '[%s]' \"$@\" >$ZKOPS_RELEASE_DIR/words; \
                      echo v1 webapp v1 web1 >$ZKOPS_RELEASE_DIR/app; cp $ZKOPS_RELEASE_DIR/words ";
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        let mut command = ["/bin/sh", "-c", &format!("{script}{}", kept.display()), "sh"].map(str::to_owned).to_vec();
        command.extend(words.map(str::to_owned));
        assert_eq!(fetch_by(command).await.1, Ok(()));
        let expected = words.map(|word| format!("[{}]", word.replace("{version}", "v1")));
        assert_eq!(fs::read_to_string(kept).unwrap(), expected.concat());
    }

    #[tokio::test]
    async fn attempts_share_no_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("webapp"));
        let (one, other) = (folder.new_release("v1").unwrap(), folder.new_release("v1").unwrap());
        assert_ne!(one, other);
        // What an agent of before was at, or could not remove, is in nobody's way, and goes with the next pruning.
        folder.settle(&other, "v1").unwrap();
        assert!(one.is_dir() && folder.release("v1").is_dir());
        assert_eq!(folder.prune(&["v1".to_owned()].into(), 2, |version| version == "v1"), Vec::<String>::new());
        assert!(one.is_dir());
        folder.clear("v1~").unwrap();
        assert!(one.is_dir());
        folder.prune(&["v1".to_owned()].into(), 2, |_| false);
        assert!(!one.exists() && folder.release("v1").is_dir());
    }

    #[tokio::test]
    async fn a_command_that_fails_leaves_nothing_and_says_whether_to_try_again() {
        let cases = [
            ("touch $ZKOPS_RELEASE_DIR/half; echo no mirror >&2; exit 1", false, "status 1: no mirror"),
            ("exit 65", true, "status 65"),
            ("sleep 60", false, "took too long"),
        ];
        for (script, rejected, words) in cases {
            let (names, result) = fetch(script).await;
            let error = result.unwrap_err();
            assert!(error.rejected == rejected && error.message.contains(words), "{error}");
            assert!(names.is_empty(), "{names:?}");
        }
    }
}
