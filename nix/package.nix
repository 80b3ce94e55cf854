# The command, which is the agent and the controller, too: what the Debian package `zkops` has.
{
  lib,
  stdenv,
  rustPlatform,
  installShellFiles,
}:
let
  inherit (lib.importTOML ../Cargo.toml) package;
in
rustPlatform.buildRustPackage {
  pname = package.name;
  inherit (package) version;

  # What cargo wants to see, so that a change of a page or a scenario builds nothing again.
  src = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../build.rs
      ../clippy.toml
      ../benches
      ../examples
      ../packaging/man
      ../proptest-regressions
      ../src
      ../tests
      ../vm-tests/bench
    ];
  };

  # The registry's own checksums are in the lock file: there is no hash to keep up with.
  cargoLock.lockFile = ../Cargo.lock;

  nativeBuildInputs = [ installShellFiles ];

  cargoBuildFlags = [ "--bins" ];
  # Those that need nothing but the program; the rest want a ZooKeeper, a systemd, or hosts (`make test`).
  cargoTestFlags = [
    "--lib"
    "--bins"
  ];

  postInstall = ''
    installManPage packaging/man/zkops-{agent,controller}.8
    mkdir -p $out/share/doc/zkops
    cp -r examples $out/share/doc/zkops/examples
  ''
  + lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/zkops man man
    installManPage man/*
    for shell in bash zsh fish; do
      $out/bin/zkops completions $shell > zkops.$shell
    done
    installShellCompletion --cmd zkops --bash zkops.bash --zsh zkops.zsh --fish zkops.fish
  '';

  meta = {
    inherit (package) description;
    homepage = package.repository;
    changelog = "${package.repository}/blob/main/CHANGELOG.md";
    license = lib.licenses.asl20;
    mainProgram = package.name;
    platforms = lib.platforms.linux;
  };
}
