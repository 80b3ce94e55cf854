//! Random histories of a whole cluster: operators, faults and interleavings, and real agents and controllers among them. Every
//! plan is checked before it lands, every landing after, and whatever an agent begins; and once everyone leaves it alone,
//! the cluster comes to rest as wanted.
//!
//! The test-suite tries some of them each time; `make simulation` many ([`many`]).
#![allow(clippy::unwrap_used)]

mod calm;
mod many;
mod rest;
mod steps;
mod trial;
mod world;

use std::panic::{self, AssertUnwindSafe};

use proptest::{collection::vec, prelude::*};

use self::{
    calm::{Calm, calm},
    steps::{Step, step},
    world::World,
};
use crate::sim::story::Story;

#[derive(Clone, Debug)]
enum History {
    /// Anything may happen; whether it begins with a cluster that has come to rest, and what it is.
    Wild(bool, Vec<Step>),
    Calm(Calm),
}

impl History {
    fn steps(&self) -> &[Step] {
        match self {
            Self::Wild(_, steps) => steps,
            Self::Calm(calm) => &calm.steps,
        }
    }
}

fn wild() -> impl Strategy<Value = History> {
    (prop::bool::weighted(0.8), vec(step(), 1..100)).prop_map(|(begun, steps)| History::Wild(begun, steps))
}

fn history() -> impl Strategy<Value = History> {
    prop_oneof![1 => wild(), 1 => calm().prop_map(History::Calm)]
}

/// Lets it happen; one in which things break comes to rest after it.
fn happens(story: &Story, history: &History) {
    match history {
        History::Calm(calm) => calm::happens(story, calm),
        History::Wild(begun, steps) => {
            let mut world = World::told_in(story);
            if *begun {
                world.settle();
            }
            for step in steps {
                world.happen(step);
            }
            world.come_to_rest();
            world.assert_at_rest();
        }
    }
}

/// What is wrong with it, if anything, and how it came to it.
fn holds(history: &History) -> Result<(), String> {
    let story = Story::default();
    let result = panic::catch_unwind(AssertUnwindSafe(|| happens(&story, history)));
    result.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        format!("{}\n\n{said}", story.whole())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn every_plan_is_safe_and_the_cluster_comes_to_rest(history in wild()) {
        holds(&history).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn planned_work_never_takes_more_than_may_be_missing(calm in calm()) {
        holds(&History::Calm(calm)).map_err(TestCaseError::fail)?;
    }
}
