# What the roles' modules share. No module itself: they import it.
{
  config,
  lib,
  pkgs,
}:
let
  cfg = config.services.zkops;
  inherit (cfg.zookeeper) servers chroot sessionTimeout;
  matches = pattern: text: builtins.match pattern text != null;
in
rec {
  toml = pkgs.formats.toml { };

  # The units of systemd-units/ whose names begin with one of these, as a package for `systemd.packages`.
  unitsOf =
    (import ../units.nix {
      inherit lib;
      inherit (pkgs)
        linkFarm
        writeText
        coreutils
        systemd
        ;
      zkops = cfg.package;
      zkops-zookeeper = cfg.ensemble.launcher;
    }).of;

  # --- where ZooKeeper is ------------------------------------------------------------------------------------------

  # A member of the ensemble: its host, without the ports that may follow it. IPv6 addresses are in brackets.
  memberHost = member: builtins.head (builtins.match "(\\[[^]]*]|[^:]*).*" member);

  memberServers = map (member: "${memberHost member}:${toString cfg.ensemble.clientPort}") (
    lib.attrValues cfg.ensemble.members
  );

  # `[zookeeper]` of a configuration, for its `settings`; what a person sets there goes before it.
  connection =
    { session }:
    {
      zookeeper = {
        servers = lib.mkIf (servers != [ ]) (lib.mkDefault (lib.concatStringsSep "," servers + chroot));
        session_timeout = lib.mkIf (session && sessionTimeout != null) (lib.mkDefault sessionTimeout);
      };
    };

  # A daemon's configuration. What is wrong with it is said while the system is built, not when the daemon starts.
  configuration =
    role: settings:
    let
      name = "${role}.toml";
      file = toml.generate name settings;
      inherit (pkgs.stdenv) buildPlatform hostPlatform;
    in
    if buildPlatform.canExecute hostPlatform then
      pkgs.runCommand name { } ''
        ${cfg.package}/bin/zkops ${role} --check-config --config ${file}
        cp ${file} $out
      ''
    else
      file;

  hasServers = settings: (settings.zookeeper.servers or "") != "";

  # For a role's assertions: a daemon must not go looking for an ensemble on localhost.
  needsServers = role: settings: {
    assertion = hasServers settings;
    message = "services.zkops.${role}: where is ZooKeeper? Set services.zkops.zookeeper.servers, as in [ \"zk1:2181\" \"zk2:2181\" \"zk3:2181\" ].";
  };

  connectionAssertions =
    map (server: {
      assertion = matches "(\\[[0-9A-Fa-f:]+]|[A-Za-z0-9_.-]+):[1-9][0-9]{0,4}" server;
      message = "services.zkops.zookeeper.servers: \"${server}\" is not HOST:PORT, as in \"zk1.example.org:2181\". A chroot goes to services.zkops.zookeeper.chroot.";
    }) servers
    ++ [
      {
        assertion = chroot == "" || matches "(/[^/,]+)+" chroot;
        message = "services.zkops.zookeeper.chroot: \"${chroot}\" is not a ZooKeeper path: write it as in \"/prod\".";
      }
    ];

  # --- metrics -----------------------------------------------------------------------------------------------------

  metricsOption =
    { role, default }:
    lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      inherit default;
      example = "[::]:${lib.last (lib.splitString ":" default)}";
      description = "Where Prometheus reads the ${role}'s metrics, as ADDRESS:PORT; null for nowhere.";
    };

  # Of the socket that has `default` in its unit.
  metricsSocket =
    default: address:
    lib.mkIf (address != null) {
      wantedBy = [ "sockets.target" ];
      socketConfig = lib.mkIf (address != default) {
        ListenStream = [
          ""
          address
        ];
      };
    };
}
