# A fleet as a person would write it: what the module makes of it is looked at, compared with systemd-units/, and run on
# hosts by vm-tests/scenarios/nix_units.py. Small ticks, so that sessions can be short.
let
  common = {
    services.zkops = {
      enable = true;
      ensemble.members = {
        "1" = "zk1";
        "2" = "zk2";
        "3" = "zk3";
      };
      zookeeper.chroot = "/prod";
      zookeeper.sessionTimeout = "6s";
    };
  };
  member = name: {
    imports = [ common ];
    networking.hostName = name;
    services.zkops.openFirewall = true;
    services.zkops.ensemble = {
      enable = true;
      heap = "128m";
      javaOptions = [ "-XX:TieredStopAtLevel=1" ];
      settings.tickTime = 500;
    };
  };
  agent = name: zone: {
    imports = [ common ];
    networking.hostName = name;
    services.zkops.agent = {
      enable = true;
      labels.zone = zone;
      allowedUnits = [ "webapp@*.service" ];
      metrics = "0.0.0.0:9640";
    };
  };
in
{
  zk1 = {
    imports = [ (member "zk1") ];
    services.zkops.controller.enable = true;
  };
  zk2 = {
    imports = [ (member "zk2") ];
    services.zkops.controller = {
      enable = true;
      settings.failover_max_fraction = 0.9;
    };
  };
  zk3 = {
    imports = [ (member "zk3") ];
    services.zkops.ensemble.id = 3;
  };
  web1 = agent "web1" "a";
  web2 = agent "web2" "b";
}
