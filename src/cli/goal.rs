//! What can be waited for.

use super::{failure::Failure, fleet::Fleet};

/// Something that can be waited for.
pub(super) trait Goal {
    /// What is still missing, in words; `None` once the goal holds.
    fn missing(&self, fleet: &Fleet) -> Option<String>;
    /// Why it will not hold, as long as nobody does anything about it.
    fn lost(&self, _fleet: &Fleet) -> Option<Failure> {
        None
    }
    /// The folders of the tree that tell.
    fn roots(&self) -> Vec<String>;
}
