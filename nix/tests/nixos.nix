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
  # What the module says to a mistake takes no more of NixOS than that it can be said; all else is only written down.
  evaluateAlone =
    host:
    (lib.evalModules {
      modules = [
        (pkgs.path + "/nixos/modules/misc/assertions.nix")
        ../module.nix
        host
        { _module.freeformType = lib.types.lazyAttrsOf lib.types.anything; }
      ];
      specialArgs = { inherit pkgs; };
    }).config;
  manifest = config: import ./manifest.nix { inherit lib config; };
in
{
  hosts = lib.mapAttrs (_: host: manifest (evaluate host)) (import ./hosts.nix);
  cases = lib.mapAttrs (_: case: manifest (evaluateAlone case.host)) (import ./cases.nix);
}
