# The options of NixOS that nix/module.nix sets, and what NixOS makes of them: a drop-in's text for each unit. No other
# option exists here, so that a wrong name is found. `nix/check` compares the outcome with the real NixOS's where there is
# one.
{ config, lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  words = option (types.listOf types.str) [ ];
  value = types.oneOf [
    types.bool
    types.int
    types.str
    (types.listOf types.str)
  ];

  common = {
    wantedBy = words;
    aliases = words;
  };
  service = types.record (
    common
    // {
      environment = option (types.attrsOf types.str) { };
      serviceConfig = option (types.attrsOf value) { };
      restartTriggers = option (types.listOf types.package) [ ];
      restartIfChanged = option types.bool true;
      stopIfChanged = option types.bool true;
    }
  );
  socket = types.record (common // { socketConfig = option (types.attrsOf value) { }; });

  line =
    key: value: "${key}=${if lib.isBool value then lib.boolToString value else toString value}\n";
  section =
    settings:
    lib.concatStrings (
      lib.concatLists (
        lib.mapAttrsToList (
          key: value: map (line key) (if lib.isList value then value else [ value ])
        ) settings
      )
    );
  unit = text: each: {
    inherit (each) wantedBy aliases;
    inherit text;
  };
  ofService =
    each:
    unit (lib.concatStrings (
      [ "[Unit]\n" ]
      ++ lib.optional (
        each.restartTriggers != [ ]
      ) "X-Restart-Triggers=${toString each.restartTriggers}\n"
      ++ [ "\n[Service]\n" ]
      ++ lib.mapAttrsToList (
        key: value: "Environment=${builtins.toJSON "${key}=${value}"}\n"
      ) each.environment
      ++ lib.optional (!each.restartIfChanged) "X-RestartIfChanged=false\n"
      ++ lib.optional (!each.stopIfChanged) "X-StopIfChanged=false\n"
      ++ [ (section each.serviceConfig) ]
    )) each;
  ofSocket = each: unit "[Socket]\n${section each.socketConfig}" each;
  named =
    kind: make: set:
    lib.mapAttrsToList (name: each: lib.nameValuePair "${name}.${kind}" (make each)) set;
in
{
  options = {
    assertions = option (types.listOf (
      types.plain "assertion" (each: each ? assertion && each ? message)
    )) [ ];
    warnings = words;
    environment.etc = option (types.attrsOf (
      types.record {
        text = option (types.nullOr types.str) null;
        source = option (types.nullOr types.package) null;
      }
    )) { };
    environment.systemPackages = option (types.listOf types.package) [ ];
    networking.hostName = option types.str "nixos";
    networking.firewall.allowedTCPPorts = option (types.listOf types.port) [ ];
    systemd.packages = option (types.listOf types.package) [ ];
    systemd.services = option (types.attrsOf service) { };
    systemd.sockets = option (types.attrsOf socket) { };
    systemd.units = option (types.attrsOf types.package) { };
    users.users = option (types.attrsOf (
      types.record {
        isSystemUser = option types.bool false;
        group = option types.str "";
        home = option types.str "/var/empty";
        description = option types.str "";
      }
    )) { };
    users.groups = option (types.attrsOf (types.record { })) { };
  };

  config.systemd.units = builtins.listToAttrs (
    named "service" ofService config.systemd.services ++ named "socket" ofSocket config.systemd.sockets
  );
}
