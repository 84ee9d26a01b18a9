"""Long work of Python that Lua asks for by name (`host.work` of boot.lua); it runs outside the gate where it can.

A work takes and returns bytes, numbers, booleans and None; lists and maps become tables once the task is inside Lua
again. It runs on the thread of its task, so two of them may run at once: what they share has a lock of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kumoaudit.runtime.api.serde import Tables
from kumoaudit.runtime.convert import text, unpack
from kumoaudit.runtime.objects import Objects

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

Work = Callable[..., Any]


class Works:
    """The works of one host, and the objects of Python that they are about."""

    def __init__(self, host: PolicyHost, objects: Objects) -> None:
        self._works: dict[bytes, Work] = {}
        self.tables = Tables(host.lua)
        """Makes tables of lists and maps; inside the gate."""
        host.python[b"work"] = host.guard(self._run_inside)
        host.python[b"forget"] = host.guard(lambda packed: objects.forget(unpack(packed)))

    def close(self) -> None:
        """The runtime goes; nothing may keep it."""
        self._works.clear()

    def __setitem__(self, name: bytes, work: Work) -> None:
        self._works[name] = work

    def __getitem__(self, name: bytes) -> Work:
        return self._works[name]

    def for_lua(self, outcome: tuple[Any, ...]) -> tuple[Any, ...]:
        """What a work gave (whether it did, results), for Lua: nulls in tables are `kumo.null`. Inside the gate."""
        try:
            return tuple(self.tables.of(v) if isinstance(v, list | dict) else v for v in outcome)
        except RecursionError:
            return False, b"the result is nested too deeply"

    def _run_inside(self, name: bytes, *args: Any) -> Any:
        """The work of a caller that cannot be set aside (a coroutine of the policy's own): inside the gate."""
        result = self._works[name](*args)
        ok, *results = self.for_lua((True, *result) if isinstance(result, tuple) else (True, result))
        if not ok:
            raise ValueError(results[0].decode())
        return tuple(results)


def place(at: bytes, call: str) -> str:
    """`policy.lua:3: call` for messages; a tail call leaves no line of the policy."""
    return f"{text(at)}: {call}" if at else call
