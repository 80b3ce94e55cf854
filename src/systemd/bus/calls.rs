//! Calls over the connection: so many at once, each within its time.

use std::{future::Future, time::Duration};

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use super::error::{from_bus, is_crowded};
use crate::{model::UnitName, systemd::UnitError};

/// So many calls are under way at once. dbus-daemon bears 128 of a connection (`max_replies_per_connection`) and refuses
/// the next; what is beyond half of that waits for its turn here.
const MOST: usize = 64;

/// How long a call rests that the bus refused because it has too many, and how long that is borne with.
const REST: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);

/// The calls that are under way. All calls to systemd and the bus go through here.
#[derive(Debug)]
pub(super) struct Calls(Semaphore);

impl Default for Calls {
    fn default() -> Self {
        Self(Semaphore::new(MOST))
    }
}

impl Calls {
    /// Makes a call when it is its turn (first come, first served), and waits for the answer, but not for ever: `limit`
    /// counts from its turn.
    pub(super) async fn make<T, F>(
        &self,
        limit: Duration,
        name: &str,
        unit: Option<&UnitName>,
        call: impl Fn() -> F,
    ) -> Result<T, UnitError>
    where
        F: Future<Output = zbus::Result<T>>,
    {
        // Never closed.
        let _turn = self.0.acquire().await;
        let began = Instant::now();
        loop {
            match timeout(limit, call()).await {
                Ok(Err(error)) if is_crowded(&error) && began.elapsed() < PATIENCE => sleep(REST).await,
                Ok(answer) => return answer.map_err(|error| from_bus(&error, unit)),
                Err(_) => return Err(UnitError::NoAnswer { call: name.to_owned(), seconds: limit.as_secs() }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn crowded() -> zbus::Error {
        let message = "The maximum number of pending replies per connection has been reached".to_owned();
        zbus::Error::FDO(Box::new(zbus::fdo::Error::LimitsExceeded(message)))
    }

    /// A bus as dbus-daemon is: it refuses what is beyond its limit.
    #[tokio::test(start_paused = true)]
    async fn a_thousand_calls_at_once_are_all_answered() {
        let (calls, under_way, refused) = (Calls::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        let call = || async {
            if under_way.fetch_add(1, Ordering::Relaxed) >= 128 {
                under_way.fetch_sub(1, Ordering::Relaxed);
                refused.fetch_add(1, Ordering::Relaxed);
                return Err(crowded());
            }
            sleep(Duration::from_millis(5)).await;
            under_way.fetch_sub(1, Ordering::Relaxed);
            Ok(())
        };
        let answers = join_all((0..1000).map(|_| calls.make(LIMIT, "GetAll", None, call))).await;
        assert!(answers.iter().all(Result::is_ok));
        assert_eq!(refused.load(Ordering::Relaxed), 0);
    }

    /// Others may have filled it.
    #[tokio::test(start_paused = true)]
    async fn a_call_that_the_bus_has_no_room_for_is_made_again() {
        let (calls, tried) = (Calls::default(), AtomicUsize::new(0));
        let call = || async { if tried.fetch_add(1, Ordering::Relaxed) < 100 { Err(crowded()) } else { Ok(7) } };
        assert_eq!(calls.make(LIMIT, "StartUnit", None, call).await, Ok(7));
        let never = calls.make(LIMIT, "StartUnit", None, || async { Err::<(), _>(crowded()) }).await;
        assert!(matches!(never, Err(UnitError::Unreachable { .. })), "{never:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_turn_is_not_counted_and_a_call_without_an_answer_gives_it_up() {
        let calls = Calls::default();
        let call = || async {
            std::future::pending::<()>().await;
            Ok(())
        };
        let answers = join_all((0..65).map(|_| calls.make(LIMIT, "GetAll", None, call)));
        let began = Instant::now();
        let answers = answers.await;
        assert!(answers.iter().all(|answer| matches!(answer, Err(UnitError::NoAnswer { seconds: 30, .. }))));
        assert_eq!(began.elapsed(), 2 * LIMIT);
    }
}
