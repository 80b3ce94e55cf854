# Configurations with a mistake, and what the module says to it: {name: {host, problems, warnings}}. Each message must be
# there, in full, and no other.
let
  zkops = settings: {
    networking.hostName = "zk1";
    services.zkops = settings;
  };
  members = {
    "1" = "zk1";
    "2" = "zk2.example.org:2889:3889";
    "3" = "192.0.2.3";
  };
in
{
  role-without-zkops = {
    host = zkops { controller.enable = true; };
    problems = [
      "services.zkops: a role (agent, controller or ensemble) is enabled, but not zkops itself: set services.zkops.enable = true."
    ];
  };
  nowhere = {
    host = zkops {
      enable = true;
      agent.enable = true;
      controller.enable = true;
    };
    problems =
      map
        (
          role:
          "services.zkops.${role}: where is ZooKeeper? Set services.zkops.zookeeper.servers, as in [ \"zk1:2181\" \"zk2:2181\" \"zk3:2181\" ]."
        )
        [
          "agent"
          "controller"
        ];
    warnings = [
      "services.zkops.agent.allowedUnits is empty: the agent of this host may drive no unit."
    ];
  };
  malformed-server = {
    host = zkops {
      enable = true;
      zookeeper.servers = [
        "zk1"
        "[2001:db8::1]:2181"
        "zk3:0"
      ];
      zookeeper.chroot = "prod/";
    };
    problems = [
      "services.zkops.zookeeper.servers: \"zk1\" is not HOST:PORT, as in \"zk1.example.org:2181\". A chroot goes to services.zkops.zookeeper.chroot."
      "services.zkops.zookeeper.servers: \"zk3:0\" is not HOST:PORT, as in \"zk1.example.org:2181\". A chroot goes to services.zkops.zookeeper.chroot."
      "services.zkops.zookeeper.chroot: \"prod/\" is not a ZooKeeper path: write it as in \"/prod\"."
    ];
  };
  agent-words = {
    host = zkops {
      enable = true;
      zookeeper.servers = [ "zk1:2181" ];
      agent = {
        enable = true;
        labels = {
          zone = "a b";
          "rack.example.org/row" = "r1";
        };
        allowedUnits = [
          "webapp"
          "a**.service"
          "web[12]"
        ];
      };
    };
    problems = [
      "services.zkops.agent.labels: zone: keys and values are letters, digits and -_./"
      "services.zkops.agent.allowedUnits: \"webapp\" matches no service unit: write it with * ? and [], as in \"webapp@*.service\"."
      "services.zkops.agent.allowedUnits: \"a**.service\" matches no service unit: write it with * ? and [], as in \"webapp@*.service\"."
    ];
  };
  no-members = {
    host = zkops {
      enable = true;
      ensemble.enable = true;
    };
    problems = [
      "services.zkops.ensemble.members: name them all, as in { \"1\" = \"zk1\"; \"2\" = \"zk2\"; \"3\" = \"zk3\"; }."
    ];
  };
  member-number = {
    host = zkops {
      enable = true;
      ensemble.enable = true;
      ensemble.members = members // {
        "256" = "zk4";
        "01" = "zk5";
      };
    };
    problems = [
      "services.zkops.ensemble.members: 01 256: a member's number is 1 to 255."
    ];
  };
  not-among-them = {
    host = zkops {
      enable = true;
      ensemble.enable = true;
      ensemble.id = 4;
      ensemble.members = members // {
        "2" = "zk2";
        "5" = "zk5";
      };
    };
    problems = [ "services.zkops.ensemble.id is 4, but there is no members.\"4\"." ];
    warnings = [ "services.zkops.ensemble.members: 4 members bear no more losses than 3." ];
  };
  who-am-i = {
    host = zkops {
      enable = true;
      ensemble.enable = true;
      ensemble.members = {
        "1" = "zookeeper-a";
      };
    };
    problems = [
      "services.zkops.ensemble: which member is this host (zk1)? No member has its name: set services.zkops.ensemble.id."
    ];
  };
  misplaced-settings = {
    host = zkops {
      enable = true;
      ensemble = {
        enable = true;
        inherit members;
        settings = {
          clientPort = 2182;
          "server.4" = "zk4";
          dataDir = "/srv";
          tickTime = 2000;
        };
      };
    };
    problems = [
      "services.zkops.ensemble.settings: \"clientPort\" cannot be set there: set services.zkops.ensemble.clientPort."
      "services.zkops.ensemble.settings: \"dataDir\" cannot be set there: the data is in /var/lib/zkops-zookeeper."
      "services.zkops.ensemble.settings: \"server.4\" cannot be set there: set services.zkops.ensemble.members."
    ];
  };
}
