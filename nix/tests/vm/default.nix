# The VM tests: scenarios of vm-tests/, the very scripts, on NixOS. vm-tests/driver/nixos.py gives them the NixOS test
# driver's machines.
{ pkgs }:
let
  inherit (pkgs) lib;

  # NixOS has its own scripts looked at by shellcheck, which is GHC's to build: not for the sake of these tests.
  nixos = pkgs.extend (_: _: { shellcheck-minimal.compiler.bootstrapAvailable = false; });

  scripts = lib.fileset.toSource {
    root = ../../../vm-tests;
    fileset = lib.fileset.unions [
      ../../../vm-tests/driver
      ../../../vm-tests/lib
      ../../../vm-tests/scenarios
    ];
  };

  test =
    name: scenario: nodes:
    nixos.testers.runNixOSTest {
      name = "zkops-${name}";
      defaults = ./node.nix;
      inherit nodes;
      globalTimeout = 1800;
      testScript = ''
        import sys

        sys.path.insert(0, "${scripts}")

        from driver import nixos  # type: ignore

        nixos.run("${scenario}", driver, subtest)
      '';
    };

  # As vm-tests/driver/provision.py makes hosts of a CLUSTER line.
  nodesOf =
    cluster:
    let
      roles = import ./roles.nix cluster;
      agents = map (number: "web${toString number}") (lib.range 1 cluster.agents);
    in
    {
      inherit (roles) zk1;
    }
    // lib.genAttrs agents (name: {
      imports = [ roles.agent ] ++ lib.optional (name == "web1" && cluster.upgrades or false) roles.next;
    });
in
lib.mapAttrs (name: cluster: test name cluster.scenario (nodesOf cluster)) (import ./scenarios.nix)
// {
  # The fleet of hosts.nix: the script that runs its units on Debian, too.
  ensemble = test "ensemble" "nix_units" (import ../hosts.nix);
}
