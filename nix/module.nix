# `services.zkops`: the command, the agent, controllers, and the ZooKeeper ensemble. docs/nixos.md has examples.
#
# The units are those of systemd-units/, as on Debian: each role puts its own into `systemd.packages`, and NixOS lays a
# drop-in over them that says no more than what its own configuration adds. Configuration is where it is on Debian, too:
# /etc/zkops.
{
  imports = [
    ./module/common.nix
    ./module/agent.nix
    ./module/controller.nix
    ./module/ensemble.nix
  ];
}
