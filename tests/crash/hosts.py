"""A real host as a child process, for the suites that send it signals."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes import eventually
from tests.support import command_line, environment


class HostProcess:
    """`kumoaudit run` of a policy in a directory; what it says goes to a file."""

    def __init__(self, directory: Path, policy: str, *args: str | Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory, self.data = directory, directory / "data"
        (directory / "policy.lua").write_text(policy)
        self._err = (directory / "stderr").open("ab")
        self.process = subprocess.Popen(
            command_line("run", "policy.lua", "--data-dir", self.data, *args),
            cwd=directory,
            env=environment(),
            stderr=self._err,
            stdout=subprocess.DEVNULL,
        )

    @property
    def said(self) -> str:
        return (self.directory / "stderr").read_text()

    def wait_for(self, text: str) -> None:
        def is_there() -> bool:
            assert text in self.said or self.process.poll() is None, f"the host ended: {self.said}"
            return text in self.said

        eventually(is_there, f"the host says {text!r}")

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 40) -> int:
        return self.process.wait(timeout_s)


@contextmanager
def host(directory: Path, policy: str, *args: str | Path) -> Iterator[HostProcess]:
    """The process is gone when the block ends, whatever happened in it."""
    it = HostProcess(directory, policy, *args)
    try:
        yield it
    finally:
        it.process.kill()
        it.process.wait()
        it._err.close()
