#![allow(clippy::unwrap_used)]
//! What holds of the command line as a whole.

use std::any::TypeId;

use clap::{Arg, Command};

use super::*;

/// Every command with its subcommands, and theirs.
fn commands(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().flat_map(commands);
    std::iter::once(command).chain(below).collect()
}

fn is_number(arg: &Arg) -> bool {
    let kinds = [
        TypeId::of::<u8>(),
        TypeId::of::<u16>(),
        TypeId::of::<u32>(),
        TypeId::of::<u64>(),
        TypeId::of::<usize>(),
        TypeId::of::<i32>(),
        TypeId::of::<i64>(),
    ];
    kinds.iter().any(|kind| arg.get_value_parser().type_id() == *kind)
}

/// Whether the argument takes this value, asked by itself.
fn takes(arg: &Arg, value: &str) -> bool {
    let arg = arg.clone().allow_hyphen_values(true);
    let arg = if arg.is_positional() { arg.index(1) } else { arg };
    let command = Command::new("zkops").arg(arg.clone());
    let words = match arg.get_long() {
        Some(long) => vec!["zkops".to_owned(), format!("--{long}={value}")],
        None => vec!["zkops".to_owned(), value.to_owned()],
    };
    command.try_get_matches_from(words).is_ok()
}

#[test]
fn no_number_is_taken_with_a_sign() {
    let mut command = Cli::command();
    command.build();
    let numbers: Vec<Arg> = commands(&command)
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter(|arg| is_number(arg))
        .cloned()
        .map(|arg| arg.num_args(1))
        .collect();
    assert!(numbers.len() >= 9, "{numbers:?}");
    for arg in numbers {
        assert!(takes(&arg, "1"), "{arg}");
        for value in ["+1", "-1", "1.0", " 1", "0x1"] {
            assert!(!takes(&arg, value), "{arg} takes {value}");
        }
    }
}

fn error(words: &[&str]) -> String {
    let error = Cli::try_parse_from(words.iter().copied()).unwrap_err();
    hint::improve(error, &hidden_verbs()).to_string()
}

#[test]
fn the_daemons_verbs_are_proposed_to_nobody() {
    assert_eq!(hidden_verbs(), ["agent", "controller"]);
    let help = Cli::command().render_long_help().to_string();
    assert!(!help.lines().any(|line| line.trim_start().starts_with("controller ")), "{help}");
    for typed in ["cordon", "controllers", "controler", "agents", "agnet", "contrller"] {
        let text = error(&["zkops", typed]);
        assert!(!text.contains("'controller'") && !text.contains("'agent'"), "{text}");
    }
    assert!(error(&["zkops", "cordon", "web1"]).contains("did you mean `zkops hosts cordon`?"));
    assert!(error(&["zkops", "promote", "webapp"]).contains("did you mean `zkops rollout promote`?"));
    assert!(error(&["zkops", "stauts"]).contains("'status'"));
}

#[test]
fn a_daemon_is_not_started_by_accident() {
    let own = process::id().to_string();
    let there = |set: &[(&str, &str)]| {
        let variable = |name: &str| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        Supervisor::of_environment(variable).is_there()
    };
    assert!(there(&[("NOTIFY_SOCKET", "/run/systemd/notify")]));
    assert!(there(&[("INVOCATION_ID", "5a"), ("SYSTEMD_EXEC_PID", &own)]));
    assert!(there(&[("INVOCATION_ID", "5a")]));
    assert!(!there(&[]));
    // A terminal in a unit of the user's hands its own on.
    assert!(!there(&[("INVOCATION_ID", "5a"), ("SYSTEMD_EXEC_PID", "1")]));
    let args = |foreground| DaemonArgs { config: None, check_config: false, foreground };
    let nobody = Supervisor { is_notified: false, is_of_unit: false };
    let refused = args(false).check_supervisor("controller", &nobody).unwrap_err().to_string();
    assert!(refused.contains("systemctl start zkops-controller") && refused.contains("--foreground"), "{refused}");
    assert!(args(true).check_supervisor("controller", &nobody).is_ok());
}
