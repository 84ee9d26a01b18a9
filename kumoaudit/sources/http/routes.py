"""The routes: what each does once the guard has let a request through (interface, section 7)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import orjson

from kumoaudit.access.identity import auth_info_of
from kumoaudit.access.resource import Resource, http_url_resource, named_resource
from kumoaudit.core.errors import ConfigError, KumoauditError, RecordRefused
from kumoaudit.core.options import suggest
from kumoaudit.sources.batch import BadBatch, Content
from kumoaudit.sources.http import reply
from kumoaudit.sources.http.body import BodyRefused, read_body
from kumoaudit.sources.http.guard import LATER, Asked, Guard
from kumoaudit.sources.http.limits import DEFAULT, Limits
from kumoaudit.sources.http.reply import RETRY_S, Refused, Reply
from kumoaudit.sources.ingest import failed
from kumoaudit.sources.records import PeerInfo
from kumoaudit.sources.services import Services


class Context(msgspec.Struct, frozen=True):
    """What a route works with. `local` is the address the listener is bound to, `body_limit` in bytes."""

    services: Services
    guard: Guard
    local: str
    body_limit: int
    limits: Limits = DEFAULT


Route = Callable[[Context, Asked], Awaitable[Reply]]


async def liveness(context: Context, _: Asked) -> Reply:
    """`GET /api/check-liveness/v1`: 200 `OK`, or 503 with the reason."""
    why = context.services.not_alive()
    return reply.text(503, why, {"Retry-After": str(RETRY_S)}) if why else reply.text(200, "OK")


async def metrics(context: Context, _: Asked) -> Reply:
    """`GET /metrics`: Prometheus text."""
    from kumoaudit.sources.metrics import prometheus_text

    body = prometheus_text(context.services.snapshot())
    return reply.raw(200, body, "text/plain; version=0.0.4; charset=utf-8")


async def metrics_json(context: Context, _: Asked) -> Reply:
    """`GET /metrics.json`: the same figures as JSON."""
    from kumoaudit.sources.metrics import metrics_json as encode

    return reply.raw(200, encode(context.services.snapshot()), reply.JSON)


async def records(context: Context, asked: Asked) -> Reply:
    """`POST /api/audit/records/v1`: records of an application, all or nothing."""
    services = context.services
    if why := services.too_full():
        services.say_once(why)
        raise Refused(503, "disk is too full", {"Retry-After": str(RETRY_S)})
    body = await _body(context, asked)
    kind = asked.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    content: Content = (
        "lines" if kind in ("application/x-ndjson", "application/jsonl", "application/json-lines") else "auto"
    )
    peer = PeerInfo(address=asked.peer or None, auth_info=asked.info, request_id=asked.audit_id)
    try:
        taken = await context.guard.in_pool(services.ingest, body, content, peer)
    except BadBatch as e:
        return reply.json(413 if e.is_too_large else 400, failed(e))
    except RecordRefused:
        raise Refused(503, LATER, {"Retry-After": str(RETRY_S)}) from None
    return reply.raw(200, taken.json(), reply.JSON)


_LINES = frozenset({"application/x-ndjson", "application/jsonl", "application/json-lines"})
_CHECK_FIELDS = ("auth_info", "resource", "url", "local_addr", "privilege", "normalise")


async def check(context: Context, asked: Asked) -> Reply:
    """`POST /api/audit/check/v1`: asks the ACLs for somebody else, records the decision, answers it."""
    value = _object(await _body(context, asked))
    for name in value:
        if name not in _CHECK_FIELDS:
            near = suggest(name, list(_CHECK_FIELDS))
            hint = f"; did you mean {near!r}?" if near else f" (fields: {', '.join(_CHECK_FIELDS)})"
            raise Refused(400, f"unknown field {name!r}{hint}")
    privilege = value.get("privilege")
    if type(privilege) is not str or not privilege:
        raise Refused(400, "privilege: expected a text")
    try:
        info = auth_info_of(value.get("auth_info") or {}, "check")
        resource = _resource_of(value, context.local)
    except (ConfigError, ValueError) as e:
        raise Refused(400, str(e)) from None
    inner = Asked(asked.request, info, context.services.clock.now_ns())
    inner.method, inner.resource, inner.path = privilege, resource, resource.raw_path
    decision = await context.guard.decide(inner)
    answer = {
        "access": "Allow" if decision.allow else "Deny",
        "resource": decision.resource,
        "rule": decision.rule.record if decision.rule else None,
        "id": inner.audit_id,
    }
    return reply.json(200, answer)


async def reopen(context: Context, asked: Asked) -> Reply:
    """`POST /api/admin/reopen/v1`: every log goes on in a new file."""
    return await _admin(context, asked, context.services.reopen)


async def bump_epoch(context: Context, asked: Asked) -> Reply:
    """`POST /api/admin/bump-config-epoch`: the policy is read again, caches are emptied."""
    return await _admin(context, asked, context.services.reload)


async def log_filter(context: Context, asked: Asked) -> Reply:
    """`POST /api/admin/set_diagnostic_log_filter/v1` `{"filter": "lua=debug"}`: which diagnostic lines are shown."""
    value = _object(await _body(context, asked))
    text = value.get("filter")
    if type(text) is not str or len(value) != 1:
        raise Refused(400, 'expected {"filter": "target=level,..."}')
    return await _admin(context, asked, lambda who: context.services.set_log_filter(text, who))


async def _admin(context: Context, asked: Asked, action: Callable[[dict[str, Any]], dict[str, Any]]) -> Reply:
    try:
        answer = await context.guard.in_pool(action, asked.who())
    except RecordRefused:
        raise Refused(503, LATER, {"Retry-After": str(RETRY_S)}) from None
    except (KumoauditError, ValueError) as e:
        raise Refused(400, str(e)) from None
    return reply.json(200 if answer.get("ok", True) else 500, answer)


async def _body(context: Context, asked: Asked) -> bytes:
    try:
        return await read_body(asked.request, context.body_limit, context.limits)
    except BodyRefused as e:
        raise Refused(e.status, str(e), {"Connection": "close"}) from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except ValueError as e:
        raise Refused(400, f"the body is not JSON: {e}") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body must be one JSON object")
    return value


def _resource_of(value: dict[str, Any], local: str) -> Resource:
    name, url = value.get("resource"), value.get("url")
    if (name is None) == (url is None):
        raise ValueError("give either resource (a name) or url")
    for field, given in (("resource", name), ("url", url)):
        if given is not None and type(given) is not str:
            raise ValueError(f"{field}: expected a text")
    if url is not None:
        address = value.get("local_addr") or local
        return http_url_resource(str(address), url, normalise=value.get("normalise") is True)
    return named_resource(str(name))


# Path -> method -> route. A path is compared as it came, octet by octet, as its ACL name is made of the same octets.
ROUTES: dict[str, dict[str, Route]] = {
    "/api/check-liveness/v1": {"GET": liveness},
    "/metrics": {"GET": metrics},
    "/metrics.json": {"GET": metrics_json},
    "/api/audit/records/v1": {"POST": records},
    "/api/audit/check/v1": {"POST": check},
    "/api/admin/reopen/v1": {"POST": reopen},
    "/api/admin/bump-config-epoch": {"POST": bump_epoch},
    "/api/admin/set_diagnostic_log_filter/v1": {"POST": log_filter},
}
