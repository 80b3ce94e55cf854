{
  description = "Apache ZooKeeper as the control plane of a fleet's systemd services";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [
        "x86_64-linux"
        "aarch64-linux"
      ];
      # What a system's outputs are made of: nixpkgs with zkops in it, and the VM tests.
      forEach =
        make:
        lib.genAttrs systems (
          system:
          let
            pkgs = nixpkgs.legacyPackages.${system}.extend self.overlays.default;
          in
          make pkgs (import ./nix/tests/vm { inherit pkgs; })
        );
    in
    {
      overlays.default = import ./nix/overlay.nix;

      nixosModules.default = ./nix/module.nix;

      packages = forEach (
        pkgs: _: {
          inherit (pkgs)
            zkops
            zkops-zookeeper
            zkops-units
            zkops-debian-source
            ;
          default = pkgs.zkops;
        }
      );

      # `nix run`: the command. `nix run .#vm-host-crash`: a VM test outside of the sandbox, `-- --interactive` for a shell in it.
      apps = forEach (
        pkgs: tests:
        {
          default = {
            type = "app";
            program = lib.getExe pkgs.zkops;
            meta.description = pkgs.zkops.meta.description;
          };
        }
        // lib.mapAttrs' (
          name: test:
          lib.nameValuePair "vm-${name}" {
            type = "app";
            program = lib.getExe' test.driver "nixos-test-driver";
            meta.description = "The VM test ${name}";
          }
        ) tests
      );

      checks = forEach (pkgs: tests: import ./nix/tests { inherit pkgs self; } // tests);

      devShells = forEach (pkgs: _: { default = pkgs.callPackage ./nix/shell.nix { }; });

      formatter = forEach (pkgs: _: pkgs.callPackage ./nix/formatter.nix { });
    };
}
