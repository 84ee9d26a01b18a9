"""`kumo.aaa.*`: KumoMTA's accounting log and access control (sections 2 and 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kumoaudit.access.acl import Acl, Decision, acl_of_rules
from kumoaudit.access.aclmap import AclMap, load_acl_map
from kumoaudit.access.identity import auth_info_of
from kumoaudit.access.records import decision_event, failure_event
from kumoaudit.access.resource import Resource, http_url_resource
from kumoaudit.core.errors import UsageError
from kumoaudit.core.event import AuthInfo
from kumoaudit.core.ids import ulid
from kumoaudit.core.options import duration, flag, kind
from kumoaudit.core.text import decode
from kumoaudit.dialects.kumo import KumoDialect
from kumoaudit.runtime import convert
from kumoaudit.runtime.access import acl_of_answer
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_CALL = "kumo.aaa.configure_acct_log"
_QUERY = "kumo.aaa.query_resource_access"
_MOST_MS = (1 << 53) // 1_000_000


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""
    control = host.access

    def configure_acct_log(at: str, params: Any = None) -> None:
        host.allowed_in_init(_CALL, at)
        host.once("acct_log", _CALL, at)
        with host.refusals.kept():
            (spec,) = KumoDialect().translate(params, at)
            host.open_log(spec, _CALL)
        host.configured["acct_log"] = at

    def set_ttl(call: str, cache: Any) -> Export:
        def setter(at: str, value: Any = None) -> None:
            try:
                ns = duration(value)
            except ValueError as e:
                raise UsageError(f"{at}: {call}: {e}") from None
            # Whole milliseconds, as KumoMTA keeps them.
            if ns // 1_000_000 > _MOST_MS:
                raise UsageError(f"{at}: {call}: duration is too large")
            cache.ttl_ns = ns // 1_000_000 * 1_000_000

        return Export(setter)

    def set_fall_back(at: str, value: Any = None) -> None:
        try:
            control.fall_back = flag(value)
        except ValueError as e:
            raise UsageError(f"{at}: kumo.aaa.set_fall_back_to_acl_map: {e}") from None
        control.checks.clear()

    functions = _Functions(host)
    for name in (
        "acl_make",
        "acl_map",
        "acl_of_map",
        "resource_make",
        "forget",
        "query_begin",
        "query_step",
        "query_failed",
    ):
        host.python[name.encode()] = host.guard(getattr(functions, name))
    for name, cache in control.caches.items():
        host.builtin_caches[name] = cache.resize
    ttl = "kumo.aaa.set_{}_ttl"
    return {
        _CALL: Export(configure_acct_log),
        ttl.format("acl_cache"): set_ttl(ttl.format("acl_cache"), control.definitions),
        ttl.format("check_cache"): set_ttl(ttl.format("check_cache"), control.checks),
        ttl.format("authentication_cache"): set_ttl(ttl.format("authentication_cache"), control.logins),
        "kumo.aaa.set_fall_back_to_acl_map": Export(set_fall_back),
    }


class _Query:
    """A question that waits for answers of the policy."""

    def __init__(self, at: str, resource: Resource, info: AuthInfo, privilege: str, time_ns: int) -> None:
        self.at, self.resource, self.info, self.privilege, self.time_ns = at, resource, info, privilege, time_ns
        self.asked: dict[str, Acl | None] = {}
        self.name = ""


class _Functions:
    """What lua/kumoaudit/api/aaa.lua calls; inside Lua, so one thread at a time."""

    def __init__(self, host: PolicyHost) -> None:
        self._host = host
        self._queries: dict[int, _Query] = {}
        self._last = 0

    def acl_make(self, at: bytes, packed: bytes) -> float:
        acl = acl_of_rules(convert.unpack(packed), self._host.place_of(at))
        return float(self._host.objects.add(acl))

    def acl_map(self, at: bytes, name: bytes, text: bytes, is_file: bool) -> float:
        place, shown = self._host.place_of(at), decode(name)
        try:
            source = text.decode("utf-8")
        except UnicodeDecodeError as e:
            raise UsageError(f"{place}: kumo.aaa.load_acl_map: {shown}: not UTF-8 at byte {e.start}") from None
        acl_map = load_acl_map(source, shown)
        if is_file:
            self._host.tracked.add(shown, text, check=lambda raw: load_acl_map(raw.decode("utf-8"), shown))
        self._host.acl_maps[shown] = acl_map
        return float(self._host.objects.add(acl_map))

    def acl_of_map(self, number: float, name: bytes) -> float | None:
        found = self._host.objects.get(number, AclMap).get(convert.text(name))
        return None if found is None else float(self._host.objects.add(found))

    def resource_make(self, at: bytes, packed: bytes) -> float:
        call = f"{self._host.place_of(at)}: kumo.aaa.make_http_url_resource"
        local, url, options = convert.unpack(packed)
        for name, value in (("local_addr", local), ("url", url)):
            if type(value) is not str:
                raise UsageError(f"{call}: {name}: expected a text, got {kind(value)}")
        normalise = False
        if options is not None:
            if (
                not isinstance(options, dict)
                or set(options) - {"normalise"}
                or options.get("normalise") not in (True, False)
            ):
                raise UsageError(f"{call}: options: expected {{ normalise = true }}, got {kind(options)}")
            normalise = options["normalise"]
        try:
            return float(self._host.objects.add(http_url_resource(local, url, normalise=normalise)))
        except ValueError as e:
            what, _, fix = str(e).partition("\n")
            raise UsageError(f"{call}: {what}" + (f"\n  {fix.strip()}" if fix else "")) from None

    def forget(self, packed: bytes) -> None:
        self._host.objects.forget(convert.unpack(packed))

    # -- questions ----------------------------------------------------------------------------------------------

    def query_begin(self, at: bytes, packed: bytes) -> tuple[float | None, bytes | None, Any]:
        """A new question: (its number, the name to ask for, None), or (None, None, the disposition)."""
        host = self._host
        place = host.place_of(at)
        resource, info, privilege = convert.unpack(packed)
        if not isinstance(resource, dict) or "$resource" not in resource:
            raise UsageError(
                f"{place}: {_QUERY}: resource: expected a resource, got {kind(resource)}\n"
                "  make it with kumo.aaa.make_http_url_resource('127.0.0.1:8000', '/path')"
            )
        if info is None:
            raise UsageError(
                f"{place}: {_QUERY}: auth_info: expected a table, got nil\n  for nobody in particular: {{}}"
            )
        if type(privilege) is not str:
            raise UsageError(f"{place}: {_QUERY}: privilege: expected a text, got {kind(privilege)}")
        query = _Query(
            place,
            host.objects.get(resource["$resource"], Resource),
            auth_info_of(info, f"{place}: {_QUERY}"),
            privilege,
            host.pipeline.clock.now_ns(),
        )
        cached = host.access.cached(query.resource, query.info, privilege)
        return self._finish(query, cached) if cached else self._step(query)

    def query_step(self, number: float, packed: bytes) -> tuple[float | None, bytes | None, Any]:
        """The policy's answer to the last name; results as `query_begin`."""
        query = self._queries.pop(int(number))
        try:
            query.asked[query.name] = acl_of_answer(self._host, convert.unpack(packed))
        except UsageError as e:
            self._record_failure(query, str(e))
            raise UsageError(f"{query.at}: {_QUERY}: {e}") from None
        return self._step(query)

    def query_failed(self, number: float, text: bytes) -> None:
        """The policy's handler raised an error: nothing is decided, and that is recorded."""
        self._record_failure(self._queries.pop(int(number)), convert.text(text))

    def _step(self, query: _Query) -> tuple[float | None, bytes | None, Any]:
        host = self._host
        ask = host.has("get_acl_definition")
        found = host.access.step(query.resource, query.info, query.privilege, query.asked, ask=ask)
        if isinstance(found, Decision):
            return self._finish(query, found)
        query.name = found
        self._last += 1
        self._queries[self._last] = query
        return float(self._last), found.encode("utf-8", "surrogateescape"), None

    def _finish(self, query: _Query, decision: Decision) -> tuple[None, None, Any]:
        host = self._host
        event = decision_event(
            decision, query.resource, id=ulid(query.time_ns), time_ns=query.time_ns, node=host.pipeline.node
        )
        # Raises RecordRefused: who cannot be recorded is not let in.
        host.events.emit(event)
        disposition: dict[str, Any] = {"allow": decision.allow, "id": event.id}
        if decision.rule:
            disposition |= {"rule": decision.rule.record, "resource": decision.resource}
        return None, None, host.to_lua(disposition)

    def _record_failure(self, query: _Query, text: str) -> None:
        host = self._host
        event = failure_event(
            query.resource,
            query.info,
            query.privilege,
            "error",
            text.splitlines()[0] if text else "",
            id=ulid(query.time_ns),
            time_ns=query.time_ns,
            node=host.pipeline.node,
        )
        host.events.emit(event)
