//! Reads over one connection, applied to the copy in the order of their answers.
//!
//! All reads stand in one queue in the order in which they were sent, which is the order of their answers. So an
//! answer is never older than the one before, and a mark put behind a read is reached once the read has been applied:
//! that is how [`Step::Publish`] and [`Step::Barrier`] work.

use futures_util::{FutureExt as _, future, future::BoxFuture, stream::FuturesOrdered};
use tokio::sync::oneshot;
use tracing::warn;

use super::{
    Queue,
    copy::{Copy, Seen},
};
use crate::{
    store::{
        Client, StoreError, Up,
        subtree::{WIDTH, child},
    },
    tree::{
        layout::Place,
        node::{Node, Synced},
    },
};

/// What stands in the queue of reads.
pub(super) enum Step {
    /// A node's answer. `walking`: its children are wanted too.
    Node { path: String, walking: bool, answer: Result<Option<(Node, i32)>, StoreError> },
    /// The answer to a list of children.
    Children { path: String, walking: bool, answer: Result<Option<Vec<String>>, StoreError> },
    /// What was read up to here is worth showing.
    Publish,
    /// Someone waits for what was read up to here.
    Barrier(oneshot::Sender<()>),
}

/// Everything that lives and dies with one connection.
pub(super) struct Flow<'a> {
    client: Client,
    at: Synced,
    queue: &'a Queue,
    copy: &'a mut Copy,
    pub(super) reads: FuturesOrdered<BoxFuture<'static, Step>>,
    walk: Option<Walk>,
    /// Nothing is shown before the first walk over this connection is done.
    complete: bool,
    /// Barriers reached while nothing is shown.
    waiting: Vec<oneshot::Sender<()>>,
}

/// A read of the whole tree under way.
#[derive(Default)]
struct Walk {
    todo: Vec<String>,
    reading: usize,
}

impl<'a> Flow<'a> {
    pub(super) fn new(up: &Up, queue: &'a Queue, copy: &'a mut Copy) -> Self {
        Self {
            client: up.client.clone(),
            at: Synced { epoch: up.epoch, joins: up.joins },
            queue,
            copy,
            reads: FuturesOrdered::new(),
            walk: None,
            complete: false,
            waiting: Vec::new(),
        }
    }

    /// Starts to read everything, unless that is under way.
    pub(super) fn start_walk(&mut self, roots: &[String]) {
        if self.walk.is_none() {
            self.copy.begin_walk();
            self.walk = Some(Walk { todo: roots.to_vec(), reading: 0 });
            self.step_walk();
        }
    }

    /// Keeps [`WIDTH`] reads of the walk under way, and ends it after the last.
    fn step_walk(&mut self) {
        let Some(mut walk) = self.walk.take() else { return };
        while walk.reading < WIDTH
            && let Some(path) = walk.todo.pop()
        {
            walk.reading += 1;
            self.read(path, true);
        }
        if walk.reading > 0 {
            self.walk = Some(walk);
        } else {
            self.end_walk();
        }
    }

    fn end_walk(&mut self) {
        self.copy.end_walk();
        self.complete = true;
        self.queue.publish(&mut self.copy.unshown, Some(self.at));
        for barrier in self.waiting.drain(..) {
            barrier.send(()).ok();
        }
    }

    /// Reads what has changed, to be shown together.
    pub(super) fn read_all(&mut self, paths: impl IntoIterator<Item = String>) {
        for path in paths {
            self.read(path, false);
        }
        self.mark(Step::Publish);
    }

    fn read(&mut self, path: String, walking: bool) {
        // Configuration revisions are large and immutable: that they are there is enough.
        let answer = match Place::of(&path) {
            Place::Config(..) => self.client.glance(&path).boxed(),
            _ => self.client.read(&path).boxed(),
        };
        self.reads.push_back(answer.map(move |answer| Step::Node { path, walking, answer }).boxed());
    }

    fn list(&mut self, path: String, walking: bool) {
        let answer = self.client.list(&path);
        self.reads.push_back(answer.map(move |answer| Step::Children { path, walking, answer }).boxed());
    }

    pub(super) fn mark(&mut self, step: Step) {
        self.reads.push_back(future::ready(step).boxed());
    }

    pub(super) fn take(&mut self, step: Step) -> Result<(), StoreError> {
        match step {
            Step::Node { path, walking, answer } => self.take_node(path, walking, readable(answer)?),
            Step::Children { path, walking, answer } => self.take_children(&path, walking, readable(answer)?),
            Step::Publish if self.complete => self.queue.publish(&mut self.copy.unshown, None),
            Step::Publish => {}
            Step::Barrier(barrier) if self.complete => {
                // Nobody may be waiting any more.
                barrier.send(()).ok();
            }
            Step::Barrier(barrier) => self.waiting.push(barrier),
        }
        Ok(())
    }

    fn take_node(&mut self, path: String, walking: bool, found: Option<(Node, i32)>) {
        let Some((node, children)) = found else {
            self.copy.gone(&path);
            return self.walked(walking);
        };
        // Before the visit counts as done: the last one of a walk shows everything.
        let seen = self.copy.see(&path, node);
        // Children of a node that is new to us have events of their own; to be safe they are looked for as well.
        if children > 0 && (walking || seen == Seen::New) {
            self.list(path, walking);
        } else {
            self.walked(walking);
        }
    }

    fn take_children(&mut self, path: &str, walking: bool, names: Option<Vec<String>>) {
        let paths = names.unwrap_or_default().into_iter().map(|name| child(path, &name));
        match &mut self.walk {
            Some(walk) if walking => walk.todo.extend(paths),
            _ => {
                let unknown: Vec<String> = paths.filter(|path| !self.copy.knows(path)).collect();
                self.read_all(unknown);
            }
        }
        self.walked(walking);
    }

    /// One visit of the walk is done.
    fn walked(&mut self, walking: bool) {
        if let Some(walk) = self.walk.as_mut().filter(|_| walking) {
            walk.reading -= 1;
            self.step_walk();
        }
    }
}

/// A node that we may not read is as good as absent; anything else ends the connection's flow.
fn readable<T>(answer: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match answer {
        Err(StoreError::Refused { what, source: zookeeper_client::Error::NoAuth }) => {
            warn!("not permitted to {what}");
            Ok(None)
        }
        answer => answer,
    }
}
