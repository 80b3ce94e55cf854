//! The `zkops` command.

fn main() {}
