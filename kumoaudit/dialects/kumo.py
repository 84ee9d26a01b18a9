"""KumoMTA's accounting log: `kumo.aaa.configure_acct_log{...}` (section 2.1) -> one route."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import msgspec

from kumoaudit.core import options as o
from kumoaudit.core.predicate import AllOf, Always, FieldIn, Not, Predicate
from kumoaudit.core.spec import CompressionSpec, Fill, FreeSpec, Plan, RingSpec, RotationSpec, RouteSpec
from kumoaudit.core.units import Free
from kumoaudit.dialects.native import SharedOptions, with_shared

LOG_NAME = "acct"

_LOGINS = FieldIn("kind", ("authn", "authz"))
_CUSTOM = FieldIn("kind", ("custom",))


class AcctLogOptions(SharedOptions, frozen=True, kw_only=True):
    """The parameters of KumoMTA's section 2.1, and those that every log of ours takes."""

    log_dir: Annotated[str, o.path]
    max_file_size: Annotated[int, o.whole(0, None, "of uncompressed bytes")] = 1_000_000_000
    back_pressure: Annotated[int, o.whole(1, None, "of records")] = 128_000
    compression_level: Annotated[int, o.whole(0, 21)] = 0
    max_segment_duration: Annotated[int | None, o.duration] = None
    min_free_space: Annotated[Free, o.free] = Free(10, None)
    min_free_inodes: Annotated[Free, o.free] = Free(10, None)
    log_authz_allow: Annotated[bool, o.flag] = True
    log_authz_deny: Annotated[bool, o.flag] = True
    log_authn_ok: Annotated[bool, o.flag] = True
    log_authn_fail: Annotated[bool, o.flag] = True


class KumoDialect:
    """`configure_acct_log` -> the route `acct`: logins and access decisions, and custom events while it is alone."""

    name = "kumo"

    def translate(self, config: Mapping[str, object], at: str) -> tuple[RouteSpec, ...]:
        """Raises ConfigError with every problem of the table."""
        opt = o.read_options(
            AcctLogOptions, config, f"{at}: kumo.aaa.configure_acct_log" if at else "kumo.aaa.configure_acct_log"
        )
        spec = RouteSpec(
            name=LOG_NAME,
            plan=Plan(_filter(opt), Fill(), "kumo"),
            claims=_LOGINS,
            # With no other log configured, custom events stand beside the two record types, as native lines.
            claims_alone=_CUSTOM,
            sink="segments",
            path=os.path.abspath(opt.log_dir),
            at=at,
            ring=RingSpec(max_waiting=opt.back_pressure),
            rotation=RotationSpec(opt.max_file_size, opt.max_segment_duration),
            compression=CompressionSpec(opt.compression_level, opt.compression_window, opt.compression_threads),
            free=FreeSpec(opt.min_free_space, opt.min_free_inodes),
            dialect=self.name,
        )
        return (msgspec.structs.replace(with_shared(spec, opt), required=opt.required is not False),)


def _filter(opt: AcctLogOptions) -> Predicate:
    """The log switches as a filter: each refuses one outcome of one kind."""
    refused = [
        AllOf((FieldIn("kind", (kind,)), FieldIn("outcome", (outcome,))))
        for kind, outcome, wanted in (
            ("authz", "allow", opt.log_authz_allow),
            ("authz", "deny", opt.log_authz_deny),
            ("authn", "ok", opt.log_authn_ok),
            ("authn", "fail", opt.log_authn_fail),
        )
        if not wanted
    ]
    terms = (*(() if isinstance(opt.where, Always) else (opt.where,)), *(Not(r) for r in refused))
    if not terms:
        return Always()
    return terms[0] if len(terms) == 1 else AllOf(terms)
