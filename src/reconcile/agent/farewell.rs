//! The end of the loop: a farewell when the machine goes down, else everything is left to a successor.

use std::time::Duration;

use super::{Agent, now};
use crate::{report::notify::ServiceManager, systemd::UnitManager};
use futures_util::StreamExt as _;

/// How long each step of an orderly farewell to ZooKeeper may take; there are three, and `TimeoutStopSec=` is 15 s.
const FAREWELL: Duration = Duration::from_secs(4);

/// How long systemd may take to say whether the machine goes down.
const ANSWER: Duration = Duration::from_secs(2);

impl<M: UnitManager + 'static> Agent<M> {
    /// Stops: at a shutdown of the machine with a farewell, else leaving everything to a successor.
    pub(super) async fn stop(mut self, service_manager: &mut ServiceManager) {
        if !machine_stops(&*self.manager).await {
            service_manager.stopping("stopping: services keep running, the session is left to a successor");
            tracing::info!(
                "agent stopping: services keep running, and the place in ZooKeeper is held until the session times out"
            );
            self.session.abandon();
            return;
        }
        service_manager.stopping("the machine is shutting down: closing the ZooKeeper session");
        self.finish_publications().await;
        self.state.set_connection(self.connection());
        self.state.bid_farewell(now());
        self.carry_out();
        self.finish_publications().await;
        self.carry_out();
        // These hold handles of the session: they must be gone before the session can close.
        let Self { session, presence, publications, mirror, tasks, .. } = self;
        drop((presence, publications, mirror, tasks));
        if session.close(FAREWELL).await {
            tracing::info!("session closed: the machine is shutting down");
        } else {
            tracing::warn!("the machine shuts down, and ZooKeeper did not confirm the session's end: it will time out");
        }
    }

    async fn finish_publications(&mut self) {
        let deadline = tokio::time::Instant::now() + FAREWELL;
        loop {
            match tokio::time::timeout_at(deadline, self.publications.next()).await {
                Ok(Some((published, presence))) => self.published(published, presence),
                Ok(None) => return,
                Err(_) => {
                    tracing::warn!("ZooKeeper did not answer in time for a farewell");
                    self.publications.clear();
                    return self.state.abandon_publications();
                }
            }
        }
    }
}

async fn machine_stops<M: UnitManager>(manager: &M) -> bool {
    matches!(tokio::time::timeout(ANSWER, manager.is_stopping()).await, Ok(Ok(true)))
}
