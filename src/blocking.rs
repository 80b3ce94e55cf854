//! Work that may block: a disk, a resolver, the start of a process. The daemons run on one thread, which feeds the
//! watchdog, the probes and the connection to ZooKeeper: nothing that may block runs there.

use std::{
    cell::Cell,
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{Semaphore, oneshot},
};

thread_local! {
    static IS_LOOP: Cell<bool> = const { Cell::new(false) };
}

/// The runtime of a process: one thread is plenty for each of the roles, and keeps the agent small.
///
/// Its threads for work that may block stay once they are there. It panics when there is such work, no such thread, and
/// none can be started because the machine, or the agent's unit, is short of them; with one it makes the work wait.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().thread_keep_alive(Duration::MAX).build()
}

/// This thread turns a daemon's loop for as long as this lives.
pub(crate) struct Loop(());

impl Loop {
    pub(crate) fn begin() -> Self {
        IS_LOOP.set(true);
        // The thread that stays: see `runtime`.
        drop(Handle::try_current().map(|runtime| runtime.spawn_blocking(|| ())));
        Self(())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        IS_LOOP.set(false);
    }
}

fn is_loop() -> bool {
    IS_LOOP.get()
}

/// Called by what blocks, so that each test of a daemon, and each scenario (their builds have `debug_assertions`), shows
/// that none of it runs on the loop's thread.
#[track_caller]
pub(crate) fn may_block() {
    debug_assert!(!is_loop(), "this may block, and runs on the loop's thread");
}

/// Work that hangs for one and the same reason, so that it takes some of the runtime's threads for such work and never
/// all of them.
#[derive(Debug)]
pub(crate) struct Lane(Semaphore);

/// What is on the host's disks.
static DISK: Lane = Lane::new(16);
/// What is generated below `/run`, which is memory.
pub(crate) static GENERATED: Lane = Lane::new(4);
/// What dpkg is asked.
pub(crate) static PACKAGES: Lane = Lane::new(4);
/// What credentials lead to: any file system of the host.
pub(crate) static CREDENTIALS: Lane = Lane::new(16);
/// What the controller thinks, one thing after the other.
pub(crate) static PLANS: Lane = Lane::new(1);
/// Processes that are started: their programs may be anywhere.
pub(crate) static STARTS: Lane = Lane::new(32);

impl Lane {
    const fn new(threads: usize) -> Self {
        Self(Semaphore::const_new(threads))
    }

    /// Runs the work on one of the lane's threads, when it is its turn. Once begun, it runs to its end, and has the thread
    /// until then, also when the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(&'static self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // Never closed.
        let turn = self.0.acquire().await;
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(ended) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                // The runtime is on its way down, and whoever asked with it.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

/// Runs work on the host's disks beside the loop.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    DISK.run(work).await
}

/// Does the work of a destructor: here, or beside the loop, which goes on meanwhile.
pub(crate) fn clean_up(work: impl FnOnce() + Send + 'static) {
    match Handle::try_current() {
        Ok(runtime) if is_loop() => drop(runtime.spawn_blocking(work)),
        _ => work(),
    }
}

/// One thread, which does one piece of work after the other, in the order in which they are given. None waits for
/// anything else that may block.
#[derive(Clone, Debug)]
pub(crate) struct Worker(mpsc::Sender<Work>);

type Work = Box<dyn FnOnce() + Send>;

impl Worker {
    /// Starts the thread; it ends with the last clone.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(name: &str) -> io::Result<Self> {
        let (sender, work) = mpsc::channel::<Work>();
        thread::Builder::new().name(name.to_owned()).spawn(move || work.into_iter().for_each(|work| work()))?;
        Ok(Self(sender))
    }

    /// Does the work after all that was given before. It is done when the future is dropped, too.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (sender, done) = oneshot::channel();
        let work = move || {
            // Whoever asked may have gone.
            let _ = sender.send(catch_unwind(AssertUnwindSafe(work)));
        };
        // The thread lives as long as this value, and nothing unwinds out of it.
        let _ = self.0.send(Box::new(work));
        match done.await {
            Ok(Ok(done)) => done,
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Runs the work on a thread that is started for it, so that it waits for no other work. It runs to its end when the
/// future is dropped.
///
/// # Errors
/// When no thread can be started, or the work panicked.
pub(crate) async fn on_own_thread<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = oneshot::channel();
    let run = move || {
        // Whoever asked may have gone.
        let _ = sender.send(work());
    };
    thread::Builder::new().name(name.to_owned()).spawn(run)?;
    receiver.await.map_err(|_| io::Error::other(format!("the thread {name} ended")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{sync::mpsc, thread::ThreadId};

    use super::*;

    fn this() -> ThreadId {
        thread::current().id()
    }

    #[tokio::test]
    async fn blocking_work_runs_on_another_thread() {
        assert_ne!(beside(this).await, this());
        assert_ne!(on_own_thread("a", this).await.unwrap(), this());
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_an_error() {
        let ended = on_own_thread("a", || panic!("on purpose")).await;
        assert_eq!(ended.unwrap_err().to_string(), "the thread a ended");
    }

    /// As when every command of every probe hangs.
    #[tokio::test]
    async fn what_hangs_in_one_lane_takes_no_thread_from_another() {
        static HUNG: Lane = Lane::new(2);
        static OTHER: Lane = Lane::new(2);
        let (release, hung) = mpsc::channel::<()>();
        let hung = std::sync::Arc::new(std::sync::Mutex::new(hung));
        for _ in 0..600 {
            let hung = std::sync::Arc::clone(&hung);
            tokio::spawn(HUNG.run(move || hung.lock().unwrap().recv()));
        }
        tokio::task::yield_now().await;
        assert_eq!(OTHER.run(|| 7).await, 7);
        drop(release);
    }

    #[tokio::test]
    async fn a_worker_keeps_the_order_and_outlives_a_panic() {
        let worker = Worker::start("w").unwrap();
        let (sender, seen) = mpsc::channel();
        let mut given = Vec::new();
        for number in 0..100 {
            let sender = sender.clone();
            let mut work = Box::pin(worker.run(move || sender.send(number).unwrap()));
            // Given, and not waited for.
            let _ = futures_util::poll!(&mut work);
            given.push(work);
        }
        drop(given);
        let other = worker.clone();
        let panics = tokio::spawn(async move { other.run(|| panic!("on purpose")).await });
        assert!(panics.await.is_err());
        assert_eq!(worker.run(|| 7).await, 7);
        drop(sender);
        assert_eq!(seen.iter().collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_blocks_is_found_out_on_the_loops_thread_alone() {
        may_block();
        let on_loop = thread::spawn(|| {
            let _loop = Loop::begin();
            may_block();
        });
        assert_eq!(on_loop.join().is_err(), cfg!(debug_assertions));
    }

    /// As when every probe's command, every archive and every lookup hangs at once.
    #[test]
    fn a_thread_of_its_own_waits_for_no_other_work() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).build().unwrap();
        let (release, hung) = mpsc::channel::<()>();
        let hung = std::sync::Arc::new(std::sync::Mutex::new(hung));
        runtime.block_on(async {
            for _ in 0..8 {
                let hung = std::sync::Arc::clone(&hung);
                tokio::task::spawn_blocking(move || hung.lock().unwrap().recv());
            }
            assert_eq!(on_own_thread("ledger", || 7).await.unwrap(), 7);
        });
        drop(release);
    }
}
