"""Reading the documents of the project: their fenced blocks, links and sentences, and a shell in which a page runs.

A page reads as one session: its `lua file=NAME` blocks are saved and its `console` blocks are typed into one shell, in
order, in one directory. What the page shows behind a command is compared with what came, ids, times and the like apart.
Pages listen on `127.0.0.1:8000`; each session has a free port in its place.
"""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support import environment

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])

_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.*)$", re.MULTILINE)

COLUMNS = 100
COMMAND_TIMEOUT_S = 30.0


class Block(NamedTuple):
    """A fenced block: its language, the rest of the info string, its text and the line on which it begins."""

    language: str
    options: str
    text: str
    line: int

    def option(self, name: str) -> str | None:
        """The value of `name=value` in the info string."""
        m = re.search(rf"(?:^|\s){name}=(\S+)", self.options)
        return m[1] if m else None


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text()
    found = []
    for m in _FENCE.finditer(text):
        language, _, options = m["info"].strip().partition(" ")
        found.append(Block(language, options.strip(), m["text"], text.count("\n", 0, m.start()) + 1))
    return found


def prose(page: Path) -> str:
    """A page without its fenced blocks (their lines are left empty, so that line numbers stay)."""
    return _FENCE.sub(lambda m: "\n" * m[0].count("\n"), page.read_text())


def links(page: Path) -> list[str]:
    """The targets of the links of a page."""
    return [m["target"] for m in _LINK.finditer(prose(page))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block and the output that the page shows behind each."""
    command = ""
    shown: list[str] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, shown
            command, shown = line[2:], []
        elif line.startswith("> ") and not shown:
            command += "\n" + line[2:]
        else:
            shown.append(line)
    if command:
        yield command, shown


# What is another each time: what it becomes on both sides before they are compared.
_VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d)"), "TIME"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "TIME"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\b0[0-9A-HJKMNP-TV-Z]{25}\b"), "ID"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "SHA256"),
    (re.compile(r"\b\d{8}-\d{6}\.\d{9}\b"), "STAMP"),
    (re.compile(r'"node":"[^"]*"'), '"node":"NODE"'),
    (re.compile(r"\bpid \d+"), "pid PID"),
    # How far a killed host's writer had come depends on the moment.
    (re.compile(r"\b\d+ bytes of an open frame"), "N bytes of an open frame"),
    (re.compile(r"read \d+ files? of"), "read N files of"),
    (re.compile(r"\b(Python|LuaJIT|lupa|zstandard|orjson|msgspec) \d[^\n]*"), r"\1 VERSION"),
    (re.compile(r"[ \r]+$", re.MULTILINE), ""),
)


def settled(text: str, directory: Path) -> str:
    """*text* without what is another each time: times, ids, digests, process numbers, the directory."""
    text = text.replace("\r\n", "\n").replace(str(directory), "/srv/demo")
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    return text.strip("\n")


def difference(shown: list[str], came: str, directory: Path) -> str:
    """Why the output is not what the page shows, or "". A line `...` on the page stands for any lines."""
    wanted = settled("\n".join(shown), directory)
    got = settled(came, directory)
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == "..." else re.escape(line) + "\n" for line in wanted.split("\n")
    )
    if re.fullmatch(pattern, got + "\n"):
        return ""
    return f"the page shows:\n{wanted}\n\nthe command printed:\n{got}"


_INSTALLING = ("python3 -m venv ", ".venv/bin/pip install ", ".venv/bin/python -m pytest", "git clone ", "cd kumoaudit")


def without_installing(command: str) -> str:
    """A command of the README without the parts that make an environment: the tests run in one already."""
    parts = [p for p in command.split(" && ") if not p.startswith(_INSTALLING)]
    return " && ".join(parts)


_PAGES_ADDRESS = "127.0.0.1:8000"


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


class Session:
    """A shell on a terminal of 100 columns, in *directory*, with `kumoaudit` on its path. `close` it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        installed = directory / ".venv" / "bin"
        installed.mkdir(parents=True)
        wrapper = installed / "kumoaudit"
        wrapper.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m kumoaudit "$@"\n')
        wrapper.chmod(0o755)
        self._port = _free_port()
        shutil.copytree(ROOT / "examples", directory / "examples")
        for policy in (directory / "examples").rglob("*.lua"):
            policy.write_text(self.own(policy.read_text()))
        path = os.pathsep.join((str(installed), os.environ.get("PATH", "")))
        env = environment(PATH=path, TERM="dumb", COLUMNS=str(COLUMNS), LINES="40", HOME=str(directory))
        self._master, slave = pty.openpty()
        self._shell = subprocess.Popen(
            ["sh"], stdin=subprocess.PIPE, stdout=slave, stderr=slave, cwd=directory, env=env, start_new_session=True
        )
        os.close(slave)

    def own(self, text: str) -> str:
        """*text* of a page with the session's own port in place of the page's."""
        return text.replace(_PAGES_ADDRESS, f"127.0.0.1:{self._port}")

    def run(self, command: str) -> tuple[int, str]:
        """Type a command; its exit code and everything it printed."""
        assert self._shell.stdin is not None
        command = self.own(command)
        self._shell.stdin.write(f"{{ {command}\n}} </dev/null; printf '\\036%d\\036' $?\n".encode())
        self._shell.stdin.flush()
        out = b""
        deadline = time.monotonic() + COMMAND_TIMEOUT_S
        while not (m := re.search(rb"\x1e(\d+)\x1e", out)):
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{command!r} has not ended within {COMMAND_TIMEOUT_S:g} s; so far: {out.decode()}"
            out += os.read(self._master, 65536)
        return int(m[1]), out[: m.start()].decode().replace(f"127.0.0.1:{self._port}", _PAGES_ADDRESS)

    def close(self) -> None:
        """End the shell and what it left running."""
        try:
            os.killpg(self._shell.pid, 9)
        except ProcessLookupError:
            pass
        self._shell.communicate()
        os.close(self._master)
