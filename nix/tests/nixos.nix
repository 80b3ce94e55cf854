# Hosts by the real NixOS: {host: manifest}. tests/stub has the same for where there is no nixpkgs.
{ pkgs }:
let
  inherit (pkgs) lib;
  evaluate =
    host:
    (import (pkgs.path + "/nixos/lib/eval-config.nix") {
      inherit lib;
      system = null;
      modules = [
        ../module.nix
        host
        {
          nixpkgs = { inherit pkgs; };
          system.stateVersion = lib.trivial.release;
        }
      ];
    }).config;
  manifest =
    host:
    import ./manifest.nix {
      inherit lib;
      config = evaluate host;
    };
in
{
  hosts = lib.mapAttrs (_: manifest) (import ./hosts.nix);
  cases = lib.mapAttrs (_: case: manifest case.host) (import ./cases.nix);
}
