"""Commands for a virtual machine, through a virtio port to `vm-agent` in it (guest-vm/usr/local/sbin/vm-agent).

Needs no network in the host, and knows one boot from the next. One command at a time.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from pathlib import Path
from typing import Any

from .host import NotRunning

#: The longest silence between two pieces of one message, in seconds: all of it is in flight by then.
_STALL = 60


class Channel:
    """The driver's end of a host's port."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket: socket.socket | None = None
        self._data = b""
        self._boot: str | None = None
        self._number = 0
        self._lock = threading.RLock()

    def close(self) -> None:
        """Forgets the host: its power is off."""
        with self._lock:
            if self._socket is not None:
                self._socket.close()
            self._socket, self._data, self._boot = None, b"", None

    def boot(self, patience: float) -> str | None:
        """The boot that takes commands; None if none has said so after `patience` seconds."""
        with self._lock:
            try:
                self._connect()
                self._receive(0, patience if self._boot is None else 0)
            except OSError:
                return None
            return self._boot

    def forget(self) -> None:
        """This boot is about to end: the next one will say so."""
        with self._lock:
            self._boot = None

    def call(self, *argv: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Runs a command: (exit status, stdout, stderr)."""
        with self._lock:
            about, body = self._ask({"argv": argv}, stdin, None)
            return about["status"], body[:about["out"]], body[about["out"]:]

    def ping(self) -> tuple[float, float, dict[str, Any]]:
        """(before, after, what the host's clocks said in between); times are `time.monotonic()`."""
        with self._lock:
            before = time.monotonic()
            about, _ = self._ask({}, b"", _STALL)
            return before, time.monotonic(), about

    def _connect(self) -> None:
        """Connects, unless it is; a host that runs already is asked to say so."""
        if self._socket is not None:
            return
        new = socket.socket(socket.AF_UNIX)
        new.connect(str(self._path))
        self._socket = new
        self._send({"id": 0}, b"")

    def _send(self, head: dict[str, Any], body: bytes) -> None:
        assert self._socket is not None
        self._socket.settimeout(None)
        self._socket.sendall(json.dumps({**head, "size": len(body)}).encode() + b"\n" + body)

    def _ask(self, head: dict[str, Any], body: bytes, patience: float | None) -> tuple[dict[str, Any], bytes]:
        """One request and its answer; `NotRunning` if the host's power or its boot ends before that."""
        self._number += 1
        try:
            self._connect()
            self._send({"id": self._number, **head}, body)
            answer = self._receive(self._number, patience)
        except OSError as error:
            self.close()
            raise NotRunning(f"switched off meanwhile: {error}") from None
        if answer is None:
            raise NotRunning("rebooted meanwhile, or does not answer")
        return answer

    def _receive(self, number: int, patience: float | None) -> tuple[dict[str, Any], bytes] | None:
        """The answer to a request; None if a new boot greets instead, or nothing comes in time."""
        deadline = None if patience is None else time.monotonic() + patience
        while True:
            line, end, _ = self._data.partition(b"\n")
            if not end:
                if not self._more(deadline):
                    return None
                continue
            head = json.loads(line)
            size = head.get("out", 0) + head.get("err", 0)
            while len(self._data) < len(line) + 1 + size:
                if not self._more(time.monotonic() + _STALL):
                    raise OSError("an answer came to a halt")
            body = self._data[len(line) + 1:len(line) + 1 + size]
            self._data = self._data[len(line) + 1 + size:]
            greeted, self._boot = head["boot"] != self._boot, head["boot"]
            if head["id"] == number:
                return head, body
            if greeted:
                return None

    def _more(self, deadline: float | None) -> bool:
        """Reads on; False if nothing came in time."""
        assert self._socket is not None
        self._socket.settimeout(None if deadline is None else max(deadline - time.monotonic(), 0.001))
        try:
            data = self._socket.recv(1 << 16)
        except TimeoutError:
            return False
        if not data:
            raise OSError("the other end is gone")
        self._data += data
        return True
