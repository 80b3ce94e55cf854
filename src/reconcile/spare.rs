//! Memory that is spare: the allocator keeps what was freed, and a burst of work leaves much of it behind.

use std::{
    ffi::c_int,
    time::{Duration, Instant},
};

use super::sleep_until;

/// So long after work began, what it left behind is given back. Each time costs less than a millisecond, and as much when
/// the pages are next used: too much for each single start, nothing once in a few seconds.
const AFTER: Duration = Duration::from_secs(4);

#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "the declaration is malloc.h's")]
unsafe extern "C" {
    /// `malloc_trim(3)`: gives whole free pages of all arenas back to the system. It takes no pointer, and locks what it
    /// walks: whoever calls it when can break nothing.
    safe fn malloc_trim(pad: usize) -> c_int;
}

/// Other C libraries have no such call, and keep less.
#[cfg(not(target_env = "gnu"))]
fn malloc_trim(_pad: usize) -> c_int {
    0
}

/// When a daemon next gives memory back.
#[derive(Debug, Default)]
pub(super) struct Spare {
    at: Option<Instant>,
}

impl Spare {
    /// There was work: a while from its begin, memory is given back.
    pub(super) fn worked(&mut self, now: Instant) {
        self.at.get_or_insert(now + AFTER);
    }

    /// Gives memory back when it is time; waits for ever when there was no work.
    pub(super) async fn give_back(&mut self) {
        sleep_until(self.at).await;
        malloc_trim(0);
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn memory_is_given_back_once_a_while_after_work_began() {
        let mut spare = Spare::default();
        let hour = Duration::from_secs(3600);
        assert!(
            tokio::time::timeout(hour, spare.give_back()).await.is_err(),
            "nothing wakes a daemon that has no work"
        );

        let began = tokio::time::Instant::now();
        spare.worked(began.into());
        assert!(tokio::time::timeout(AFTER / 2, spare.give_back()).await.is_err(), "it is too early");
        spare.worked(tokio::time::Instant::now().into());
        spare.give_back().await;
        assert_eq!(began.elapsed(), AFTER, "what comes later does not put it off");
        assert!(tokio::time::timeout(hour, spare.give_back()).await.is_err(), "once is enough");
    }
}
