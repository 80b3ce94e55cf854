//! Work that may block: a disk, a resolver, the start of a process. The daemons run on one thread, which feeds the
//! watchdog, the probes and the connection to ZooKeeper: nothing that may block runs there.

use std::{io, thread};

use tokio::sync::oneshot;

/// Runs the work on one of the runtime's threads for such work. It runs to its end when the future is dropped.
///
/// For what ends by itself before long. What may hang for minutes, or is waited for by all others, has a thread of its
/// own ([`on_own_thread`]): the runtime's threads are many, but not without number.
pub(crate) async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
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
