//! `--check-index`: nothing is written unless everything is as it was when `zkops plan` looked.

use std::{collections::BTreeMap, str::FromStr};

use crate::{
    cli::{failure::Failure, manifest::Manifest},
    model::{ServiceName, read_number},
};

/// One index that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckIndex {
    /// Of the only file.
    Only(i64),
    /// Of this service.
    Of(ServiceName, i64),
}

impl FromStr for CheckIndex {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let index = |text: &str| {
            read_number(text).map_err(|_| "write the index that `zkops plan` prints, N or SERVICE=N".to_owned())
        };
        match text.split_once('=') {
            None => Ok(Self::Only(index(text)?)),
            Some((name, number)) => Ok(Self::Of(name.parse().map_err(|error| format!("{error}"))?, index(number)?)),
        }
    }
}

/// The index expected of each service; empty when none is.
///
/// # Errors
/// A bare index for several files; a service without one, or an index without a service.
pub(super) fn expected(given: &[CheckIndex], manifests: &[Manifest]) -> Result<BTreeMap<ServiceName, i64>, Failure> {
    let mut expected = BTreeMap::new();
    for check in given {
        let (name, index) = match (check, manifests) {
            (CheckIndex::Of(name, index), _) => (name, index),
            (CheckIndex::Only(index), [only]) => (&only.name, index),
            (CheckIndex::Only(_), _) => {
                return Err(Failure::Input(
                    "--check-index N is for one file: write SERVICE=N for each of several".into(),
                ));
            }
        };
        if !manifests.iter().any(|manifest| manifest.name == *name) {
            return Err(Failure::Input(format!("--check-index {name}={index}: no file describes {name}")));
        }
        if expected.insert(name.clone(), *index).is_some() {
            return Err(Failure::Input(format!("--check-index is given twice for {name}")));
        }
    }
    match manifests.iter().find(|manifest| !expected.contains_key(&manifest.name)) {
        Some(manifest) if !expected.is_empty() => {
            let name = &manifest.name;
            Err(Failure::Input(format!("--check-index {name}=N is missing: give one for each service, or none")))
        }
        _ => Ok(expected),
    }
}

/// Refuses when the index is not the one expected.
pub(super) fn check(name: &ServiceName, expected: i64, found: i64) -> Result<(), Failure> {
    if expected == found {
        return Ok(());
    }
    let text = format!(
        "{name} has changed since it was planned: its index is {found}, not {expected}; look with `zkops plan`"
    );
    Err(Failure::Conflict(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_read() {
        assert_eq!("7".parse(), Ok(CheckIndex::Only(7)));
        let of = "web=7".parse::<CheckIndex>();
        assert!(matches!(of, Ok(CheckIndex::Of(name, 7)) if name.as_str() == "web"));
        for bad in ["", "-1", "x", "=7", "web=", "WEB=7"] {
            assert!(bad.parse::<CheckIndex>().is_err(), "{bad}");
        }
    }
}
