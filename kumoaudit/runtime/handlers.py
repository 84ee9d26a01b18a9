"""Declared events: which the host calls, with what, and whether several handlers may answer (KumoMTA section 7.1)."""

from __future__ import annotations

import difflib
from typing import NamedTuple

from kumoaudit.core.errors import UsageError


class Declared(NamedTuple):
    """An event of the host: names of its arguments, what a handler returns, one handler or several."""

    arguments: tuple[str, ...] = ()
    returns: str = "nothing"
    is_multiple: bool = False


EVENTS: dict[str, Declared] = {
    "pre_init": Declared(is_multiple=True),
    "init": Declared(),
    "main": Declared(("...",)),
    "validate_config": Declared(is_multiple=True),
    "shutdown": Declared(is_multiple=True),
    "get_acl_definition": Declared(("resource",), "an access control list, or nil to pass on", is_multiple=True),
    "http_server_validate_auth_basic": Declared(("user", "password"), "true, false or an AuthInfo"),
    "http_server_validate_auth_bearer": Declared(("token",), "true, false or an AuthInfo"),
    "audit_event": Declared(("event",), "false to drop the event"),
}


class Handlers:
    """Who registered for what. The functions themselves stay in Lua."""

    def __init__(self) -> None:
        self._places: dict[str, list[str]] = {}
        self.notices: list[str] = []
        self.current: list[str] = []
        """Names of the handlers that are running, innermost last (`""` while a file loads)."""

    def register(self, at: str, event: str) -> None:
        """A call of `kumo.on`. Raises UsageError: inside a handler, or a second handler for a single event."""
        running = self.current[-1] if self.current else ""
        if running and running != "main":
            raise UsageError(
                f"{at}: kumo.on: '{event}' is registered inside the handler of '{running}'\n"
                "  handlers are registered at the top level of the policy, so that each is there from the start"
            )
        places = self._places.setdefault(event, [])
        declared = EVENTS.get(event, Declared())
        if places and not declared.is_multiple:
            raise UsageError(f"{at}: kumo.on: '{event}' event already has a handler defined at {places[0]}")
        places.append(at)
        if event not in EVENTS:
            near = difflib.get_close_matches(event, EVENTS, 1, 0.7)
            if near:
                self.notices.append(f"{at}: the host has no event '{event}'; did you mean '{near[0]}'?")

    def has(self, event: str) -> bool:
        """Whether *event* has a handler."""
        return event in self._places

    def places(self, event: str) -> list[str]:
        """`file:line` of each handler of *event*."""
        return self._places.get(event, [])

    def describe(self, event: str) -> str:
        """`in the handler of 'init' (policy.lua:10)` for a message."""
        places = self.places(event)
        return f"in the handler of '{event}'" + (f" ({places[0]})" if places else "")
