# What a host's evaluated configuration installs for zkops: {path: text}, unit files as the package has them with the
# drop-ins that NixOS lays over them, which units start at boot, configurations as values.
{ lib, config }:
let
  ours = lib.filterAttrs (name: _: lib.hasPrefix "zkops-" name);
  packaged = lib.foldl' (all: package: all // (package.units or { })) { } config.systemd.packages;
  units = ours config.systemd.units;
  settings = {
    "cli.toml" = config.services.zkops.cli.settings;
    "agent.toml" = config.services.zkops.agent.settings;
    "controller.toml" = config.services.zkops.controller.settings;
  };
in
{
  units = packaged;
  dropins = lib.mapAttrs (_: unit: unit.text) units;
  wants = lib.mapAttrs (_: unit: unit.wantedBy) units;
  toml = lib.filterAttrs (name: _: config.environment.etc ? "zkops/${name}") settings;
  text = lib.mapAttrs (_: file: file.text) (
    lib.filterAttrs (
      name: file: lib.hasPrefix "zkops/" name && file.text or null != null
    ) config.environment.etc
  );
  users = lib.attrNames (ours config.users.users);
  ports = config.networking.firewall.allowedTCPPorts;
  warnings = lib.filter (lib.hasPrefix "services.zkops") config.warnings;
  problems = map (each: each.message) (lib.filter (each: !each.assertion) config.assertions);
}
