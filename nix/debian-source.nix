# What the Debian packages are built from, as `make deb` lays it out; dpkg-buildpackage on a Debian host builds them.
# (The program that Nix builds has its libraries in the Nix store, so it cannot go into a .deb.)
{ lib, runCommand }:
let
  inherit (lib.importTOML ../Cargo.toml) package;
  name = "zkops-${package.version}";
  source = lib.fileset.toSource {
    root = ../.;
    fileset = lib.fileset.unions [
      ../Cargo.toml
      ../Cargo.lock
      ../build.rs
      ../LICENSE
      ../benches
      ../debian
      ../docs
      ../examples
      ../packaging
      ../src
      ../systemd-units
      ../tests
      ../vm-tests/bench
    ];
  };
in
runCommand "${name}-debian-source" { meta.description = "Source of zkops's Debian packages"; } ''
  mkdir $out
  tar --create --xz --file $out/${name}.tar.xz --transform 's,^\./,${name}/,' --sort=name --owner=0 --group=0 --mode=u+w \
    --mtime=@1 --directory=${source} .
''
