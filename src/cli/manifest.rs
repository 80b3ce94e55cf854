//! Service description files: TOML, read strictly.
//!
//! ```text
//!  text ─► TOML (spans) ─► name · [desired] · the rest ─► strict::read ─► the model's own checks ─► Manifest
//!                │                                            │                  │
//!                └── where each key stands ──────────────► every problem, with line, key path and fix
//! ```
//!
//! The documents' types are the model's own; what makes the file strict (unknown keys, nearest names, lines) is here.

mod fields;
mod files;
mod sections;
mod spans;
mod strict;
mod words;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use toml::{Table, Value, de::DeTable};

pub(super) use self::files::{FileArgs, read_files};
use self::{
    files::Text,
    spans::{Place, Spans},
    strict::Finding,
};
use super::failure::Failure;
use crate::model::{Desired, Problem, ServiceName, ServiceSpec, Span, encode, one_line};

/// The keys of a document that someone wants set.
pub(super) type Keys = serde_json::Map<String, serde_json::Value>;

/// One service, as a file describes it.
#[derive(Clone, Debug)]
pub(super) struct Manifest {
    /// The file, for messages.
    pub(super) source: String,
    /// The service.
    pub(super) name: ServiceName,
    /// Its description; the file is all of it: keys left out have their default.
    pub(super) spec: ServiceSpec,
    /// The keys of `[desired]` that the file sets; `None` when it has no such section. Keys left out are left as
    /// they are in the tree, so that a file may leave `replicas` to `zkops scale`.
    pub(super) desired: Option<Keys>,
}

/// One complaint about a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Complaint {
    place: Place,
    key: String,
    message: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place: Place { line, column }, key, message } = self;
        write!(f, "{line}:{column}: ")?;
        // What the file has in it is repeated.
        let (key, message) = (one_line(key), one_line(message));
        if key.is_empty() { f.write_str(&message) } else { write!(f, "{key}: {message}") }
    }
}

/// Reads all texts before anything is done with one of them.
///
/// # Errors
/// [`Failure::Input`] with every problem of every text.
fn read_all(texts: &[Text]) -> anyhow::Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    let mut complaints = Vec::new();
    for Text { source, text } in texts {
        for (lines_before, document) in files::documents(text) {
            let place = if lines_before == 0 { source.clone() } else { format!("{source}:{}", lines_before + 1) };
            match parse(&place, document) {
                Ok(manifest) => manifests.push(manifest),
                Err(found) => complaints.extend(found.into_iter().map(|mut complaint| {
                    complaint.place.line += lines_before;
                    format!("{source}:{complaint}")
                })),
            }
        }
    }
    complaints.extend(twice(&manifests));
    if complaints.is_empty() { Ok(manifests) } else { Err(Failure::Input(complaints.join("\n")).into()) }
}

/// Reads what may be a file of descriptions. A target of [`crate::fuzz`]: what is read can be written to the tree and read
/// there, and what is not is told line by line.
#[cfg(test)]
pub(crate) fn read_manifests(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match read_all(&[Text { source: "webapp.toml".to_owned(), text: text.to_owned() }]) {
        Ok(manifests) => {
            for Manifest { spec, .. } in manifests {
                assert!(spec.problems().is_empty(), "{:?}", spec.problems());
                assert_eq!(crate::model::decode::<ServiceSpec>(&encode(&spec)).ok(), Some(spec));
            }
        }
        Err(error) => {
            let told = error.to_string();
            assert!(told.lines().all(|line| line.starts_with("webapp.toml:")), "{told}");
        }
    }
}

/// Services that more than one file describes.
fn twice(manifests: &[Manifest]) -> Vec<String> {
    let mut first: BTreeMap<&ServiceName, &str> = BTreeMap::new();
    let mut clashes = Vec::new();
    for Manifest { source, name, .. } in manifests {
        if let Some(other) = first.insert(name, source) {
            clashes.push(format!("{source}: name: {other} describes \"{name}\" as well"));
        }
    }
    clashes
}

/// Reads one description.
fn parse(source: &str, text: &str) -> Result<Manifest, BTreeSet<Complaint>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax(text, error)).collect());
    }
    let mut reader = Reader { spans: Spans::of(text, document.get_ref()), complaints: BTreeSet::new() };
    let table = text.parse().map_err(|error| BTreeSet::from([syntax(text, &error)]))?;
    let manifest = reader.manifest(source, table);
    manifest.filter(|_| reader.complaints.is_empty()).ok_or(reader.complaints)
}

fn syntax(text: &str, error: &toml::de::Error) -> Complaint {
    let place = spans::place(text, error.span().map_or(0, |span| span.start));
    Complaint { place, key: String::new(), message: error.message().to_owned() }
}

/// Reads the parts of one file and gathers what is wrong with them.
struct Reader<'t> {
    spans: Spans<'t>,
    complaints: BTreeSet<Complaint>,
}

impl Reader<'_> {
    fn manifest(&mut self, source: &str, mut table: Table) -> Option<Manifest> {
        let name = self.name(&mut table);
        for section in sections::all() {
            self.must_be_section(&mut table, &section);
        }
        if table.remove("deleting").is_some() {
            self.complain(self.spans.key("deleting"), "deleting", "unknown key; `zkops delete` removes a service");
        }
        let desired = match table.remove("desired") {
            Some(Value::Table(table)) => self.desired(&table).map(Some),
            _ => Some(None),
        };
        let spec = self.spec(table);
        Some(Manifest { source: source.to_owned(), name: name?, spec: spec?, desired: desired? })
    }

    fn name(&mut self, table: &mut Table) -> Option<ServiceName> {
        #[derive(serde::Deserialize)]
        struct Name {
            name: ServiceName,
        }
        let name = table.remove("name").map(|name| ("name".to_owned(), name)).into_iter().collect();
        self.read("", name).map(|Name { name }| name)
    }

    fn spec(&mut self, table: Table) -> Option<ServiceSpec> {
        let spec: ServiceSpec = self.read("", table.clone())?;
        let of_spans = odd_spans(&Value::Table(table), &serde_json::to_value(&spec).unwrap_or_default(), "");
        for problem in spec.problems().into_iter().chain(spec.flaws()).chain(of_spans) {
            self.complain(self.spans.value(&problem.key), &problem.key, &problem.message);
        }
        let bytes = encode(&spec).len();
        if bytes > ServiceSpec::MAX_BYTES {
            let allowed = ServiceSpec::MAX_BYTES;
            let message = format!("the description takes {bytes} bytes in the tree, {allowed} are allowed");
            self.complain(self.spans.key("unit_file"), "", &message);
        }
        Some(spec)
    }

    /// Takes out what should be a section and is none: serde would read a list as one, by position.
    fn must_be_section(&mut self, table: &mut Table, section: &str) {
        let (parents, key) = section.rsplit_once('.').map_or((None, section), |(parents, key)| (Some(parents), key));
        let mut keys = parents.into_iter().flat_map(|parents| parents.split('.'));
        let inner = keys.try_fold(table, |table, key| table.get_mut(key).and_then(Value::as_table_mut));
        let Some(inner) = inner else { return };
        if inner.get(key).is_some_and(|value| !value.is_table()) {
            inner.remove(key);
            self.complain(self.spans.key(section), section, &format!("must be a section: [{section}]"));
        }
    }

    fn desired(&mut self, table: &Table) -> Option<Keys> {
        let desired: Desired = self.read("desired", table.clone())?;
        for problem in desired.problems() {
            let key = spans::join("desired", &problem.key);
            self.complain(self.spans.value(&key), &key, &problem.message);
        }
        let json = serde_json::to_value(table).ok()?;
        json.as_object().cloned()
    }

    /// Reads `table`, which stands at the path `at`.
    fn read<T: serde::de::DeserializeOwned>(&mut self, at: &str, table: Table) -> Option<T> {
        match strict::read(table) {
            Ok(document) => Some(document),
            Err(findings) => {
                for finding in findings {
                    self.finding(at, finding);
                }
                None
            }
        }
    }

    fn finding(&mut self, at: &str, finding: Finding) {
        let (place, path, message) = match finding {
            Finding::Unknown { path } => {
                let path = spans::join(at, &path);
                (self.spans.key(&path), path.clone(), sections::unknown(&path))
            }
            Finding::Missing { path } => {
                let path = spans::join(at, &path);
                (self.spans.key(&path), path.clone(), format!("missing; {}", example(&path)))
            }
            Finding::Wrong { path, message } => {
                let path = spans::join(at, &path);
                let message = words::plain(&path, &message);
                (self.spans.value(&path), path, message)
            }
        };
        self.complain(place, &path, &message);
    }

    fn complain(&mut self, place: Place, key: &str, message: &str) {
        self.complaints.insert(Complaint { place, key: key.to_owned(), message: message.to_owned() });
    }
}

/// The durations that are read from a document (`read`), but are none that a person should write.
fn odd_spans(written: &Value, read: &serde_json::Value, at: &str) -> Vec<Problem> {
    match (written, read) {
        (Value::Table(table), _) => {
            table.iter().flat_map(|(key, value)| odd_spans(value, &read[key], &spans::join(at, key))).collect()
        }
        // Only a duration is put in other words that are a duration again.
        (Value::String(text), serde_json::Value::String(read)) if text != read && read.parse::<Span>().is_ok() => {
            text.parse::<Span>().err().map(|error| Problem::new(at, error)).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// A line that would be right for a key that must be there.
fn example(key: &str) -> String {
    match key {
        "name" => "write name = \"SERVICE\"".to_owned(),
        "unit" => "write unit = \"NAME.service\", or \"NAME@.service\" to run several on a host".to_owned(),
        "source.archive.url" => "write url = \"https://…/{version}.tar.gz\"".to_owned(),
        "source.apt.package" => "write package = \"NAME\"".to_owned(),
        "source.nix.store_path" => {
            "write store_path = \"/nix/store/…\", or \"{version}\" when the version is the path".to_owned()
        }
        _ if key.ends_with(".command") => "write command = [\"/PROGRAM\", \"ARGUMENT\"]".to_owned(),
        _ => {
            let key = key.rsplit('.').next().unwrap_or(key);
            format!("write {key} = \"…\"")
        }
    }
}
