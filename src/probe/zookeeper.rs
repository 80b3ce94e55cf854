//! The `zookeeper` check: a server answers a four-letter word as a healthy one does.

use std::fmt;

use super::failure::Failure;
use crate::{
    connect::{self, ANSWER},
    model::{Address, ZooKeeperCheck},
};

/// A word, and the server that it is said to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FourLetters {
    word: String,
    address: Address,
}

impl fmt::Display for FourLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "zookeeper {} {}", self.word, self.address)
    }
}

impl FourLetters {
    pub(super) fn new(check: &ZooKeeperCheck, address: Address) -> Self {
        Self { word: check.command.clone().unwrap_or_else(|| "ruok".to_owned()), address }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Says the word, and reads the answer until the server closes.
    pub(super) async fn run(&self) -> Result<(), Failure> {
        let answer = connect::say(&self.word, &self.address, ANSWER).await.map_err(|error| Failure::io(&error))?;
        Ok(judge(&self.word, &answer)?)
    }
}

/// Whether a healthy server says so. One that does not serve says so in its first line, as does one whose whitelist
/// lacks the word.
fn judge(word: &str, answer: &str) -> Result<(), String> {
    let healthy = match word {
        "ruok" => answer.trim() == "imok",
        _ => answer.lines().any(|line| line.starts_with("Mode:")),
    };
    match answer.lines().next() {
        _ if healthy => Ok(()),
        None => Err("an empty answer".to_owned()),
        Some(first) => Err(super::brief(first)),
    }
}

#[cfg(test)]
mod tests;
