# zkops in a set of packages.
final: _: {
  zkops = final.callPackage ./package.nix { };
  zkops-zookeeper = final.callPackage ./zookeeper.nix { };
  zkops-units = (final.callPackage ./units.nix { }).all;
  zkops-debian-source = final.callPackage ./debian-source.nix { };
}
