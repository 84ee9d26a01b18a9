"""`kumo.set_diagnostic_log_filter`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import kind
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_CALL = "kumo.set_diagnostic_log_filter"


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""

    def set_filter(at: str, given: Any = None) -> None:
        if type(given) is not str:
            raise UsageError(f"{at}: {_CALL}: expected a text such as 'debug' or 'info,lua=debug', got {kind(given)}")
        try:
            host.log_filter.set(given)
        except ValueError as e:
            raise UsageError(f"{at}: {_CALL}: {e}") from None

    return {_CALL: Export(set_filter)}
