//! The checked form of an assignment: the only one that an agent acts on.

#[cfg(test)]
mod tests;

use std::{fmt, ops::Deref};

use serde::{Deserialize, Serialize, Serializer};

use super::{Assignment, Mode, Problem, check::version_problems};

/// An assignment that passed every check of what an assignment may say ([`Assignment::problems`]).
///
/// It cannot be made in any other way, be changed but for its mode, or be read unchecked: what takes one need not ask
/// where it comes from. See `docs/adr/0013-checked-assignments.md`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Assignment")]
pub struct CheckedAssignment(Assignment);

/// Why an [`Assignment`] is not acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAssignment(Vec<Problem>);

impl fmt::Display for InvalidAssignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.0.first() else { return f.write_str("it is not valid") };
        match self.0.len() {
            1 => write!(f, "{first}"),
            2 => write!(f, "{first} (and 1 more problem)"),
            problems => write!(f, "{first} (and {} more problems)", problems - 1),
        }
    }
}

impl std::error::Error for InvalidAssignment {}

impl Assignment {
    /// The largest assignment, in bytes: a description at its largest, and what an assignment has beside it.
    pub const MAX_BYTES: usize = super::ServiceSpec::MAX_BYTES + 16 * 1024;

    /// What is wrong with it beyond its shape.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = self.content_problems();
        let bytes = serde_json::to_vec(self).map_or(usize::MAX, |data| data.len());
        if bytes > Self::MAX_BYTES {
            problems.push(Problem::new(".", format!("has {bytes} bytes, {} are allowed", Self::MAX_BYTES)));
        }
        problems
    }

    /// [`Self::problems`] but for its size, which whoever has its bytes knows.
    pub fn content_problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.unit.is_template() {
            let message = format!("{} is a template: name the replica's instance of it", self.unit);
            problems.push(Problem::new("unit", message));
        }
        problems.extend(self.version.iter().flat_map(|version| version_problems("version", version)));
        problems.extend(self.template.problems().into_iter().map(|problem| problem.within("template")));
        problems.extend(self.version.iter().flat_map(|version| self.template.source.version_problems(version)));
        problems
    }

    /// Checks it.
    ///
    /// # Errors
    /// [`InvalidAssignment`] with every problem that it has.
    pub fn check(self) -> Result<CheckedAssignment, InvalidAssignment> {
        let problems = self.problems();
        if problems.is_empty() { Ok(CheckedAssignment(self)) } else { Err(InvalidAssignment(problems)) }
    }
}

impl CheckedAssignment {
    /// The same in another mode: none of them can make it invalid.
    #[must_use]
    pub fn with_mode(&self, mode: Mode) -> Self {
        Self(Assignment { mode, ..self.0.clone() })
    }
}

#[cfg(test)]
impl CheckedAssignment {
    /// The same with a change that keeps it valid.
    pub(crate) fn with(&self, change: impl FnOnce(&mut Assignment)) -> Self {
        let mut changed = self.0.clone();
        change(&mut changed);
        changed.check().unwrap_or_else(|error| panic!("{error}"))
    }

    /// What no check would let pass: what takes it must not rely on the check alone.
    pub(crate) fn unchecked(assignment: Assignment) -> Self {
        Self(assignment)
    }
}

impl Deref for CheckedAssignment {
    type Target = Assignment;

    fn deref(&self) -> &Assignment {
        &self.0
    }
}

impl Serialize for CheckedAssignment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl TryFrom<Assignment> for CheckedAssignment {
    type Error = InvalidAssignment;

    fn try_from(assignment: Assignment) -> Result<Self, InvalidAssignment> {
        assignment.check()
    }
}

impl From<CheckedAssignment> for Assignment {
    fn from(checked: CheckedAssignment) -> Self {
        checked.0
    }
}
