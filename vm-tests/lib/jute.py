"""ZooKeeper's own serialisation, as far as its transaction log uses it."""

from __future__ import annotations

import struct


class Reader:
    """Reads big-endian records off a byte string; running off its end raises `struct.error`."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def _unpack(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return int(value)

    def int(self) -> int:
        """A signed 32-bit number."""
        return self._unpack(">i")

    def long(self) -> int:
        """A signed 64-bit number."""
        return self._unpack(">q")

    def unsigned(self) -> int:
        """A 64-bit number as sessions and transactions print them."""
        return self._unpack(">Q")

    def bool(self) -> bool:
        """One byte, zero or not."""
        return bool(self._unpack(">b"))

    def buffer(self) -> bytes:
        """Bytes behind their length; a null buffer (-1) reads as empty."""
        size = max(self.int(), 0)
        if self.at + size > len(self.data):
            raise struct.error("buffer runs off the end")
        value = self.data[self.at:self.at + size]
        self.at += size
        return value

    def string(self) -> str:
        """UTF-8 behind its length."""
        return self.buffer().decode()

    def acl(self) -> None:
        """A list of access rights, read past."""
        for _ in range(max(self.int(), 0)):
            self.int()
            self.string()
            self.string()
