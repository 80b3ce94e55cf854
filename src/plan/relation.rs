//! Which things concern which, asked from either side.

use std::collections::{BTreeMap, BTreeSet};

/// Each `A` concerns any number of `B`, and the other way round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::plan) struct Relation<A, B> {
    of: BTreeMap<A, Vec<B>>,
    with: BTreeMap<B, BTreeSet<A>>,
}

impl<A, B> Default for Relation<A, B> {
    fn default() -> Self {
        Self { of: BTreeMap::new(), with: BTreeMap::new() }
    }
}

impl<A: Clone + Ord, B: Clone + Ord> Relation<A, B> {
    /// What concerns this one.
    pub(in crate::plan) fn of(&self, one: &A) -> &[B] {
        self.of.get(one).map_or(&[], Vec::as_slice)
    }

    /// Those that this concerns.
    pub(in crate::plan) fn with(&self, other: &B) -> impl Iterator<Item = &A> {
        self.with.get(other).into_iter().flatten()
    }

    /// These concern it, in this order, and nothing else does.
    pub(in crate::plan) fn set(&mut self, one: &A, others: Vec<B>) {
        if self.of(one) == others {
            return;
        }
        for other in self.of.remove(one).into_iter().flatten() {
            if let Some(ones) = self.with.get_mut(&other) {
                ones.remove(one);
                if ones.is_empty() {
                    self.with.remove(&other);
                }
            }
        }
        for other in &others {
            self.with.entry(other.clone()).or_default().insert(one.clone());
        }
        if !others.is_empty() {
            self.of.insert(one.clone(), others);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_say_the_same() {
        let mut relation = Relation::default();
        relation.set(&1, vec!["a", "b"]);
        relation.set(&2, vec!["b"]);
        assert_eq!(relation.with(&"b").collect::<Vec<_>>(), [&1, &2]);
        relation.set(&1, vec!["c"]);
        assert_eq!(
            (relation.of(&1), relation.with(&"a").count(), relation.with(&"b").count()),
            (["c"].as_slice(), 0, 1)
        );
        relation.set(&1, Vec::new());
        relation.set(&2, Vec::new());
        assert_eq!(relation, Relation::default());
    }
}
