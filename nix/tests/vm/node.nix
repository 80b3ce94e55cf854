# What every VM has beyond its configuration: the test tools of vm-tests/guest, where the scenarios expect them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  guest = ../../../vm-tests/guest/usr;
  python = pkgs.python3.withPackages (packages: [ packages.kazoo ]);
  tools = pkgs.runCommand "zkops-test-tools" { } (
    lib.concatMapStrings
      (
        name:
        "install -Dm755 ${
          pkgs.writeText "tool" (builtins.readFile (guest + "/local/bin/${name}"))
        } $out/bin/${name}\n"
      )
      [
        "webapp"
        "webload"
        "zkstep"
        "zktool"
      ]
  );
  samples = pkgs.linkFarm "zkops-sample-units" (
    map
      (name: {
        name = "lib/systemd/system/${name}";
        path = pkgs.writeText "unit" (builtins.readFile (guest + "/lib/systemd/system/${name}"));
      })
      [
        "webapp.service"
        "webapp@.service"
      ]
  );
in
{
  imports = [ ../../module.nix ];

  environment.systemPackages = [
    tools
    pkgs.netcat
    pkgs.zookeeper
  ];
  systemd.packages = [ samples ];
  # The scenarios know processes and units by Debian's names.
  systemd.services.zkops-zookeeper = lib.mkIf config.services.zkops.ensemble.enable {
    aliases = [ "zookeeper.service" ];
  };
  systemd.tmpfiles.rules = [
    "L+ /usr/bin/python3 - - - - ${python}/bin/python3"
    "L+ /usr/local/bin/webapp - - - - ${tools}/bin/webapp"
    "L+ /var/lib/zookeeper - - - - /var/lib/zkops-zookeeper/log"
  ];
  networking.firewall.allowedTCPPorts = [ 8080 ];
}
