//! What happened, in order, whoever it happened to.

use std::{cell::RefCell, rc::Rc};

/// Where one of those takes notes who take part; all write into the same story.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    who: String,
    lines: Rc<RefCell<Vec<String>>>,
}

impl Story {
    /// The same story, as `who` tells it.
    pub(crate) fn told_by(&self, who: &str) -> Self {
        Self { who: format!("{who}: "), lines: Rc::clone(&self.lines) }
    }

    pub(crate) fn push(&self, line: impl AsRef<str>) {
        self.lines.borrow_mut().push(format!("{}{}", self.who, line.as_ref()));
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.borrow().len()
    }

    /// The lines from one on.
    pub(crate) fn since(&self, begun: usize) -> Vec<String> {
        self.lines.borrow()[begun..].to_vec()
    }

    /// All of it.
    pub(crate) fn whole(&self) -> String {
        self.lines.borrow().join("\n")
    }

    /// What comes after so many lines is forgotten.
    pub(crate) fn cut(&self, length: usize) {
        self.lines.borrow_mut().truncate(length);
    }
}
