# The flake's checks. What can be told by evaluation is told while they are evaluated: `nix flake check --no-build` fails
# with it.
{ pkgs, self }:
let
  inherit (pkgs) lib;
  evaluated = import ./nixos.nix { inherit pkgs; };
  problems = import ./verdict.nix {
    inherit lib;
    inherit (evaluated) hosts cases;
  };
  test =
    name: attrs: script:
    pkgs.runCommand "zkops-${name}" attrs "${script}\ntouch $out";
in
{
  package = pkgs.zkops;
  zookeeper = pkgs.zkops-zookeeper;
  debian-source = pkgs.zkops-debian-source;

  # The module: see verdict.nix.
  module = lib.throwIf (problems != [ ]) (lib.concatStringsSep "\n" problems) (
    test "module" { hosts = builtins.toJSON evaluated.hosts; } "echo as it should be"
  );

  # systemd's own opinion of the units, with the programs in place.
  units = test "units" { nativeBuildInputs = [ pkgs.systemd ]; } ''
    export SYSTEMD_UNIT_PATH=${pkgs.zkops-units}/lib/systemd/system:${pkgs.systemd}/example/systemd/system
    systemd-analyze verify --man=no --recursive-errors=no ${pkgs.zkops-units}/lib/systemd/system/*
    systemd-analyze security --offline=yes --threshold=15 ${pkgs.zkops-units}/lib/systemd/system/zkops-{controller,zookeeper}.service
    systemd-analyze security --offline=yes --threshold=30 ${pkgs.zkops-units}/lib/systemd/system/zkops-agent.service
  '';

  # The Nix files.
  format = test "format" { nativeBuildInputs = [ pkgs.deadnix ]; } ''
    cd ${self}
    ${lib.getExe (pkgs.callPackage ../formatter.nix { })} --check flake.nix $(find nix -name '*.nix')
    deadnix --fail flake.nix nix
  '';
}
