# A controller: two or three of them, one leads.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (lib) mkOption;
  cfg = config.services.zkops;
  ours = import ./lib.nix { inherit config lib pkgs; };
  file = ours.configuration "controller" cfg.controller.settings;
  metrics = "127.0.0.1:9641";
in
{
  options.services.zkops.controller = {
    enable = lib.mkEnableOption "a zkops controller; enable it on two or three hosts, one of them leads";

    metrics = ours.metricsOption {
      role = "controller";
      default = metrics;
    };

    settings = mkOption {
      type = ours.toml.type;
      default = { };
      example.failover_max_fraction = 0.3;
      description = ''
        Further keys of /etc/zkops/controller.toml, see docs/operations.md. `zookeeper` comes from
        `services.zkops.zookeeper`.
      '';
    };
  };

  config = lib.mkIf (cfg.enable && cfg.controller.enable) {
    assertions = [ (ours.needsServers "controller" cfg.controller.settings) ];

    services.zkops.controller.settings = ours.connection { session = true; };

    environment.etc."zkops/controller.toml".source = file;

    systemd.packages = [ (ours.unitsOf [ "zkops-controller" ]) ];

    systemd.services.zkops-controller = {
      wantedBy = [ "multi-user.target" ];
      restartTriggers = [ file ];
      stopIfChanged = false;
    };

    systemd.sockets.zkops-controller-metrics = ours.metricsSocket metrics cfg.controller.metrics;
  };
}
