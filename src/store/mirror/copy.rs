//! What a mirror knows of the tree, and what of it has not been shown yet.

use std::collections::BTreeMap;

use crate::tree::node::Node;

/// Enough of every node to tell whether one that was read is another; the data itself is the consumer's to keep.
#[derive(Default)]
pub(super) struct Copy {
    marks: BTreeMap<String, Mark>,
    /// Counts the walks, to find what the last one has not seen.
    walk: u32,
    /// Differences not shown yet. They outlive a connection: the next one finds the nodes as they are known.
    pub(super) unshown: BTreeMap<String, Option<Node>>,
}

struct Mark {
    mzxid: i64,
    version: i32,
    ephemeral_owner: i64,
    walk: u32,
}

/// How a node that was read compares to what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    New,
    Changed,
    Same,
}

impl Copy {
    pub(super) fn knows(&self, path: &str) -> bool {
        self.marks.contains_key(path)
    }

    pub(super) fn see(&mut self, path: &str, node: Node) -> Seen {
        let (mzxid, version, ephemeral_owner) = (node.mzxid, node.version, node.ephemeral_owner);
        let mark = Mark { mzxid, version, ephemeral_owner, walk: self.walk };
        let seen = match self.marks.get_mut(path) {
            Some(known) => match std::mem::replace(known, mark) {
                known if (known.mzxid, known.version, known.ephemeral_owner) == (mzxid, version, ephemeral_owner) => {
                    return Seen::Same;
                }
                _ => Seen::Changed,
            },
            None => {
                self.marks.insert(path.to_owned(), mark);
                Seen::New
            }
        };
        self.unshown.insert(path.to_owned(), Some(node));
        seen
    }

    /// There is no such node and, as always in ZooKeeper, nothing below it.
    pub(super) fn gone(&mut self, path: &str) {
        let below = format!("{}/", path.trim_end_matches('/'));
        let inside = self.marks.range(below.clone()..).map(|(path, _)| path);
        let mut gone: Vec<String> = inside.take_while(|path| path.starts_with(&below)).cloned().collect();
        gone.push(path.to_owned());
        for path in gone {
            if self.marks.remove(&path).is_some() {
                self.unshown.insert(path, None);
            }
        }
    }

    /// A read of everything begins.
    pub(super) fn begin_walk(&mut self) {
        self.walk += 1;
    }

    /// Everything that is there has been seen: the rest is gone.
    pub(super) fn end_walk(&mut self) {
        let Self { marks, walk, unshown } = self;
        marks.retain(|path, mark| {
            let seen = mark.walk == *walk;
            if !seen {
                unshown.insert(path.clone(), None);
            }
            seen
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(mzxid: i64) -> Node {
        Node { data: Vec::new(), version: 0, mzxid, ephemeral_owner: 0 }
    }

    fn shown(copy: &mut Copy) -> Vec<(String, bool)> {
        std::mem::take(&mut copy.unshown).into_iter().map(|(path, node)| (path, node.is_some())).collect()
    }

    #[test]
    fn only_differences_are_shown() {
        let mut copy = Copy::default();
        assert_eq!(
            [copy.see("/a", node(1)), copy.see("/a", node(1)), copy.see("/a", node(2))],
            [Seen::New, Seen::Same, Seen::Changed]
        );
        assert_eq!(shown(&mut copy), [("/a".to_owned(), true)]);
        assert_eq!(copy.see("/a", node(2)), Seen::Same);
        assert_eq!(shown(&mut copy), []);
    }

    #[test]
    fn what_is_below_goes_with_it() {
        let mut copy = Copy::default();
        for path in ["/a", "/a-b", "/a/b", "/a/b/c", "/b"] {
            copy.see(path, node(1));
        }
        shown(&mut copy);
        copy.gone("/a");
        copy.gone("/never");
        assert_eq!(shown(&mut copy), ["/a", "/a/b", "/a/b/c"].map(|path| (path.to_owned(), false)));
        assert!(copy.knows("/a-b"));
    }

    #[test]
    fn a_walk_finds_what_is_missing() {
        let mut copy = Copy::default();
        copy.see("/a", node(1));
        copy.see("/b", node(1));
        copy.begin_walk();
        copy.see("/a", node(1));
        // Created while the walk was under way, and read because of its event.
        copy.see("/c", node(2));
        copy.end_walk();
        let expected = [("/a", true), ("/b", false), ("/c", true)].map(|(path, there)| (path.to_owned(), there));
        assert_eq!(shown(&mut copy), expected);
    }
}
