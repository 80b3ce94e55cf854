"""Every transaction a ZooKeeper server committed, read from its log.

Watching a tree from outside can miss a node that is gone for a millisecond.
The server's transaction log cannot: replayed, it gives the tree as it was after
each transaction, who (which session) made it so, and when. Scenarios use it to
show that something *never* happened.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .jute import Reader

# Transaction types (org.apache.zookeeper.ZooDefs.OpCode).
_CREATE, _DELETE, _SET, _MULTI, _CREATE2, _CONTAINER, _DELETE_CONTAINER, _TTL = 1, 2, 5, 14, 15, 19, 20, 21
_ERROR, _CREATE_SESSION, _CLOSE_SESSION = -1, -10, -11


@dataclass(frozen=True)
class Op:
    """One change of one node: "create", "set" or "delete"."""

    kind: str
    path: str
    data: bytes = b""
    ephemeral: bool = False


@dataclass(frozen=True)
class Txn:
    """One committed transaction; its ops happened at once."""

    zxid: int
    session: int
    #: Wall-clock time of the leader, seconds.
    time: float
    ops: tuple[Op, ...] = ()
    #: "session opened", "session closed" or "write".
    kind: str = "write"


@dataclass
class Node:
    """A node at some point of the history; `owner` is the session of an ephemeral one."""

    data: bytes
    owner: int = 0


@dataclass
class History:
    """A server's transactions in order."""

    txns: list[Txn] = field(default_factory=list)

    def replay(self) -> Iterator[tuple[Txn, dict[str, Node]]]:
        """Each transaction with the tree right after it (one dict, changed in place)."""
        tree: dict[str, Node] = {}
        for txn in self.txns:
            for op in txn.ops:
                if op.kind == "delete":
                    tree.pop(op.path, None)
                elif op.kind == "create":
                    tree[op.path] = Node(op.data, txn.session if op.ephemeral else 0)
                elif op.path in tree:
                    tree[op.path].data = op.data
            if txn.kind == "session closed":
                for path in [path for path, node in tree.items() if node.owner == txn.session]:
                    del tree[path]
            yield txn, tree

    def last(self) -> int:
        """The newest transaction's number."""
        return self.txns[-1].zxid if self.txns else 0

    def writes(self, after: int = 0, below: str = "/") -> list[tuple[Txn, Op]]:
        """Changes of nodes below a path, after a transaction."""
        prefix = below.rstrip("/") + "/"
        return [(txn, op) for txn in self.txns if txn.zxid > after for op in txn.ops
                if op.path == below or op.path.startswith(prefix)]

    def children(self, path: str, after: int = 0) -> list[tuple[Txn, frozenset[str]]]:
        """The names below a node, each time they changed (and as they were at first)."""
        prefix = path.rstrip("/") + "/"
        seen: list[tuple[Txn, frozenset[str]]] = []
        for txn, tree in self.replay():
            names = frozenset(p[len(prefix):] for p in tree if p.startswith(prefix) and "/" not in p[len(prefix):])
            if txn.zxid <= after:
                seen = [(txn, names)]
            elif not seen or seen[-1][1] != names:
                seen.append((txn, names))
        return seen

    def gaps(self, path: str, names: set[str], after: int = 0) -> list[str]:
        """When any of `names` was missing below `path`, in words; empty if never."""
        return [f"zxid 0x{txn.zxid:x} at {txn.time:.3f}: {', '.join(sorted(names - present))} missing"
                for txn, present in self.children(path, after) if not names <= present]


def read(folder: Path) -> History:
    """The history in a server's `version-2` folder."""
    txns: dict[int, Txn] = {}
    for log in sorted(folder.glob("log.*"), key=lambda path: int(path.suffix[1:], 16)):
        for txn in _entries(log.read_bytes()):
            txns[txn.zxid] = txn
    return History([txns[zxid] for zxid in sorted(txns)])


def _entries(data: bytes) -> Iterator[Txn]:
    """The entries of one log file, up to the first that is not (yet) whole."""
    if data[:4] != b"ZKLG":
        return
    reader = Reader(data)
    reader.at = 16
    while True:
        try:
            checksum, entry = reader.unsigned(), reader.buffer()
        except struct.error:
            return
        if not entry or zlib.adler32(entry) != checksum:
            return
        reader.at += 1
        yield _transaction(Reader(entry))


def _transaction(reader: Reader) -> Txn:
    session = reader.unsigned()
    reader.int()
    zxid, time = reader.long(), reader.long() / 1000
    kind = reader.int()
    if kind == _CREATE_SESSION:
        return Txn(zxid, session, time, kind="session opened")
    if kind == _CLOSE_SESSION:
        return Txn(zxid, session, time, kind="session closed")
    return Txn(zxid, session, time, tuple(_ops(kind, reader)))


def _ops(kind: int, reader: Reader) -> list[Op]:
    """What a transaction changed; a multi with a failed part changed nothing."""
    if kind == _MULTI:
        parts = [(reader.int(), reader.buffer()) for _ in range(reader.int())]
        if any(part == _ERROR for part, _ in parts):
            return []
        return [op for part, data in parts for op in _ops(part, Reader(data))]
    if kind in (_CREATE, _CREATE2, _CONTAINER, _TTL):
        path, data = reader.string(), reader.buffer()
        reader.acl()
        ephemeral = kind in (_CREATE, _CREATE2) and reader.bool()
        return [Op("create", path, data, ephemeral)]
    if kind in (_DELETE, _DELETE_CONTAINER):
        return [Op("delete", reader.string())]
    if kind == _SET:
        return [Op("set", reader.string(), reader.buffer())]
    return []


def describe(history: History) -> str:
    """The history as text, a line per change."""
    lines = []
    for txn in history.txns:
        head = f"{txn.time:.3f} 0x{txn.zxid:x} session 0x{txn.session:x}"
        if txn.kind != "write":
            lines.append(f"{head} {txn.kind}")
        for op in txn.ops:
            data = op.data.decode("utf-8", "backslashreplace")
            mark = " (ephemeral)" if op.ephemeral else ""
            lines.append(f"{head} {op.kind} {op.path}{mark} {data[:300]}")
    return "\n".join(lines) + "\n"


def picture(history: History) -> str:
    """The tree after the last transaction as text."""
    tree: dict[str, Node] = {}
    for _, tree in history.replay():
        continue
    return "".join(
        f"{path}{f'  (ephemeral, 0x{node.owner:x})' if node.owner else ''}\n"
        f"    {node.data.decode('utf-8', 'backslashreplace')[:2000]}\n"
        for path, node in sorted(tree.items())
    )
