//! Units and their generated files, read beside the loop.

use crate::{
    blocking,
    model::{Files, LoadState, UnitName, UnitStatus},
    systemd::{FileError, UnitError, UnitFiles},
};

/// What is known by an answer of systemd's, or why nothing is.
///
/// A unit that systemd knows nothing of for good (its name is none, its file is unusable) is one that cannot be loaded: an
/// answer, and not for lack of one.
pub(super) fn answer(answer: Result<UnitStatus, UnitError>) -> Result<UnitStatus, String> {
    let message = match answer {
        Ok(status) => return Ok(status),
        Err(error @ (UnitError::NoSuchUnit { .. } | UnitError::Unusable { .. })) => error.to_string(),
        Err(UnitError::Refused { name, message }) if name == "org.freedesktop.DBus.Error.InvalidArgs" => message,
        Err(error) => return Err(error.to_string()),
    };
    Ok(UnitStatus { load: LoadState::Error, load_error: Some(message), ..UnitStatus::not_found() })
}

/// The unit's generated files as they are. May block.
pub(super) fn read(files: &UnitFiles, unit: &UnitName) -> Result<Files, FileError> {
    let (drop_in, variables) = (files.read_drop_in(unit)?, files.read_variables(unit)?);
    Ok(Files { drop_in, variables, unit_file: files.read_unit_file(unit)? })
}

/// The same of several, beside the loop.
pub(super) async fn read_all(files: UnitFiles, units: Vec<UnitName>) -> Vec<(UnitName, Result<Files, String>)> {
    let read = move |unit: UnitName| {
        let found = read(&files, &unit).map_err(|error| error.to_string());
        (unit, found)
    };
    blocking::GENERATED.run(move || units.into_iter().map(read).collect()).await
}

/// The same of one.
pub(super) async fn read_beside(files: UnitFiles, unit: UnitName) -> Result<Files, String> {
    blocking::GENERATED.run(move || read(&files, &unit).map_err(|error| error.to_string())).await
}
