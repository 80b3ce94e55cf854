"""The commands and files of a page of documentation, to be typed as they stand there."""

from __future__ import annotations

import re
from typing import Any

from driver import paths

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, heading: str, language: str = "sh") -> list[str]:
    """The blocks of a language in one section of a page (a path in the repository), in order."""
    text = (paths.REPOSITORY / page).read_text()
    _, found, rest = text.partition(f"\n## {heading}\n")
    assert found, f"{page} has no section {heading!r}"
    section = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    return [code for kind, code in _BLOCK.findall(section) if kind == language]


class Typist:
    """Somebody at a host's prompt: where one command leaves them, the next one begins."""

    def __init__(self, machine: Any) -> None:
        self.machine = machine
        self.folder = "/root"

    def types(self, commands: str, status: int = 0) -> str:
        """Types a block line for line; it has to end with this exit status. Returns what was printed."""
        code, said = self.machine.execute(f"{{ cd {self.folder}\n{commands}\npwd > /tmp/typist\n}} 2>&1")
        assert code == status, f"exit status {code}, not {status}:\n{commands}\n{said}"
        if status == 0:
            self.folder = self.machine.succeed("cat /tmp/typist").strip()
        return str(said)

    def writes(self, name: str, text: str) -> None:
        """Writes a file where they are."""
        self.machine.succeed(f"cat > {self.folder}/{name} <<'TYPED'\n{text}TYPED")
