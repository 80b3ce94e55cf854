"""The cluster's own network: one bridge, one cable per host, no way out.

::

    namespace ID-switch          namespace ID-web1
    br0 ── web1 ═══ veth ═══════ eth0 10.0.0.2/24

The bridge's end of a cable carries the host's name. Taking it down is a silent
cut (what peers see of a power loss or a partition); nftables on the bridge
drops frames between one pair of hosts. Nothing routes to the machine or beyond.
"""

from __future__ import annotations

from .shell import run

SUBNET = "10.0.0"


def address(index: int) -> str:
    """The IPv4 address of the cluster's `index`-th host (from 1)."""
    return f"{SUBNET}.{index}"


def mac(index: int) -> str:
    """The hardware address of the cluster's `index`-th host."""
    return f"02:00:00:00:00:{index:02x}"


class Network:
    """The bridge and cables of one run."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.switch = f"{run_id}-switch"

    def namespace(self, host: str) -> str:
        """The network namespace a host lives in."""
        return f"{self.run_id}-{host}"

    def create(self) -> None:
        """Makes the switch: a bridge that forwards at once, with an address for `beside`, and the table cuts go into."""
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "-batch", "-", stdin=(
            "link set lo up\n"
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n"
            "link set br0 up\n"
            f"address add {SUBNET}.254/24 dev br0\n"
        ))
        self._nft(
            "add table bridge cuts; "
            "add chain bridge cuts forward { type filter hook forward priority 0; policy accept; }"
        )

    def beside(self, *command: str) -> list[str]:
        """The command line that runs a command in the switch: next to the hosts, and as far from the world."""
        return ["ip", "netns", "exec", self.switch, *command]

    def plug(self, host: str, index: int) -> None:
        """Gives a host a fresh namespace and cable, with the same addresses as before.

        A fresh one per power-on, as a real host's TCP connections don't outlive its
        power. The MAC address is fixed, or the peers' ARP caches would be stale.
        """
        self.unplug(host)
        inside = self.namespace(host)
        run("ip", "netns", "add", inside)
        run("ip", "-n", self.switch, "-batch", "-", stdin=(
            f"link add {host} type veth peer name eth0 address {mac(index)} netns {inside}\n"
            f"link set {host} master br0\n"
            f"link set {host} up\n"
        ))
        run("ip", "-n", inside, "-batch", "-", stdin=(
            "link set lo up\n"
            f"address add {address(index)}/24 dev eth0\n"
            "link set eth0 up\n"
        ))
        # While a cable is out, addresses are forgotten; the kernel then asks for one again each second, counted from
        # the last failure. That wait is the network's, not zkops's, and would drown what is measured after a heal.
        run("ip", "-n", inside, "ntable", "change", "name", "arp_cache", "dev", "eth0", "retrans", "100")

    def plug_tap(self, host: str) -> None:
        """Gives a virtual machine its cable: QEMU, in the switch's namespace, has the other end."""
        self.unplug(host)
        run("ip", "-n", self.switch, "-batch", "-", stdin=(
            f"tuntap add dev {host} mode tap\n"
            f"link set {host} master br0\n"
            f"link set {host} up\n"
        ))

    def unplug(self, host: str) -> None:
        """Removes a host's cable and namespace; the cable first, so that nothing says goodbye."""
        run("ip", "-n", self.switch, "link", "delete", host, check=False)
        run("ip", "netns", "delete", self.namespace(host), check=False)

    def set_link(self, host: str, up: bool) -> None:
        """Cuts or fixes a host's cable at the switch."""
        run("ip", "-n", self.switch, "link", "set", host, "up" if up else "down")

    def cut(self, one: str, other: str) -> None:
        """Drops every frame between two hosts, both ways; all other pairs still talk."""
        for source, target in ((one, other), (other, one)):
            self._nft(
                f'add rule bridge cuts forward iifname "{source}" oifname "{target}" '
                f'drop comment "{one}|{other}"'
            )

    def heal(self, one: str, other: str) -> None:
        """Takes back `cut(one, other)` (in either order)."""
        wanted = (f'comment "{one}|{other}"', f'comment "{other}|{one}"')
        listing = run(*self.beside("nft", "-a", "list", "chain", "bridge", "cuts", "forward"))
        for line in listing.splitlines():
            if any(comment in line for comment in wanted):
                handle = line.rpartition("handle ")[2]
                self._nft(f"delete rule bridge cuts forward handle {handle}")

    def _nft(self, command: str) -> None:
        run(*self.beside("nft", command))


def destroy(run_id: str) -> None:
    """Removes every namespace of a run; cables and bridge go with them."""
    for line in run("ip", "netns", "list", check=False).splitlines():
        name = line.split()[0]
        if name.startswith(f"{run_id}-"):
            run("ip", "netns", "delete", name, check=False)
