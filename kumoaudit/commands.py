"""What an operator asks of a running host over the control socket, and the record that each such change leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from kumoaudit import __version__
from kumoaudit.pipeline.build import Pipeline
from kumoaudit.pipeline.notices import host_event
from kumoaudit.pipeline.state import liveness
from kumoaudit.pipeline.stats import snapshot
from kumoaudit.runtime.reload import Reloader
from kumoaudit.sources.control import Command, ControlSocket, Peer


class Commands:
    """The control socket's registry, filled. Its commands run on the socket's thread; `reopen` on any."""

    def __init__(
        self,
        reloader: Reloader,
        pipeline: Pipeline,
        policy: str,
        shut_down: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        """*policy* is the path as it was given; *shut_down* asks the host to stop and returns at once."""
        self._reloader, self._pipeline, self._policy, self._shut_down = reloader, pipeline, policy, shut_down
        self._begun_ns = pipeline.clock.monotonic_ns()
        self.socket = ControlSocket(pipeline.data_dir, self._record, say)
        self.socket.commands |= {
            "status": Command(lambda _: self._status()),
            "stats": Command(lambda _: snapshot(pipeline)),
            "liveness": Command(lambda _: {"reason": liveness(pipeline)}),
            "reopen": Command(lambda _: self.reopen("control socket"), "admin_reopen"),
            "reload": Command(lambda _: self._reload(), "admin_reload"),
            "shutdown": Command(lambda _: self._stop(), "admin_shutdown"),
        }

    def reopen(self, reason: str) -> dict[str, Any]:
        """Every log goes on in a new file; the record of it is made on the housekeeping thread, which may wait."""
        pipeline = self._pipeline
        for route in pipeline.open_routes:
            route.writer.reopen()
        names = [r.spec.name for r in pipeline.open_routes]
        detail: dict[str, object] = {"reason": reason, "logs": names}
        event = host_event(pipeline.clock, pipeline.node, "audit_reopen", f"files are reopened: {reason}", detail)
        pipeline.housekeeping.announce(event, "")
        return {"logs": names}

    def _status(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "version": __version__,
            "policy": self._policy,
            "uptime_s": round((self._pipeline.clock.monotonic_ns() - self._begun_ns) / 1e9, 3),
            "listeners": [listener.name for listener in self._reloader.current.listeners],
            "caches": {
                name: {"ttl_s": cache.ttl_ns / 1e9, "entries": len(cache), "capacity": cache.capacity}
                for name, cache in self._reloader.current.access.caches.items()
            },
            **snapshot(self._pipeline),
        }

    def _reload(self) -> dict[str, Any]:
        """Read the policy again, as SIGHUP does, and say how it went."""
        outcome = self._reloader.reload("control socket")
        return {"ok": outcome.ok, "changed": list(outcome.changed), "message": outcome.message}

    def _stop(self) -> dict[str, Any]:
        self._shut_down()
        return {"pid": os.getpid()}

    def _record(self, kind: str, command: str, peer: Peer) -> None:
        detail: dict[str, object] = {"command": command, "uid": peer.uid, "gid": peer.gid, "pid": peer.pid}
        text = f"{command} over the control socket by uid {peer.uid}, pid {peer.pid}"
        self._pipeline.admin(kind, text, detail, user_name(peer.uid))


def user_name(uid: int) -> str:
    """The name of a user of this machine, else `uid N`."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
