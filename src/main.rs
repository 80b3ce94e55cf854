//! The `zkops` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    zkops::cli::main()
}
