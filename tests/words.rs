//! What people read is in plain words, and numbers agree with their nouns (docs/glossary.md): messages in `src`, documents, and the
//! scenarios, whose titles documents repeat.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path};

use proc_macro2::{TokenStream, TokenTree};

/// Words that nobody is to read, and what is said instead.
const BANNED: [(&str, &str); 6] = [
    ("can't", "cannot"),
    ("mend", "fix"),
    ("mended", "fixed"),
    ("mends", "fixes"),
    ("mending", "fixing"),
    ("anew", "again"),
];

/// Nouns that messages count.
const COUNTED: [&str; 12] = [
    "replica", "host", "service", "rollout", "revision", "member", "file", "unit", "move", "server", "change", "event",
];

/// What stands before a number that the noun does not agree with: `2 of 1 replicas`, `1/1 replicas`, `1 -> 2 replicas`.
const AGREES: [&str; 5] = ["of ", "/", "-> ", "all ", "more than "];

/// Messages that are written for numbers from 2 on alone.
const SEVERAL: [&str; 9] = [
    "{voters} members have a vote",
    "{count} replicas failed",
    "{count} replicas of this service were moved",
    "{hosts} hosts: ",
    "{count} members bear no more losses",
    "{count} members: give 3",
    "{} members may be this host",
    "{changes} members would be changed",
    "{wanted} hosts are needed",
];

fn files(folder: &str, ending: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{folder}/{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            files(&path, ending, found);
        } else if path.ends_with(ending) {
            found.push(path);
        }
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The string literals of a source, comments left out.
fn literals(tokens: TokenStream, found: &mut Vec<String>) {
    let (mut is_doc, mut before) = (false, String::new());
    for token in tokens {
        match token {
            TokenTree::Group(group) => literals(group.stream(), found),
            TokenTree::Literal(literal) if !is_doc => found.push(literal.to_string()),
            ref other => {
                let text = other.to_string();
                is_doc = text == "=" && before == "doc";
                before = text;
                continue;
            }
        }
        is_doc = false;
    }
}

/// What people may read: the messages in `src`, but for its tests, and all of the documents and scenarios.
fn told() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    files("src", ".rs", &mut sources);
    let is_test = |path: &String| {
        ["/tests/", "/tests.rs", "src/sim", "/check/", "/check.rs", "/proptests"].iter().any(|part| path.contains(part))
    };
    let mut told = Vec::new();
    for path in sources.into_iter().filter(|path| !is_test(path) || path.starts_with("src/configuration")) {
        let text = read(&path);
        let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
        let mut found = Vec::new();
        literals(text.parse().unwrap(), &mut found);
        told.extend(found.into_iter().map(|literal| (path.clone(), literal)));
    }
    let mut documents = vec!["README.md".to_owned(), "CONTRIBUTING.md".to_owned()];
    for (folder, ending) in
        [("docs", ".md"), ("examples", ".md"), ("vm-tests/scenarios", ".py"), ("tests/cmd", ".trycmd")]
    {
        files(folder, ending, &mut documents);
    }
    // Decisions stand as they were written.
    let documents = documents.into_iter().filter(|path| !path.starts_with("docs/adr"));
    told.extend(
        documents.flat_map(|path| read(&path).lines().map(|line| (path.clone(), line.to_owned())).collect::<Vec<_>>()),
    );
    told
}

fn is_word(text: &str, at: usize, length: usize) -> bool {
    let letter = |c: Option<char>| c.is_some_and(char::is_alphabetic);
    !letter(text[..at].chars().next_back()) && !letter(text[at + length..].chars().next())
}

fn banned(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let found = BANNED.iter().find(|(word, _)| lower.match_indices(word).any(|(at, it)| is_word(&lower, at, it.len())));
    found.map(|(word, instead)| format!("\"{word}\": say \"{instead}\""))
}

/// `1 replicas`, or a number of which nobody knows that it is not one.
fn disagrees(text: &str) -> Option<String> {
    COUNTED.iter().find_map(|noun| {
        let plural = format!(" {noun}s");
        text.match_indices(&plural).find_map(|(at, _)| {
            let before = &text[..at];
            let number = if before.ends_with('}') { before.rfind('{')? } else { before.strip_suffix('1')?.len() };
            let is_number = before.ends_with('}')
                || !before[..number].ends_with(|c: char| c.is_alphanumeric() || "./:-".contains(c));
            let agrees = AGREES.iter().any(|words| before[..number].ends_with(words));
            let several = SEVERAL.iter().any(|message| text[number..].starts_with(message));
            (is_word(text, at + 1, plural.len() - 1) && is_number && !agrees && !several)
                .then(|| format!("\"{}{plural}\": say it with `counted`", &before[number..]))
        })
    })
}

#[test]
fn what_people_read_is_in_plain_words() {
    let told = told();
    assert!(told.len() > 5_000, "{} lines", told.len());
    let wrong = told.iter().filter_map(|(path, text)| {
        let wrong = banned(text).or_else(|| disagrees(text).filter(|_| path.starts_with("src")))?;
        Some(format!("{path}: {wrong}\n    {}", text.trim()))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_words_are_found() {
    for text in ["it can't be read", "Mend it", "is read anew"] {
        assert!(banned(text).is_some(), "{text}");
    }
    for text in ["it cannot be read", "recommended", "a renewal"] {
        assert_eq!(banned(text), None, "{text}");
    }
    for text in ["1 replicas", "{} hosts", "in {count} files"] {
        assert!(disagrees(text).is_some(), "{text}");
    }
    for text in ["1 of 1 replicas", "{ready}/{wanted} replicas", "11 replicas", "{} hostsets", "1 host"] {
        assert_eq!(disagrees(text), None, "{text}");
    }
}
