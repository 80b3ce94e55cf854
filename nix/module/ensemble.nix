# A member of the ZooKeeper ensemble.
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
  me = cfg.ensemble;

  # Keys of zoo.cfg that `settings` cannot have, with what to do instead.
  reserved = {
    id = "set services.zkops.ensemble.id";
    clientPort = "set services.zkops.ensemble.clientPort";
    dataDir = "the data is in /var/lib/zkops-zookeeper";
    dataLogDir = "the data is in /var/lib/zkops-zookeeper";
    dynamicConfigFile = "set services.zkops.ensemble.members";
    reconfigEnabled = "set services.zkops.ensemble.members";
  };
  misplaced = lib.filter (key: reserved ? ${key} || lib.hasPrefix "server." key) (
    lib.attrNames me.settings
  );

  value = setting: if lib.isBool setting then lib.boolToString setting else toString setting;
  conf = lib.concatStrings (
    [ "# From services.zkops.ensemble, see zkops-zookeeper(8).\n" ]
    ++ lib.optional (me.id != null) "id = ${toString me.id}\n"
    ++ lib.optional (me.clientPort != 2181) "clientPort = ${toString me.clientPort}\n"
    ++ lib.mapAttrsToList (number: host: "server.${number} = ${host}\n") me.members
    ++ lib.mapAttrsToList (key: setting: "${key} = ${value setting}\n") me.settings
  );

  # How the launcher finds itself among the members, as far as it can be known here: addresses cannot.
  isAddress = host: builtins.match "[0-9.]+|\\[.*" host != null;
  short = host: lib.head (lib.splitString "." (lib.toLower host));
  hosts = map ours.memberHost (lib.attrValues me.members);
  isMember =
    me.id != null
    || lib.any (host: isAddress host || short host == short config.networking.hostName) hosts;

  isNumber = number: builtins.match "[1-9][0-9]{0,2}" number != null && lib.toInt number <= 255;

  # Of HOST:2888:3888, and of HOST alone.
  memberPorts =
    member:
    let
      ports = builtins.match "(\\[[^]]*]|[^:]*):([0-9]+):([0-9]+).*" member;
    in
    if ports == null then
      [
        2888
        3888
      ]
    else
      map lib.toInt (lib.tail ports);
in
{
  options.services.zkops = {
    ensemble = {
      enable = lib.mkEnableOption "a member of the ZooKeeper ensemble on this host";

      members = mkOption {
        type = types.attrsOf types.str;
        default = { };
        example = {
          "1" = "zk1.example.org";
          "2" = "zk2.example.org";
          "3" = "zk3.example.org";
        };
        description = ''
          The ensemble: each member's number (1 to 255) and host, or HOST:2888:3888 for other ports between members. The same
          on all members; three or five. A number never changes and is never used again. Hosts that are no members can have
          it, too: `services.zkops.zookeeper.servers` comes from it.
        '';
      };

      id = mkOption {
        type = types.nullOr (types.ints.between 1 255);
        default = null;
        description = "The member that this host is, where neither its host name nor its address is among `members`.";
      };

      clientPort = mkOption {
        type = types.port;
        default = 2181;
        description = "The port for clients.";
      };

      settings = mkOption {
        type = types.attrsOf (
          types.oneOf [
            types.bool
            types.int
            types.str
          ]
        );
        default = { };
        example = {
          tickTime = 2000;
          "autopurge.purgeInterval" = 12;
        };
        description = "Further keys of zoo.cfg, as ZooKeeper has them.";
      };

      heap = mkOption {
        type = types.strMatching "[1-9][0-9]*[kmgKMG]";
        default = "512m";
        description = "The JVM's heap. All of the tree is in memory; leave the rest of the machine to the page cache.";
      };

      javaOptions = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [ "-Xlog:gc" ];
        description = "Further options of the JVM: TLS, SASL, logging of collections.";
      };

      logLevel = mkOption {
        type = types.enum [
          "trace"
          "debug"
          "info"
          "warn"
          "error"
        ];
        default = "info";
        description = "What ZooKeeper logs to the journal.";
      };

      launcher = mkOption {
        type = types.package;
        internal = true;
        default = pkgs.zkops-zookeeper or (pkgs.callPackage ../zookeeper.nix { });
        defaultText = lib.literalExpression "nix/zookeeper.nix";
        description = "What zkops-zookeeper.service runs.";
      };
    };

    openFirewall = mkOption {
      type = types.bool;
      default = false;
      description = ''
        Whether to open the ports of the ensemble's member on this host: the one for clients and those between members. To
        everyone: who reaches the clients' port can start and stop every service. Nothing else of zkops wants an open port.
      '';
    };
  };

  config = lib.mkIf (cfg.enable && me.enable) {
    assertions = [
      {
        assertion = me.members != { };
        message = "services.zkops.ensemble.members: name them all, as in { \"1\" = \"zk1\"; \"2\" = \"zk2\"; \"3\" = \"zk3\"; }.";
      }
      {
        assertion = lib.all isNumber (lib.attrNames me.members);
        message = "services.zkops.ensemble.members: ${
          toString (lib.filter (number: !isNumber number) (lib.attrNames me.members))
        }: a member's number is 1 to 255.";
      }
      {
        assertion = me.id == null || me.members ? ${toString me.id};
        message = "services.zkops.ensemble.id is ${toString me.id}, but there is no members.\"${toString me.id}\".";
      }
      {
        assertion = me.members == { } || isMember;
        message = "services.zkops.ensemble: which member is this host (${config.networking.hostName})? No member has its name: set services.zkops.ensemble.id.";
      }
    ]
    ++ map (key: {
      assertion = false;
      message = "services.zkops.ensemble.settings: \"${key}\" cannot be set there: ${
        reserved.${key} or "set services.zkops.ensemble.members"
      }.";
    }) misplaced;

    warnings =
      let
        count = lib.length hosts;
      in
      lib.optional (count > 0 && lib.mod count 2 == 0)
        "services.zkops.ensemble.members: ${toString count} members bear no more losses than ${toString (count - 1)}.";

    environment.etc."zkops/ensemble.conf".text = conf;

    systemd.packages = [ (ours.unitsOf [ "zkops-zookeeper" ]) ];

    systemd.services.zkops-zookeeper = {
      wantedBy = [ "multi-user.target" ];
      # Members are restarted one at a time, the leader last. That is nothing for a switch to do.
      restartIfChanged = false;
      environment = {
        ZOOKEEPER_HEAP = me.heap;
        ZOOKEEPER_LOG = me.logLevel;
        ZOOKEEPER_JAVA_OPTIONS = lib.mkIf (me.javaOptions != [ ]) (toString me.javaOptions);
      };
    };

    users.users.zkops-zookeeper = {
      isSystemUser = true;
      group = "zkops-zookeeper";
      home = "/var/lib/zkops-zookeeper";
      description = "ZooKeeper of zkops";
    };
    users.groups.zkops-zookeeper = { };

    networking.firewall.allowedTCPPorts = lib.mkIf cfg.openFirewall (
      [ me.clientPort ] ++ lib.unique (lib.concatMap memberPorts (lib.attrValues me.members))
    );
  };
}
