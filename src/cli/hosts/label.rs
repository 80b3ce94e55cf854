//! `zkops hosts label`: `KEY=VALUE` sets a label, `KEY-` takes it away.

use std::str::FromStr;

use super::word;
use crate::{
    cli::context::Context,
    model::{HostName, Selector},
};

/// One change to a host's labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LabelChange {
    Set(String, String),
    TakeAway(String),
}

impl FromStr for LabelChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let change = match (text.split_once('='), text.strip_suffix('-')) {
            (Some((key, value)), _) => Self::Set(key.to_owned(), value.to_owned()),
            (None, Some(key)) => Self::TakeAway(key.to_owned()),
            (None, None) => return Err("write KEY=VALUE to set a label, KEY- to take it away".into()),
        };
        if change.is_selectable() { Ok(change) } else { Err("use letters, digits and -_./ in keys and values".into()) }
    }
}

impl LabelChange {
    /// Whether a selector could name the label: what no `constraints` can match would be of no use.
    fn is_selectable(&self) -> bool {
        let (key, value) = match self {
            Self::Set(key, value) => (key.as_str(), value.as_str()),
            Self::TakeAway(key) => (key.as_str(), "x"),
        };
        let good =
            |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c));
        good(key) && good(value) && format!("{key}={value}").parse::<Selector>().is_ok()
    }
}

pub(super) async fn run(host: &HostName, changes: &[LabelChange], cx: &Context) -> anyhow::Result<()> {
    word::change(host, "labelled", cx, |word| {
        for change in changes {
            match change {
                LabelChange::Set(key, value) => word.labels.insert(key.clone(), value.clone()),
                LabelChange::TakeAway(key) => word.labels.remove(key),
            };
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_taken_away() {
        assert_eq!("zone=a".parse(), Ok(LabelChange::Set("zone".into(), "a".into())));
        assert_eq!("gpu-".parse(), Ok(LabelChange::TakeAway("gpu".into())));
        assert_eq!("a-b=c-".parse(), Ok(LabelChange::Set("a-b".into(), "c-".into())));
        for bad in ["", "zone", "=a", "zone=", "-", "zone=a b", "a=b=c", "a!=b", "zone==a"] {
            assert!(bad.parse::<LabelChange>().is_err(), "{bad}");
        }
    }
}
