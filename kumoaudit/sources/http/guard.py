"""What stands before every route: who is it, may they, and the record of both (KumoMTA, section 5.1; interface 7)."""

from __future__ import annotations

import asyncio
import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

from aiohttp.web import BaseRequest

from kumoaudit.access.acl import Decision
from kumoaudit.access.identity import joined, text_of
from kumoaudit.access.login import BEARER, Credentials, Login, Malformed, parse_authorization
from kumoaudit.access.records import authentication_event, decision_event, failure_event
from kumoaudit.access.resource import Resource, names_for, path_of
from kumoaudit.core.errors import KumoauditError, RecordRefused
from kumoaudit.core.event import AuthInfo, Event, Identity
from kumoaudit.core.ids import ulid
from kumoaudit.sources.http import reply
from kumoaudit.sources.http.reply import RETRY_S, NotRecorded, Refused, Reply
from kumoaudit.sources.http.throttle import Burst, Throttle
from kumoaudit.sources.services import Services

LATER = "try again later"
_LOOK_EVERY_S = 0.02
# Threads for what may wait: the policy's handlers, the disk of a log that promises to survive a power cut.
_MOST_WAITING = 64
# Records of the listener itself that may wait for a full log; what comes then is counted.
_MOST_NOTES = 1000
_SAY_EVERY_S = 1.0


class Asked:
    """One request on its way: what it is for, who asks, and the id of the record that says so."""

    __slots__ = ("audit_id", "has_room", "info", "method", "path", "peer", "request", "resource")

    def __init__(self, request: BaseRequest, info: AuthInfo, time_ns: int) -> None:
        self.request, self.info = request, info
        self.method, self.peer = request.method, info.peer_address or ""
        self.path = ""
        self.resource: Resource | None = None
        self.audit_id = ulid(time_ns)
        # Nothing had to wait when this was last asked, and the loop has had no turn since.
        self.has_room = False

    def about(self) -> dict[str, Any]:
        """What the records of this request say of it beside KumoMTA's fields."""
        return {"request_id": self.audit_id}

    def who(self) -> dict[str, Any]:
        """Who asks, for records of what an administrator did."""
        first = self.info.identities[0].identity if self.info.identities else None
        return {"user": first, "peer": self.peer or None, "request_id": self.audit_id}


class Guard:
    """Authenticates, authorizes and records the requests of one host. Its methods run on the listener's loop."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._throttle = Throttle(services.clock)
        self._key = os.urandom(32)
        self._pool = ThreadPoolExecutor(_MOST_WAITING, "http")
        self._warned: set[str] = set()
        self._notes: set[Future[None]] = set()
        self._said_at, self._unsaid = 0, 0

    def settle(self, timeout_s: float) -> None:
        """Wait until notes that are under way are recorded; any thread but the loop's."""
        wait(set(self._notes), timeout_s)

    # -- records ------------------------------------------------------------------------------------------------

    def _recorded(self, asked: Asked, event: Event) -> bool:
        """Record *event* before anything is answered, unless that may wait (then `_record_later` does); whether it
        did. Raises NotRecorded when a log that must have it cannot.

        Both records of most requests come here one after the other: what the first found is true for the second, as
        a log that has room has it for many.
        """
        if not asked.has_room:
            if self._services.may_wait():
                return False
            asked.has_room = True
        try:
            self._services.emit(event)
        except RecordRefused:
            raise _not_recorded() from None
        return True

    async def _record_later(self, event: Event) -> None:
        services = self._services
        loop = asyncio.get_running_loop()
        give_up = loop.time() + services.block_timeout_s
        try:
            if services.must_wait():
                await self.in_pool(lambda: services.emit(event, max(0, int((give_up - loop.time()) * 1e9))))
                return
            # A log is full. Whoever waits for it waits here, at no cost; the loop goes on for everybody else.
            while services.may_wait() and loop.time() < give_up:
                await asyncio.sleep(_LOOK_EVERY_S)
            services.emit(event, 0)
        except RecordRefused:
            raise _not_recorded() from None

    async def in_pool(self, function: Any, *args: Any) -> Any:
        """Call what may wait on a thread of its own; a call that found no thread in time is refused."""
        loop = asyncio.get_running_loop()
        limit = self._services.block_timeout_s
        begin = loop.time()

        def call() -> Any:
            if loop.time() - begin > limit:
                raise RecordRefused(f"no thread was free within {limit:g} s")
            return function(*args)

        return await loop.run_in_executor(self._pool, call)

    def note(self, type: str, description: str, detail: dict[str, Any]) -> str:
        """Record something about the listener itself, when that can be done; nobody waits for it. The record's id."""
        services = self._services
        now = services.clock.now_ns()
        event = Event(
            id=ulid(now),
            time_ns=now,
            kind="system",
            type=type,
            node=services.node,
            severity="WARNING",
            outcome="fail" if type == "auth_throttled" else "error",
            user=detail.get("user"),
            peer=detail.get("peer"),
            description=description,
            detail=detail,
        )
        if not services.may_wait():
            self._emit_or_say(event)
        elif len(self._notes) >= _MOST_NOTES:
            services.counters.refused += 1
            return ""
        else:
            future = self._pool.submit(self._emit_or_say, event)
            self._notes.add(future)
            future.add_done_callback(self._notes.discard)
        return event.id

    def _emit_or_say(self, event: Event) -> None:
        try:
            self._services.emit(event)
        except RecordRefused as e:
            self._services.say_once(f"{event.type} could not be recorded: {e}")

    def say(self, text: str) -> None:
        """A message for the operator that a client can cause: at most one a second, with how many were left out."""
        now = self._services.clock.monotonic_ns()
        if self._said_at and now - self._said_at < _SAY_EVERY_S * 1e9:
            self._unsaid += 1
            return
        more = f"\n  ({self._unsaid} more before it)" if self._unsaid else ""
        self._said_at, self._unsaid = now, 0
        self._services.say(text + more)

    # -- who ----------------------------------------------------------------------------------------------------

    async def authenticate(self, asked: Asked) -> None:
        """Check the credentials, if any are shown, and record the outcome; `asked.info` then says who it is."""
        headers = asked.request.headers.getall("Authorization", None)
        if headers is None:
            return
        try:
            if len(headers) != 1:
                raise Malformed("Malformed Authorization header")
            value = headers[0].encode("utf-8", "surrogateescape")
            key = hashlib.blake2b(value, key=self._key, digest_size=20).digest()
            login = self._services.access.logins.get(key, None)
            if login is None:
                asked.has_room = False
                login = await self._check(asked, parse_authorization(value), key)
        except Malformed as e:
            self._throttle.failed(asked.peer, "")
            await self._record_login(asked, Identity("", e.context), False, "malformed header")
            raise Refused(400, str(e)) from None
        if not login.ok:
            self._throttle.failed(asked.peer, login.attempted.identity)
            await self._record_login(asked, login.attempted, False, login.reason)
            who = login.attempted.identity if login.attempted.context == "HttpBasicAuth" else ""
            text = f"{login.attempted.context} Authentication Failed for {who}"
            raise Refused(401, text, {"WWW-Authenticate": self.challenge()})
        asked.info = joined(asked.info, login.gained)
        await self._record_login(asked, login.attempted, True, "")

    async def _check(self, asked: Asked, credentials: Credentials, key: bytes) -> Login:
        wait_ns, burst = self._throttle.check(asked.peer, credentials.user)
        if burst is not None:
            self._services.counters.throttled += 1
            if burst.refused == 1:
                burst.id = self._note_burst(burst)
            # Not one record per guess: the reply names that of the burst.
            asked.audit_id = burst.id
            raise Refused(429, "too many failed logins", {"Retry-After": str(-(-wait_ns // 1_000_000_000))})
        logins = self._services.access.logins
        generation = logins.generation
        try:
            login: Login = await self.in_pool(self._services.login, credentials)
        except RecordRefused:
            raise Refused(503, LATER, {"Retry-After": str(RETRY_S)}) from None
        except KumoauditError as e:
            self.say(str(e))
            reason = f"handler error: {str(e).splitlines()[0]}"
            await self._record_login(asked, Identity(credentials.user, credentials.context), False, reason)
            raise Refused(500, LATER) from None
        if login.warning and login.warning not in self._warned:
            self._warned.add(login.warning)
            self._services.say(f"warning: {login.warning}")
        if login.ok:
            # Errors and failures are never kept: the next attempt asks again.
            logins.put(key, login, generation=generation)
        return login

    def challenge(self) -> str:
        """How a caller may show who it is."""
        basic = 'Basic realm="kumoaudit", charset="UTF-8"'
        return f'{basic}, Bearer realm="kumoaudit"' if self._services.has_handler(BEARER) else basic

    async def _record_login(self, asked: Asked, attempted: Identity, ok: bool, reason: str) -> None:
        self._services.counters.authentication(ok)
        now = self._services.clock.now_ns()
        # A failure ends the request: its record is the one that the reply names.
        event = authentication_event(
            attempted,
            ok,
            asked.info,
            id=ulid(now) if ok else asked.audit_id,
            time_ns=now,
            node=self._services.node,
            reason=reason or None,
            request=asked.about(),
        )
        if not self._recorded(asked, event):
            await self._record_later(event)

    def _note_burst(self, burst: Burst) -> str:
        text = f"logins of {_shown(burst)} are refused after {burst.failures} failures within a minute"
        return self.note("auth_throttled", text, _detail(burst))

    def look_at_bursts(self, *, all_of_them: bool = False) -> None:
        """Record what bursts of guesses came to that have ended. The listener calls it every few seconds."""
        for burst in self._throttle.over(all_of_them=all_of_them):
            text = f"a burst of failed logins of {_shown(burst)} has ended: {burst.refused} were refused"
            self.note(
                "auth_throttled", text, _detail(burst) | {"refused": burst.refused, "ended": True, "began": burst.id}
            )

    # -- may they -----------------------------------------------------------------------------------------------

    def locate(self, asked: Asked, local: str) -> None:
        """Say what the request is for. Raises Refused (400) when its URL cannot be a resource."""
        try:
            asked.path = path_of(asked.request.raw_path)
        except ValueError as e:
            problem = str(e).splitlines()[0]
            detail = {"peer": asked.peer or None, "status": 400, "reason": problem, "listener": local}
            asked.audit_id = self.note("http_refused", f"400: {problem}", detail)
            raise Refused(400, "malformed URI?") from None
        asked.resource = names_for(local, asked.path)

    async def authorize(self, asked: Asked) -> None:
        """Refuse the request (401, 403, 500, 503) unless the ACLs allow it; what they say is recorded first."""
        decision = await self.decide(asked)
        if decision.allow:
            return
        verb = "not permitted" if decision.rule is None else "denied"
        text = f"{text_of(asked.info)} {verb} {asked.method} on {decision.target}"
        if asked.info.identities:
            raise Refused(403, text)
        raise Refused(401, text, {"WWW-Authenticate": self.challenge()})

    async def decide(self, asked: Asked) -> Decision:
        """What the ACLs say, recorded. Raises Refused: 500 when a handler fails, 503 when a log does not take it."""
        resource = asked.resource
        assert resource is not None
        decision = self._services.access.cached(resource, asked.info, asked.method)
        if decision is None:
            asked.has_room = False
            decision = await self._ask(asked, resource)
        await self._record_decision(asked, decision)
        return decision

    async def _ask(self, asked: Asked, resource: Resource) -> Decision:
        services = self._services
        try:
            if not services.has_handler("get_acl_definition"):
                return services.decide(resource, asked.info, asked.method)
            decision: Decision = await self.in_pool(services.decide, resource, asked.info, asked.method)
        except RecordRefused:
            raise Refused(503, LATER, {"Retry-After": str(RETRY_S)}) from None
        except KumoauditError as e:
            self.say(str(e))
            await self.record_denial(asked, "error", str(e).splitlines()[0])
            raise Refused(500, LATER) from None
        return decision

    async def _record_decision(self, asked: Asked, decision: Decision) -> None:
        """The Authorization record of a decision; its id is the one that the reply names."""
        self._services.counters.authorization(decision.allow)
        event = decision_event(
            decision,
            asked.resource,
            id=asked.audit_id,
            time_ns=self._services.clock.now_ns(),
            node=self._services.node,
            request=asked.about(),
        )
        if not self._recorded(asked, event):
            await self._record_later(event)

    async def record_denial(self, asked: Asked, reason: str, error: str = "") -> None:
        """The record of a request that no ACL decided: no such route, or the policy's handler failed."""
        resource = asked.resource
        assert resource is not None
        event = failure_event(
            resource,
            asked.info,
            asked.method,
            reason,
            error,
            id=asked.audit_id,
            time_ns=self._services.clock.now_ns(),
            node=self._services.node,
            request=asked.about(),
        )
        if not self._recorded(asked, event):
            await self._record_later(event)

    def answer(self, asked: Asked, refused: Refused) -> Reply:
        """The reply of a refusal."""
        return reply.text(refused.status, str(refused), refused.headers)


def _not_recorded() -> NotRecorded:
    return NotRecorded(503, LATER, {"Retry-After": str(RETRY_S)})


def _shown(burst: Burst) -> str:
    return " and ".join(f"{word} {who}" for word, who in (("address", burst.peer), ("user", burst.user)) if who)


def _detail(burst: Burst) -> dict[str, Any]:
    return {"peer": burst.peer or None, "user": burst.user or None, "failures": burst.failures}
