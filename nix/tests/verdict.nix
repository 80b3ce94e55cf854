# What is wrong with the module, in words; nothing is wrong when the list is empty. Two questions:
#
#   - Is a host's unit what systemd-units/ says, but for where programs are? And do the drop-ins that NixOS lays over it
#     say nothing but what they may? Hardening is the same as Debian's then.
#   - Is each mistake of cases.nix told, with the words that are expected?
{
  lib,
  # {host: manifest} of hosts.nix and of cases.nix, see manifest.nix.
  hosts,
  cases,
}:
let
  lines = text: lib.filter (line: line != "") (lib.splitString "\n" text);

  # A program without its folder; what is no Exec line stays.
  bare =
    line:
    let
      parts = builtins.match "(Exec[A-Za-z]+=[-@:+!]*)/[^ ]*/([^ /]+)(.*)" line;
    in
    if parts == null then line else lib.concatStrings parts;

  unitProblems =
    host: name: text:
    let
      source = builtins.readFile (../../systemd-units + "/${name}");
      same = map bare (lines text) == map bare (lines source);
      fhs = lib.filter (line: builtins.match "Exec[A-Za-z]+=[-@:+!]*/(usr|bin|sbin)/.*" line != null) (
        lines text
      );
    in
    lib.optional (!same) "${host}: ${name} is not systemd-units/${name}:\n${text}"
    ++ map (line: "${host}: ${name}: there is no such program on NixOS: ${line}") fhs;

  # What a drop-in may say: NixOS's own words, and what the options are for.
  allowed = [
    "Environment"
    "ListenStream"
    "ReadWritePaths"
    "WantedBy"
    "X-Restart-Triggers"
    "X-RestartIfChanged"
    "X-StopIfChanged"
  ];
  key = line: lib.head (lib.splitString "=" line);
  dropinProblems =
    host: name: text:
    map (line: "${host}: the drop-in of ${name} says ${line}") (
      lib.filter (line: builtins.match "\\[.*" line == null && !lib.elem (key line) allowed) (lines text)
    );

  hostProblems =
    host: manifest:
    lib.concatLists (lib.mapAttrsToList (unitProblems host) manifest.units)
    ++ lib.concatLists (lib.mapAttrsToList (dropinProblems host) manifest.dropins)
    ++ map (name: "${host}: ${name} has a drop-in, and no unit") (
      lib.attrNames (removeAttrs manifest.dropins (lib.attrNames manifest.units))
    )
    ++ map (message: "${host}: ${message}") (ours manifest.problems ++ manifest.warnings);

  ours = lib.filter (lib.hasPrefix "services.zkops");

  differs =
    name: what: expected: said:
    lib.optional (lib.sort lib.lessThan expected != lib.sort lib.lessThan said)
      "case ${name}: its ${what} should be\n  ${lib.concatStringsSep "\n  " expected}\nand are\n  ${lib.concatStringsSep "\n  " said}";
  caseProblems =
    name: case:
    differs name "problems" (case.problems or [ ]) (ours cases.${name}.problems)
    ++ differs name "warnings" (case.warnings or [ ]) cases.${name}.warnings;
in
assert lib.attrNames hosts != [ ];
lib.concatLists (
  lib.mapAttrsToList hostProblems hosts ++ lib.mapAttrsToList caseProblems (import ./cases.nix)
)
