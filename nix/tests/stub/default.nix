# tests/nixos.nix where there is no nixpkgs: the same modules, the same hosts, the same manifests, on a lib and a NixOS
# that have just what they need. Any Nix evaluates it, in a moment, and builds nothing.
let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix { inherit lib; };
  evaluate =
    host:
    lib.evalModules {
      modules = [
        ./nixos.nix
        ../../module.nix
        host
      ];
      specialArgs = { inherit pkgs; };
    };
  manifest =
    host:
    import ../manifest.nix {
      inherit lib;
      config = evaluate host;
    };
  evaluated = {
    hosts = lib.mapAttrs (_: manifest) (import ../hosts.nix);
    cases = lib.mapAttrs (_: case: manifest case.host) (import ../cases.nix);
  };
in
evaluated
// {
  # What is said to one host's configuration.
  complaints = host: (manifest host).problems ++ (manifest host).warnings;

  # What was looked at.
  counts = {
    hosts = lib.length (lib.attrNames evaluated.hosts);
    units = lib.length (
      lib.concatMap (host: lib.attrNames host.units) (lib.attrValues evaluated.hosts)
    );
    mistakes = lib.length (lib.attrNames evaluated.cases);
  };
  problems = import ../verdict.nix {
    inherit lib;
    inherit (evaluated) hosts cases;
  };
}
