//! Where each key of a TOML text stands, so that a complaint can name line and column.

use std::{collections::BTreeMap, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A place in a text, both counted from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// The places of a text's keys and values, by dotted key path.
pub(super) struct Spans<'t> {
    text: &'t str,
    keys: BTreeMap<String, Range<usize>>,
    values: BTreeMap<String, Range<usize>>,
}

impl<'t> Spans<'t> {
    pub(super) fn of(text: &'t str, table: &DeTable<'_>) -> Self {
        let mut spans = Self { text, keys: BTreeMap::new(), values: BTreeMap::new() };
        spans.enter("", table);
        spans
    }

    fn enter(&mut self, parent: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = join(parent, key.get_ref());
            self.keys.insert(path.clone(), key.span());
            self.descend(path, value);
        }
    }

    /// Notes the value's place; a table has none of its own, it stands where its key does.
    fn descend(&mut self, path: String, value: &Spanned<DeValue<'_>>) {
        if let DeValue::Table(table) = value.get_ref() {
            return self.enter(&path, table);
        }
        for (index, item) in value.get_ref().as_array().into_iter().flatten().enumerate() {
            self.descend(join(&path, &index.to_string()), item);
        }
        self.values.insert(path, value.span());
    }

    /// Where the key at `path` is written; else where the nearest of its parents is; else the text's start.
    pub(super) fn key(&self, path: &str) -> Place {
        nearest(&self.keys, path).map_or(Place { line: 1, column: 1 }, |span| place(self.text, span.start))
    }

    /// Where the value at `path` is written; else where its key is.
    pub(super) fn value(&self, path: &str) -> Place {
        self.values.get(path).map_or_else(|| self.key(path), |span| place(self.text, span.start))
    }
}

/// The span of `path` or of the closest parent that has one.
fn nearest<'m>(spans: &'m BTreeMap<String, Range<usize>>, path: &str) -> Option<&'m Range<usize>> {
    let mut path = path;
    loop {
        if let Some(span) = spans.get(path) {
            return Some(span);
        }
        path = path.rsplit_once('.')?.0;
    }
}

/// `parent.key`, without the dot at the root.
pub(super) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// Line and column of a byte offset.
pub(super) fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Place { line, column }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_and_values_have_places() {
        let text = "name = \"ü\"\n[placement]\n  constraints = [\"a\",\n   \"b\"]\nspread.x = 1\n";
        let table = DeTable::parse(text).unwrap();
        let spans = Spans::of(text, table.get_ref());
        let at = |line, column| Place { line, column };
        assert_eq!(spans.key("name"), at(1, 1));
        assert_eq!(spans.value("name"), at(1, 8));
        assert_eq!(spans.key("placement"), at(2, 2));
        assert_eq!(spans.value("placement"), at(2, 2));
        assert_eq!(spans.value("placement.constraints"), at(3, 17));
        assert_eq!(spans.value("placement.constraints.1"), at(4, 4));
        assert_eq!(spans.value("placement.spread.x"), at(5, 12));
        assert_eq!(spans.key("placement.missing"), at(2, 2));
        assert_eq!(spans.key("missing"), at(1, 1));
    }
}
