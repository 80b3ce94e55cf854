//! Which files descriptions are read from, and where one description ends in a text of several.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use super::{Manifest, read_all};
use crate::cli::failure::Failure;

/// What separates the descriptions of one text: a line of its own, which TOML has no use for.
const SEPARATOR: &str = "---";

/// The files that a verb reads services' descriptions from.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct FileArgs {
    /// Files with services' descriptions, or folders: of each its *.toml, by name; `-` is standard input. A line `---`
    /// separates the descriptions of one file
    #[arg(short, long = "file", value_name = "FILE|DIR", required = true, num_args = 1..)]
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,
}

impl FileArgs {
    /// All descriptions, before anything is done with one of them.
    ///
    /// # Errors
    /// [`Failure::Input`] with every problem of every file; an I/O error for standard input.
    pub(in crate::cli) fn read(&self) -> anyhow::Result<Vec<Manifest>> {
        read_files(&self.files)
    }
}

/// All descriptions of these files and folders.
///
/// # Errors
/// As [`FileArgs::read`].
pub(in crate::cli) fn read_files(files: &[PathBuf]) -> anyhow::Result<Vec<Manifest>> {
    let mut texts = Vec::new();
    for file in files {
        texts.extend(read(file)?);
    }
    read_all(&texts)
}

/// One file's text.
pub(super) struct Text {
    /// The file, for messages.
    pub(super) source: String,
    pub(super) text: String,
}

fn read(file: &Path) -> anyhow::Result<Vec<Text>> {
    if file == Path::new("-") {
        let mut text = String::new();
        io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(vec![Text { source: "<stdin>".into(), text }]);
    }
    if file.is_dir() {
        return Ok(in_folder(file)?.iter().map(|file| read_file(file)).collect::<Result<_, _>>()?);
    }
    Ok(vec![read_file(file)?])
}

fn read_file(file: &Path) -> Result<Text, Failure> {
    let source = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| Failure::Input(format!("cannot read {source}: {error}")))?;
    Ok(Text { source, text })
}

/// The folder's own `*.toml`, sorted by name; those that editors hide are none.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let name = folder.display();
    let unreadable = |error: io::Error| Failure::Input(format!("cannot read {name}: {error}"));
    let entries = fs::read_dir(folder).map_err(unreadable)?.collect::<Result<Vec<_>, _>>().map_err(unreadable)?;
    let is_description = |path: &PathBuf| {
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        path.extension().is_some_and(|end| end == "toml") && !hidden && !path.is_dir()
    };
    let mut files: Vec<_> = entries.into_iter().map(|entry| entry.path()).filter(is_description).collect();
    files.sort();
    if files.is_empty() {
        let text = format!("{name} has no *.toml file (folders below it are not looked into)");
        return Err(Failure::Input(text));
    }
    Ok(files)
}

/// The descriptions in a text, each with the number of lines before it. Those that say nothing are left out, unless all
/// of them do.
pub(super) fn documents(text: &str) -> Vec<(usize, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line, mut offset, mut place) = (0, 0, 0, Place::Plain);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if place == Place::Plain && line.trim_end() == SEPARATOR {
            documents.push((first_line, &text[start..offset]));
            (start, first_line) = (offset + line.len(), number + 1);
        } else {
            place = place.after(line.as_bytes());
        }
        offset += line.len();
    }
    documents.push((first_line, &text[start..]));
    let says = |text: &str| text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
    documents.retain(|(_, text)| says(text));
    if documents.is_empty() { vec![(0, text)] } else { documents }
}

/// Where a line of TOML begins: a string of several lines may hold a separator of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Plain,
    /// Within `"""` or `'''`.
    Within(u8),
}

impl Place {
    /// Where the next line begins.
    fn after(self, line: &[u8]) -> Self {
        let (mut place, mut rest) = (self, line);
        while let [first, after @ ..] = rest {
            rest = match (place, first) {
                (Self::Plain, b'#') => return Self::Plain,
                (Self::Plain, b'"' | b'\'') if rest.starts_with(&[*first; 3]) => {
                    place = Self::Within(*first);
                    &rest[3..]
                }
                (Self::Plain, b'"' | b'\'') => past_string(*first, after),
                (Self::Within(b'"'), b'\\') => after.get(1..).unwrap_or_default(),
                (Self::Within(quote), first) if quote == *first && rest.starts_with(&[quote; 3]) => {
                    place = Self::Plain;
                    // Up to two quotes may stand before the end.
                    let quotes = rest.iter().take(5).take_while(|byte| **byte == quote).count();
                    &rest[quotes..]
                }
                _ => after,
            };
        }
        place
    }
}

/// What follows a string of one line.
fn past_string(quote: u8, mut rest: &[u8]) -> &[u8] {
    loop {
        rest = match rest {
            [] => return rest,
            [b'\\', _, after @ ..] if quote == b'"' => after,
            [first, after @ ..] if *first == quote => return after,
            [_, after @ ..] => after,
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_of_dashes_separates_descriptions() {
        assert_eq!(documents("a = 1\n---\nb = 2\n"), [(0, "a = 1\n"), (2, "b = 2\n")]);
        assert_eq!(documents("---\n# none\n--- \r\na = 1\n---\n"), [(3, "a = 1\n")]);
        assert_eq!(documents("a = 1"), [(0, "a = 1")]);
        assert_eq!(documents("# nothing\n"), [(0, "# nothing\n")]);
        assert_eq!(documents("a = 1\n ---\n"), [(0, "a = 1\n ---\n")], "TOML will say what is wrong with it");
    }

    #[test]
    fn strings_may_have_such_lines() {
        for text in [
            "a = \"\"\"\n---\n\"\"\"\n",
            "a = '''\n---\n'''\n",
            "a = \"\"\"x\\\"\"\"\n---\n\"\"\"\"\"\n",
            "a = '''\n'\"\"\"\n---\n''''\n",
        ] {
            assert_eq!(documents(text), [(0, text)], "{text}");
            assert!(text.parse::<toml::Table>().is_ok(), "{text}");
        }
        for text in
            ["a = '\"\"\"'", "a = \"'''\"", "a = \"\\\"\" # '''", "a = 1 # \"\"\"", "a = ''", "a = \"\"\"b\"\"\""]
        {
            assert!(text.parse::<toml::Table>().is_ok(), "{text}");
            let two = format!("{text}\n---\nb = 2\n");
            assert_eq!(documents(&two).len(), 2, "{two}");
        }
    }

    #[test]
    fn a_folder_is_its_descriptions_by_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(in_folder(folder.path()).is_err_and(|error| error.to_string().contains("has no *.toml file")));
        for name in ["b.toml", "a.toml", ".#a.toml", "a.toml~", "README"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("c.toml")).unwrap();
        let names: Vec<_> = in_folder(folder.path()).unwrap();
        assert_eq!(names, ["a.toml", "b.toml"].map(|name| folder.path().join(name)));
    }
}
