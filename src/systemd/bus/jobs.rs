//! Jobs that are waited for.
//!
//! A `JobRemoved` may arrive before the reply that names its job: while any order is on its way, the ends of all jobs
//! are kept. It may also never arrive; whoever waits looks at the unit from time to time ([`super::run`]).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, oneshot};

use crate::model::JobResult;

/// The jobs of one manager.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    state: Mutex<State>,
    /// Signals may have been lost: look at the units of all jobs.
    pub(super) doubt: Notify,
}

#[derive(Debug, Default)]
struct State {
    orders: usize,
    ended: HashMap<String, JobResult>,
    waiters: HashMap<String, Vec<oneshot::Sender<JobResult>>>,
}

impl State {
    fn forget_ended(&mut self) {
        if self.orders == 0 {
            self.ended = HashMap::new();
        }
    }

    /// Forgets waits that were given up.
    fn forget_dropped(&mut self) {
        self.waiters.retain(|_, waiters| {
            waiters.retain(|waiter| !waiter.is_closed());
            !waiters.is_empty()
        });
    }
}

/// An order on its way to the manager.
#[derive(Debug)]
pub(super) struct Order<'a>(&'a Jobs);

impl Jobs {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Must be held from before the call that queues a job until its path is known.
    pub(super) fn order(&self) -> Order<'_> {
        self.lock().orders += 1;
        Order(self)
    }

    /// A job ended.
    pub(super) fn removed(&self, path: &str, result: &JobResult) {
        let mut state = self.lock();
        for waiter in state.waiters.remove(path).unwrap_or_default() {
            // Its run was dropped.
            let _ = waiter.send(result.clone());
        }
        if state.orders > 0 {
            state.ended.insert(path.to_owned(), result.clone());
        }
    }

    /// How many jobs are waited for.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.lock().waiters.len()
    }
}

impl Order<'_> {
    /// The job's path is known: its end, which may have come already.
    pub(super) fn placed(self, path: &str) -> oneshot::Receiver<JobResult> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.0.lock();
        if let Some(result) = state.ended.get(path) {
            // The receiver is here.
            let _ = sender.send(result.clone());
        } else {
            state.forget_dropped();
            state.waiters.entry(path.to_owned()).or_default().push(sender);
        }
        receiver
    }
}

impl Drop for Order<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.orders -= 1;
        state.forget_ended();
    }
}

#[cfg(test)]
mod tests {
    use super::Jobs;
    use crate::model::JobResult;

    #[tokio::test]
    async fn an_end_reaches_its_order_whichever_comes_first() {
        let jobs = Jobs::default();
        let (early, late) = (jobs.order(), jobs.order());
        jobs.removed("/job/1", &JobResult::Done);
        let early = early.placed("/job/1");
        let late = late.placed("/job/2");
        jobs.removed("/job/2", &JobResult::Failed);
        assert_eq!((early.await, late.await), (Ok(JobResult::Done), Ok(JobResult::Failed)));
    }

    #[tokio::test]
    async fn orders_that_systemd_merged_share_an_end() {
        let jobs = Jobs::default();
        let (one, two) = (jobs.order().placed("/job/1"), jobs.order().placed("/job/1"));
        jobs.removed("/job/1", &JobResult::Timeout);
        assert_eq!((one.await, two.await), (Ok(JobResult::Timeout), Ok(JobResult::Timeout)));
    }

    #[test]
    fn an_end_is_not_kept_past_the_orders_of_its_time() {
        let jobs = Jobs::default();
        jobs.removed("/job/1", &JobResult::Done);
        drop(jobs.order());
        let mut other = jobs.order().placed("/job/1");
        assert!(other.try_recv().is_err());
        drop(other);
        let other = jobs.order().placed("/job/2");
        assert_eq!(jobs.waiting(), 1, "a dropped wait is forgotten");
        drop(other);
    }
}
