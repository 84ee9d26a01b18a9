"""Lua in a real host: a piece of policy is run as a handler, its results come back as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.errors import PolicyError
from tests.policies import Inside, inside

NS = 1_000_000_000


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ns: int = 1_790_000_000 * NS) -> None:
        self.now, self.monotonic = now_ns, 5_000 * NS

    def now_ns(self) -> int:
        return self.now

    def monotonic_ns(self) -> int:
        return self.monotonic

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.now += round(seconds * NS)
        self.monotonic += round(seconds * NS)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: SetClock) -> Iterator[Callable[[str], Inside]]:
    """Start a host with a policy; working directory is `tmp_path`, the clock stands still."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:
        yield lambda source: stack.enter_context(inside(tmp_path, source, clock=clock))


@pytest.fixture
def lua(host: Callable[[str], Inside]) -> Callable[..., Any]:
    """Run the body of a handler (once per test) with arguments as `...`; its results as a list."""
    return lambda body, *args: host(f"kumo.on('go', function(...)\n{body}\nend)").host.call("go", *args)


@pytest.fixture
def refused(host: Callable[[str], Inside]) -> Callable[..., list[str]]:
    """Run each expression by itself; the text of its error from the policy's line on (`2: kumo...`)."""

    def run(*expressions: str) -> list[str]:
        out = []
        # In parentheses: a tail call would leave no line of the policy on the stack.
        handlers = "\n".join(f"kumo.on('go{i}', function() return ({e}) end)" for i, e in enumerate(expressions))
        running = host(handlers).host
        for i in range(len(expressions)):
            with pytest.raises(PolicyError) as e:
                running.call(f"go{i}")
            place, _, text = e.value.message.partition("policy.lua:")
            assert not place or place.endswith("/")
            number, _, text = text.partition(": ")
            assert number == str(i + 1), e.value.message
            out.append(text)
        return out

    return run


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs"
