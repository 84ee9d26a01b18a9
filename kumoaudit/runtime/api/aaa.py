"""`kumo.aaa.*`: KumoMTA's accounting log (section 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kumoaudit.dialects.kumo import KumoDialect
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_CALL = "kumo.aaa.configure_acct_log"


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""

    def configure_acct_log(at: str, params: Any = None) -> None:
        host.allowed_in_init(_CALL, at)
        host.once("acct_log", _CALL, at)
        with host.refusals.kept():
            (spec,) = KumoDialect().translate(params, at)
            host.open_log(spec, _CALL)
        host.configured["acct_log"] = at

    return {_CALL: Export(configure_acct_log)}
