"""Python objects that a policy holds: in Lua they are numbers inside tables of the host's own."""

from __future__ import annotations

from typing import Any, TypeVar

from kumoaudit.core.errors import UsageError

T = TypeVar("T")


class Objects:
    """Number -> object, until Lua says that nobody holds the number any more. Inside Lua, so one thread at a time."""

    def __init__(self) -> None:
        self._held: dict[int, Any] = {}
        self._last = 0

    def add(self, value: object) -> int:
        """Hold *value*; its number."""
        self._last += 1
        self._held[self._last] = value
        return self._last

    def get(self, number: object, kind: type[T]) -> T:
        """The object of a number that Lua gave. Raises UsageError when it is none of that kind."""
        value = self._held.get(int(number)) if isinstance(number, (int, float)) else None
        if not isinstance(value, kind):
            raise UsageError(f"not a {kind.__name__} of this host")
        return value

    def forget(self, numbers: list[int]) -> None:
        """Nobody in Lua holds these any more."""
        for number in numbers:
            self._held.pop(int(number), None)
