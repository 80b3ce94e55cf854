# Which scenarios of vm-tests/ run on NixOS VMs, and the clusters that they want: what their CLUSTER lines say, in Nix.
# nix/check compares the two. `upgrades`: web1 is switched to another build.
{
  host-crash = {
    scenario = "host_crash";
    agents = 4;
    session_timeout = "4s";
  };
  rolling-upgrade = {
    scenario = "rolling_upgrade";
    agents = 5;
    session_timeout = "10s";
  };
  agent-lifecycle = {
    scenario = "agent_lifecycle";
    agents = 3;
    session_timeout = "15s";
    upgrades = true;
  };
}
