"""The back ends there are: what `--driver` chooses from."""

from __future__ import annotations

from .host import Backend
from .nspawn import Nspawn
from .qemu import Qemu

BACKENDS: dict[str, Backend] = {each.name: each for each in (Nspawn(), Qemu())}
