//! What somebody may have meant who typed a verb that there is not.
//!
//! Clap proposes what is spelled alike. That is right for a slip of the finger and wrong for a word out of another tool,
//! and it must never lead to a verb that nobody is to type: a daemon's.

use clap::{
    Error,
    builder::StyledStr,
    error::{ContextKind, ContextValue, ErrorKind},
};

/// What other tools, or zkops's own subcommands, call it, and what it is here.
const MEANT: [(&[&str], &str); 12] = [
    (&["cordon", "uncordon", "undrain", "label"], "hosts {}"),
    (&["node", "nodes", "host"], "hosts"),
    (&["describe", "show"], "status` or `zkops explain"),
    (&["why"], "explain"),
    (&["start", "up", "run"], "enable"),
    (&["stop", "down"], "disable"),
    (&["remove", "rm", "purge"], "delete"),
    (&["ls", "ps", "list-units"], "get"),
    (&["rollback"], "rollout undo"),
    (&["pause", "resume", "promote", "abort", "undo", "history"], "rollout {}"),
    (&["push"], "config push"),
    (&["members", "rolling-restart"], "ensemble"),
];

/// The error with the tips that help, and without those that mislead.
pub(super) fn improve(mut error: Error, hidden: &[String]) -> Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let typed = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(typed)) => typed.clone(),
        _ => return error,
    };
    if let Some(meant) = meant(&typed) {
        error.remove(ContextKind::SuggestedSubcommand);
        let tip = StyledStr::from(format!("did you mean `zkops {meant}`?"));
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip]));
        return error;
    }
    let spelled = match error.remove(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(names)) => names,
        Some(ContextValue::String(name)) => vec![name],
        _ => Vec::new(),
    };
    let shown: Vec<String> = spelled.into_iter().filter(|name| !hidden.contains(name)).collect();
    if !shown.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(shown));
    }
    error
}

fn meant(typed: &str) -> Option<String> {
    let (_, meant) = MEANT.iter().find(|(words, _)| words.contains(&typed))?;
    Some(meant.replace("{}", typed))
}
