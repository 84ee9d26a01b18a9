"""`kumo.regex.*`: patterns behind the objects of Lua (lua/kumoaudit/api/regex.lua)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import type_name
from kumoaudit.runtime import patterns
from kumoaudit.runtime.convert import text
from kumoaudit.runtime.host import Export
from kumoaudit.runtime.works import place

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_COMPILE = "kumo.regex.compile"
LIMIT_S, LIMIT_INSIDE_S = 1.0, 0.1
"""What one search may take: outside the gate, and of a short text (for which leaving it is not worth it) inside."""


def _decoded(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""

    def compile_pattern(at: bytes, pattern: object) -> float:
        where = f"{host.place_of(at)}: {_COMPILE}"
        if not isinstance(pattern, bytes):
            raise UsageError(f"{where}: expected a pattern as text, got {type_name(pattern)}")
        try:
            return float(host.objects.add(patterns.Pattern(_decoded(pattern))))
        except ValueError as e:
            raise UsageError(f"{where}: {e}") from None

    def search(limit_s: float, at: bytes, number: float, method: bytes, haystack: bytes, *more: Any) -> Any:
        where = place(at, f"regex:{text(method)}")
        if len(haystack) > patterns.MAX_TEXT:
            raise UsageError(f"{where}: the text is longer than {patterns.MAX_TEXT >> 20} MiB")
        given = (_decoded(v) if isinstance(v, bytes) else int(v) for v in more)
        function = getattr(patterns.Pattern, text(method))
        try:
            found = function(host.objects.get(number, patterns.Pattern), _decoded(haystack), limit_s, *given)
        except patterns.TooSlow:
            raise UsageError(
                f"{where}: no answer within {limit_s:g} s on a text of {len(haystack)} bytes\n"
                "  the pattern backtracks too much: avoid repeats inside repeats, or look at less text"
            ) from None
        except ValueError as e:
            raise UsageError(f"{where}: {e}") from None
        return found.encode("utf-8", "surrogateescape") if isinstance(found, str) else found

    def escape(at: str, given: object = None) -> bytes:
        if not isinstance(given, bytes):
            raise UsageError(f"{at}: kumo.regex.escape: expected a text, got {type_name(given)}")
        return patterns.escape(_decoded(given)).encode("utf-8", "surrogateescape")

    host.python[b"regex_compile"] = host.guard(compile_pattern)
    host.python[b"regex"] = host.guard(lambda *args: host.works.for_lua((True, search(LIMIT_INSIDE_S, *args)))[1])
    host.works[b"regex"] = lambda *args: search(LIMIT_S, *args)
    return {"kumo.regex.escape": Export(escape, raw=True)}
