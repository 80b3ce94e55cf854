//! So many histories as somebody has time for, on all cores: each by a seed of its own, which brings it again. One that does not
//! hold is made shorter, and told.
//!
//! ```sh
//! make simulation HISTORIES=10000 SEED=1
//! ```

use std::{
    cell::Cell,
    env,
    ops::Range,
    panic,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::{History, Strategy, history, holds};

/// The history of this number, made shorter if it does not hold; how many steps were taken.
fn try_one(seed: u64) -> Result<usize, History> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { max_shrink_iters: 2_000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let tree = history().new_tree(&mut runner).map_err(|reason| panic!("{reason}")).unwrap();
    let steps = Cell::new(0);
    let result = runner.run_one(tree, |history| {
        steps.set(history.steps().len());
        holds(&history).map_err(TestCaseError::fail)
    });
    match result {
        Ok(_) => Ok(steps.get()),
        Err(TestError::Fail(_, history)) => Err(history),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

fn tell(seed: u64, history: &History) {
    let story = holds(history).err().unwrap_or_else(|| "it holds when it is tried once more".to_owned());
    println!("\nSEED={seed} does not hold. What remains of it:\n{history:?}\n\n{story}\n");
}

/// A number from the environment.
fn number(name: &str, usual: u64) -> u64 {
    env::var(name).ok().filter(|text| !text.is_empty()).map_or(usual, |text| text.parse().unwrap())
}

/// The seeds that this thread tries; how many steps were taken, and which did not hold.
fn try_all(seeds: impl Iterator<Item = u64>, stop: &AtomicBool) -> (usize, Vec<(u64, History)>) {
    let (mut steps, mut failed) = (0, Vec::new());
    for seed in seeds.take_while(|_| !stop.load(Ordering::Relaxed)) {
        match try_one(seed) {
            Ok(taken) => steps += taken,
            Err(history) => {
                stop.store(true, Ordering::Relaxed);
                failed.push((seed, history));
            }
        }
    }
    (steps, failed)
}

#[test]
#[ignore = "takes minutes: make simulation"]
fn many_histories_hold() {
    let (first, count) = (number("ZKOPS_SEED", 1), number("ZKOPS_HISTORIES", 10_000));
    let seeds: Range<u64> = first..first + count;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    // What fails is told once it is short.
    panic::set_hook(Box::new(|_| {}));
    let (began, stop) = (Instant::now(), AtomicBool::new(false));
    let results: Vec<_> = thread::scope(|scope| {
        let try_some = |thread: usize| seeds.clone().skip(thread).step_by(threads);
        let stop = &stop;
        let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || try_all(try_some(thread), stop))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    let steps: usize = results.iter().map(|(steps, _)| steps).sum();
    let failed: Vec<_> = results.into_iter().flat_map(|(_, failed)| failed).collect();
    for (seed, history) in &failed {
        tell(*seed, history);
    }
    let _ = panic::take_hook();
    assert!(failed.is_empty(), "SEED={} HISTORIES=1 brings it again", failed[0].0);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let a_minute = count as f64 * 60.0 / seconds;
    println!("{count} histories, {steps} steps, {seconds:.0} s: {a_minute:.0} histories a minute");
}
