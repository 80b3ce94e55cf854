//! Releases that a command of the service's own makes.

use std::{io, time::Duration};

use super::{
    SourceError,
    command::{self, Order, Outcome},
    folder::Folder,
    link, text,
};
use crate::model::{ExecSource, HostName, ServiceName};

/// The exit status by which a command says that trying again can't help: `EX_DATAERR` of sysexits.h.
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
    /// Has the command fill a new folder, which then becomes the release.
    pub(super) async fn run(self) -> Result<(), SourceError> {
        self.folder.clear(&self.version)?;
        let new = self.folder.new_release(&self.version);
        let doing = format!("cannot make {}", new.display());
        link::make_dir(&new).map_err(|error| SourceError::io(&doing, &error))?;
        let outcome = command::run(&self.order()).await;
        let judged = self.judge(outcome);
        if judged.is_err() {
            let _ = link::remove(&new);
            return judged;
        }
        let job = tokio::task::spawn_blocking(move || self.folder.settle(&self.version));
        let settled = job.await.map_err(|error| SourceError::passing(format!("keeping it ended: {error}")))?;
        settled.map_err(|error| SourceError::io(doing, &error))
    }

    fn order(&self) -> Order {
        let new = self.folder.new_release(&self.version);
        let environment = vec![
            ("ZKOPS_SERVICE", self.service.to_string()),
            ("ZKOPS_VERSION", self.version.clone()),
            ("ZKOPS_HOST", self.host.to_string()),
            ("ZKOPS_RELEASE_DIR", new.display().to_string()),
        ];
        let command = self.source.command.iter().map(|word| text::fill(word, &self.version)).collect();
        Order { command, environment, limit: Some(self.limit) }
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
        source::{SourceError, Sources, Wanted},
    };

    /// Fetches v1 by a script; what is in the service's folder then, and what came of it.
    async fn fetch(script: &str) -> (Vec<String>, Result<(), SourceError>) {
        let dir = tempfile::tempdir().unwrap();
        let (sources, id) = (Sources::new(dir.path()), "webapp.0000000001".parse().unwrap());
        let command = ["/bin/sh", "-c", script, "sh", "{version}"].map(str::to_owned).to_vec();
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
