//! A systemd that takes its time.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use zkops::{
    model::{JobResult, UnitName, UnitStatus, Verb},
    systemd::{FakeSystemd, UnitError, UnitManager},
};

/// The fake, slowed down.
pub struct Slow {
    pub fake: Arc<FakeSystemd>,
    /// Questions about this unit are not answered until the channel says so.
    pub silent_about: Option<(UnitName, watch::Receiver<bool>)>,
    /// How long a daemon-reload takes before it does anything.
    pub reload: Duration,
    /// How long a job takes after it was done.
    pub job: Duration,
}

impl Slow {
    pub fn new(fake: &Arc<FakeSystemd>) -> Self {
        Self { fake: Arc::clone(fake), silent_about: None, reload: Duration::ZERO, job: Duration::ZERO }
    }
}

impl UnitManager for Slow {
    async fn version(&self) -> Result<u32, UnitError> {
        self.fake.version().await
    }

    fn root(&self) -> std::path::PathBuf {
        self.fake.root()
    }

    async fn is_stopping(&self) -> Result<bool, UnitError> {
        self.fake.is_stopping().await
    }

    async fn unit(&self, name: &UnitName) -> Result<UnitStatus, UnitError> {
        if let Some((about, answers)) = &self.silent_about
            && about == name
        {
            answers.clone().wait_for(|answers| *answers).await.unwrap();
        }
        self.fake.unit(name).await
    }

    async fn last_words(&self, name: &UnitName, invocation: &str) -> Option<String> {
        self.fake.last_words(name, invocation).await
    }

    async fn run(&self, verb: Verb, name: &UnitName) -> Result<JobResult, UnitError> {
        let result = self.fake.run(verb, name).await;
        sleep(self.job).await;
        result
    }

    async fn signal(&self, name: &UnitName, signal: i32) -> Result<(), UnitError> {
        self.fake.signal(name, signal).await
    }

    async fn reset_failed(&self, name: &UnitName) -> Result<(), UnitError> {
        self.fake.reset_failed(name).await
    }

    async fn daemon_reload(&self) -> Result<(), UnitError> {
        sleep(self.reload).await;
        self.fake.daemon_reload().await
    }

    async fn complaint(&self, name: &UnitName) -> Option<String> {
        self.fake.complaint(name).await
    }

    fn watch_units(&self, names: &BTreeSet<UnitName>) {
        self.fake.watch_units(names);
    }

    fn reloads(&self) -> u64 {
        self.fake.reloads()
    }

    async fn changed(&self) -> BTreeSet<UnitName> {
        self.fake.changed().await
    }
}
