# `nix develop`: what building and checking zkops needs. The scenarios of vm-tests/ want a Debian machine.
{
  mkShell,
  cargo,
  cargo-deny,
  cargo-nextest,
  clippy,
  deadnix,
  jdk_headless,
  nixfmt,
  # The one in Rust, where nixpkgs has it.
  nixfmt-rs ? nixfmt,
  python3,
  ruff,
  rustc,
  rustfmt,
  ty,
}:
mkShell {
  packages = [
    cargo
    cargo-deny
    cargo-nextest
    clippy
    deadnix
    jdk_headless
    nixfmt-rs
    python3
    ruff
    rustc
    rustfmt
    ty
  ];
}
