# The units of systemd-units/, the same text as on Debian, but for where the programs are.
{
  lib,
  linkFarm,
  writeText,
  coreutils,
  systemd,
  zkops,
  zkops-zookeeper,
}:
let
  # Every program that an Exec line names. One that is missing here fails, with its unit's name.
  programs = {
    "/bin/systemctl" = "${systemd}/bin/systemctl";
    "/bin/true" = "${coreutils}/bin/true";
    "/usr/bin/zkops" = "${zkops}/bin/zkops";
    "/usr/lib/zkops/zookeeper" = "${zkops-zookeeper}/lib/zkops/zookeeper";
  };

  folder = ../systemd-units;
  isUnit =
    name: type:
    type == "regular" && builtins.match ".*\\.(service|socket|target|timer|path|slice)" name != null;
  names = builtins.attrNames (lib.filterAttrs isUnit (builtins.readDir folder));

  line =
    unit: text:
    let
      parts = builtins.match "(Exec[A-Za-z]+=[-@:+!]*)(/[^ ]+)(.*)" text;
      at = index: builtins.elemAt parts index;
      found =
        programs.${at 1}
        or (throw "systemd-units/${unit}: where is ${at 1} on NixOS? Add it to `programs` in nix/units.nix");
    in
    if parts == null then text else at 0 + found + at 2;

  text = lib.genAttrs names (
    unit:
    lib.concatMapStringsSep "\n" (line unit) (
      lib.splitString "\n" (builtins.readFile (folder + "/${unit}"))
    )
  );

  package =
    name: wanted:
    linkFarm name (
      map (unit: {
        name = "lib/systemd/system/${unit}";
        path = writeText "unit" text.${unit};
      }) wanted
    )
    // {
      units = lib.genAttrs wanted (unit: text.${unit});
    };
in
{
  # All of them.
  all = package "zkops-units" names;

  # Those of one daemon: the units whose names begin with one of these.
  of =
    prefixes:
    package "${lib.head prefixes}-units" (
      lib.filter (unit: lib.any (prefix: lib.hasPrefix prefix unit) prefixes) names
    );
}
