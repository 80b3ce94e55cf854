//! The `zkops` command: parse, dispatch, and tell the shell how it went.

use std::process::ExitCode;

use clap::Parser as _;
use zkops::cli::{Cli, report};

fn main() -> ExitCode {
    let cli = Cli::parse();
    run(cli).unwrap_or_else(|error| report(&error))
}

/// One thread is plenty for each of the roles, and keeps the agent small.
fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(cli.run())
}
