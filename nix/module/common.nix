# What all roles share: the switch, the package, where ZooKeeper is, and the command with its own configuration.
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
in
{
  options.services.zkops = {
    enable = lib.mkEnableOption "zkops on this host: the command, and whichever of agent, controller and ensemble are enabled";

    package = mkOption {
      type = types.package;
      default = pkgs.zkops or (pkgs.callPackage ../package.nix { });
      defaultText = lib.literalExpression "pkgs.zkops, or nix/package.nix without the overlay";
      description = "The zkops package.";
    };

    zookeeper = {
      servers = mkOption {
        type = types.listOf types.str;
        default = ours.memberServers;
        defaultText = lib.literalExpression "the members of services.zkops.ensemble, if there are any";
        example = [
          "zk1.example.org:2181"
          "zk2.example.org:2181"
          "zk3.example.org:2181"
        ];
        description = "ZooKeeper's servers, all of them, each as HOST:PORT.";
      };

      chroot = mkOption {
        type = types.str;
        default = "";
        example = "/prod";
        description = "The folder of ZooKeeper's tree that zkops keeps everything under, if it is not the root.";
      };

      sessionTimeout = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "10s";
        description = ''
          How long a session of an agent or a controller outlives its last contact; zkops's default is 15s. A shorter one
          wants a shorter `WatchdogSec=` of zkops-agent.service, see docs/operations.md.
        '';
      };
    };

    cli.settings = mkOption {
      type = ours.toml.type;
      default = { };
      description = "Keys of /etc/zkops/cli.toml. `zookeeper.servers` comes from `services.zkops.zookeeper`.";
    };
  };

  config = lib.mkMerge [
    {
      assertions = [
        {
          assertion = cfg.enable || !(cfg.agent.enable || cfg.controller.enable || cfg.ensemble.enable);
          message = "services.zkops: a role (agent, controller or ensemble) is enabled, but not zkops itself: set services.zkops.enable = true.";
        }
      ];
    }
    (lib.mkIf cfg.enable {
      assertions = ours.connectionAssertions;
      environment.systemPackages = [ cfg.package ];
      services.zkops.cli.settings = ours.connection { session = false; };
      environment.etc = lib.mkIf (ours.hasServers cfg.cli.settings) {
        "zkops/cli.toml".source = ours.toml.generate "cli.toml" cfg.cli.settings;
      };
    })
  ];
}
