# The agent: runs this host's share of the services.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption types;
  cfg = config.services.zkops;
  ours = import ./lib.nix { inherit config lib pkgs; };
  file = ours.configuration "agent" cfg.agent.settings;
  metrics = "127.0.0.1:9640";

  # Where it writes, beside what its unit allows already. They must be there.
  folders = lib.filter (folder: folder != null && !lib.hasPrefix "/var/lib/zkops/" "${folder}/") [
    (cfg.agent.settings.data_dir or null)
    (cfg.agent.settings.state_dir or null)
  ];

  allowed = cfg.agent.settings.allowed_units or [ ];
  word = text: builtins.match "[A-Za-z0-9_./-]+" text != null;
  bad = labels: lib.filter (key: !(word key && word labels.${key})) (lib.attrNames labels);
in
{
  options.services.zkops.agent = {
    enable = lib.mkEnableOption "the zkops agent, which runs this host's share of the services";

    labels = mkOption {
      type = types.attrsOf types.str;
      default = { };
      example = {
        zone = "a";
        rack = "r12";
      };
      description = "This host's labels, for placement.";
    };

    allowedUnits = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "webapp@*.service" ];
      description = ''
        Shell patterns of the units that the agent may drive; it touches no other. Such a unit should have
        `restartIfChanged = false` and no `wantedBy`: when it starts, and when a change reaches it, is zkops's to decide.
      '';
    };

    metrics = ours.metricsOption {
      role = "agent";
      default = metrics;
    };

    settings = mkOption {
      type = ours.toml.type;
      default = { };
      example = {
        address = "192.0.2.7";
        accept_packages = true;
      };
      description = ''
        Further keys of /etc/zkops/agent.toml, see docs/operations.md. `zookeeper`, `labels` and `allowed_units` come from
        the options of those names.
      '';
    };
  };

  config = lib.mkIf (cfg.enable && cfg.agent.enable) {
    assertions = [
      (ours.needsServers "agent" cfg.agent.settings)
      {
        assertion = bad cfg.agent.labels == [ ];
        message = "services.zkops.agent.labels: ${toString (bad cfg.agent.labels)}: keys and values are letters, digits and -_./";
      }
    ]
    ++ map (pattern: {
      assertion =
        builtins.match ".*(\\.service|[]*?])" pattern != null
        && builtins.match ".*\\*\\*.*" pattern == null;
      message = "services.zkops.agent.allowedUnits: \"${pattern}\" matches no service unit: write it with * ? and [], as in \"webapp@*.service\".";
    }) allowed;

    warnings = lib.optional (
      allowed == [ ]
    ) "services.zkops.agent.allowedUnits is empty: the agent of this host may drive no unit.";

    services.zkops.agent.settings = lib.mkMerge [
      (ours.connection { session = true; })
      { allowed_units = cfg.agent.allowedUnits; }
      (lib.mkIf (cfg.agent.labels != { }) { inherit (cfg.agent) labels; })
    ];

    environment.etc."zkops/agent.toml".source = file;

    systemd.packages = [
      (ours.unitsOf [
        "zkops-agent"
        "zkops-shutdown"
      ])
    ];

    systemd.services.zkops-agent = {
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ file ];
      # Restarted, the new one takes the old one's place in ZooKeeper over; stopped for as long as a switch takes, the
      # session might end.
      stopIfChanged = false;
      serviceConfig = lib.mkIf (folders != [ ]) { ReadWritePaths = folders; };
    };

    # Its stop is the agent's. It runs nothing, so that there is nothing to restart.
    systemd.services.zkops-shutdown.restartIfChanged = false;

    systemd.sockets.zkops-agent.wantedBy = [ "sockets.target" ];
    systemd.sockets.zkops-agent-metrics = ours.metricsSocket metrics cfg.agent.metrics;
  };
}
