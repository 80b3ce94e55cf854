# A cluster's hosts by role: zk1 has ZooKeeper, the controller and the command, the others an agent each.
{ session_timeout, ... }:
let
  common = {
    services.zkops = {
      enable = true;
      ensemble.members."1" = "zk1";
      zookeeper.sessionTimeout = session_timeout;
    };
  };
in
{
  zk1 = {
    imports = [ common ];
    services.zkops = {
      controller.enable = true;
      openFirewall = true;
      # Ticks fast enough for sessions of one second.
      ensemble = {
        enable = true;
        heap = "128m";
        settings = {
          tickTime = 500;
          minSessionTimeout = 1000;
          maxSessionTimeout = 60000;
        };
      };
    };
  };

  agent =
    { config, ... }:
    {
      imports = [ common ];
      services.zkops.agent = {
        enable = true;
        allowedUnits = [
          "webapp.service"
          "webapp@*.service"
        ];
        settings = {
          accept_unit_files = true;
          address = config.networking.primaryIPAddress;
        };
      };
    };

  # What an agent's host can be switched to: another build, the same program, elsewhere, and not the same file.
  next =
    { lib, pkgs, ... }:
    {
      specialisation.next.configuration.services.zkops.package = lib.mkForce (
        pkgs.runCommand "zkops-next" { } ''
          install -D ${pkgs.zkops}/bin/zkops $out/bin/zkops
          echo another build >> $out/bin/zkops
        ''
      );
    };
}
