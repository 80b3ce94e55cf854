//! Jobs: so many at once.
//!
//! For each job systemd watches whether whoever asked for it stays on the bus, by a match rule of its own. dbus-daemon bears
//! 512 of a connection (`max_match_rules_per_connection`); refused the next, systemd gives up its connection to the bus, and
//! nobody gets an answer to anything that is under way. The units that systemd keeps in memory for this agent take others
//! ([`super::tend`]).

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::model::{UnitName, Verb};

/// So many jobs run at once that start something, or reload it. A start may take for ever: one that is to be given up does
/// not wait behind others.
const STARTS: usize = 128;

/// So many run at once that stop something. Both together, and the units that are kept in memory, leave some of the bus's
/// rules to others.
const STOPS: usize = 64;

/// The jobs that run, and those that wait for their turn.
#[derive(Debug)]
pub(super) struct Turns {
    starts: Semaphore,
    stops: Semaphore,
    ordered: AtomicU64,
    /// The last order of each unit.
    last: Mutex<HashMap<UnitName, u64>>,
}

impl Default for Turns {
    fn default() -> Self {
        let (starts, stops) = (Semaphore::new(STARTS), Semaphore::new(STOPS));
        Self { starts, stops, ordered: AtomicU64::new(0), last: Mutex::default() }
    }
}

impl Turns {
    /// Waits for a turn, which lasts as long as what is returned. `None` = meanwhile something else was ordered of the unit,
    /// which cancels this as it would cancel a job.
    pub(super) async fn wait(&self, verb: Verb, unit: &UnitName) -> Option<Turn<'_>> {
        let order = self.order(unit);
        let permits = if verb == Verb::Stop { &self.stops } else { &self.starts };
        // Never closed.
        let permit = permits.acquire().await.ok()?;
        order.is_last().then_some(Turn { _order: order, _permit: permit })
    }

    fn order(&self, unit: &UnitName) -> Order<'_> {
        let number = self.ordered.fetch_add(1, Ordering::Relaxed);
        self.change(|last| last.insert(unit.clone(), number));
        Order { turns: self, unit: unit.clone(), number }
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<UnitName, u64>) -> T) -> T {
        change(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One job's turn.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    _order: Order<'a>,
    _permit: SemaphorePermit<'a>,
}

/// What was ordered of a unit, until it is over.
#[derive(Debug)]
struct Order<'a> {
    turns: &'a Turns,
    unit: UnitName,
    number: u64,
}

impl Order<'_> {
    fn is_last(&self) -> bool {
        self.turns.change(|last| last.get(&self.unit) == Some(&self.number))
    }
}

impl Drop for Order<'_> {
    fn drop(&mut self) {
        if self.is_last() {
            self.turns.change(|last| last.remove(&self.unit));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use futures_util::{future::join_all, poll};
    use tokio::time::{sleep, timeout};

    use super::*;

    fn unit(number: usize) -> UnitName {
        format!("webapp@{number}.service").parse().unwrap()
    }

    /// Starts that hang, as many as there may be.
    async fn hang(turns: &Turns) -> Vec<Turn<'_>> {
        let mut hung = Vec::new();
        for number in 0..STARTS {
            hung.push(turns.wait(Verb::Start, &unit(number)).await.unwrap());
        }
        hung
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_of_jobs_run_some_hundreds_at_a_time() {
        let (turns, most) = (Turns::default(), AtomicU64::new(0));
        let run = async |number| {
            let verb = if number % 3 == 0 { Verb::Stop } else { Verb::Start };
            let turn = turns.wait(verb, &unit(number)).await;
            let used = STARTS + STOPS - turns.starts.available_permits() - turns.stops.available_permits();
            most.fetch_max(used as u64, Ordering::Relaxed);
            sleep(Duration::from_millis(20)).await;
            turn.is_some()
        };
        assert!(join_all((0..3000).map(run)).await.into_iter().all(|ran| ran));
        assert!(most.into_inner() <= 512 - 128, "systemd needs rules for others, too");
        assert!(turns.last.lock().unwrap().is_empty(), "nothing is left of them");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_does_not_wait_for_starts_that_hang_and_cancels_one_that_waits() {
        let turns = Turns::default();
        let mut hung = hang(&turns).await;
        let name = unit(STARTS);
        let mut start = Box::pin(turns.wait(Verb::Start, &name));
        assert!(poll!(&mut start).is_pending());
        let stop = timeout(Duration::from_secs(1), turns.wait(Verb::Stop, &name)).await.unwrap();
        assert!(stop.is_some(), "of what has not begun");
        drop(stop);
        assert!(timeout(Duration::from_secs(1), turns.wait(Verb::Stop, &unit(0))).await.unwrap().is_some());
        hung.pop();
        assert!(start.await.is_none(), "it must not start what was stopped after it was ordered");
        assert!(turns.wait(Verb::Start, &name).await.is_some());
    }
}
