"""Reloading: changed files are tried in a runtime aside; it takes over between two events, or the last good one stays.

Asked for by SIGHUP, by `kumo.bump_config_epoch()`, by an administrator (HTTP, control socket) and by files that change.
`pre_init` and `init` do not run again, as with KumoMTA: listeners and logs are those of the start.
"""

from __future__ import annotations

import hashlib
import os
import threading
from copy import copy
from typing import NamedTuple

from kumoaudit.core.errors import KumoauditError
from kumoaudit.runtime.host import PolicyHost
from kumoaudit.runtime.tracked import Change, TrackedFile, changes, digest_of, matching
from kumoaudit.runtime.watch import Watch

FILE_CHANGE = "file change"


class Outcome(NamedTuple):
    """What came of a reload: `ok` is False when the last good policy stays because the new one is refused; `changed`
    are the paths of the files that differ (none: nothing was reloaded); `message` is one line."""

    ok: bool
    changed: tuple[str, ...]
    message: str


class _Refused(Exception):
    """The new files cannot be used."""


class Reloader:
    """Replaces the policy in force. Any thread; one reload at a time."""

    def __init__(self, host: PolicyHost) -> None:
        """*host* is the first policy, whether it is loaded already or not."""
        self._shared, self._say, self._pipeline = host.shared, host.say, host.pipeline
        self._policy = host.policy_path
        self._one_at_a_time = threading.Lock()
        self._is_begun = False
        self._requested = ""
        self._lock = threading.Lock()
        self._tried: tuple[Change, ...] = ()
        self._watch: Watch | None = None
        self._shared.reloader = self

    @property
    def current(self) -> PolicyHost:
        """The policy in force."""
        return self._shared.current

    def begin(self) -> None:
        """The host is ready: reloads are possible from here on; one that was requested meanwhile is done."""
        with self._lock:
            self._is_begun = True
            cause = self._requested
        if cause:
            self.request(cause)

    def request(self, cause: str) -> None:
        """Reload on a thread of its own, soon; while the host still starts, when it is ready. Returns at once."""
        with self._lock:
            if not self._is_begun:
                self._requested = cause
                return
        threading.Thread(target=self.reload, args=(cause,), name="reload", daemon=True).start()

    def bump(self, cause: str) -> None:
        """Raise the config epoch at once, and reload soon if files have changed. Returns at once."""
        self._shared.raise_epoch()
        if self._is_begun:
            threading.Thread(target=self._reload, args=(cause,), name="reload", daemon=True).start()

    def watch(self) -> None:
        """Reload whenever a file of the policy changes, from now to the end of the process. Idempotent."""
        if self._watch is None:
            self._watch = Watch(self._shared, self._watched, self._files_changed)
            self._watch.start()

    def reload(self, cause: str, who: dict[str, object] | None = None) -> Outcome:
        """Put changed files in force, or keep the last good policy; both are recorded and said.

        *cause* is a text for people (`SIGHUP`), *who* goes into the record. Blocks while the new policy loads, at most
        `handler_timeout` unless a C function does not return. Never raises for what the files hold.
        """
        return self._reload(cause, who, raises_epoch=True)

    def _reload(self, cause: str, who: dict[str, object] | None = None, *, raises_epoch: bool = False) -> Outcome:
        if not self._is_begun or self._shared.stopping.is_set():
            return Outcome(False, (), "the host is stopping" if self._is_begun else "the host is not ready yet")
        with self._one_at_a_time:
            old = self.current
            changed = changes(self._digests(old), self._shared.globs)
            if not changed:
                self._tried = ()
                if raises_epoch:
                    self._shared.raise_epoch()
                    self._say(f"reload ({cause}): no file of the policy has changed")
                return Outcome(True, (), "no file of the policy has changed")
            self._tried = changed
            shared = self._shared
            # What a policy that is refused set at its top level is undone.
            kept = shared.log_filter, shared.cache_capacities
            shared.log_filter, shared.cache_capacities = copy(kept[0]), dict(kept[1])
            new = old.successor()
            try:
                self._load(new, old, changed)
            except (_Refused, KumoauditError) as e:
                shared.log_filter, shared.cache_capacities = kept
                return self._failed(cause, who, old, new, changed, e)
            changed = self._swap(old, new)
            return self._done(cause, who, old, changed)

    def _load(self, new: PolicyHost, old: PolicyHost, changed: tuple[Change, ...]) -> None:
        # As they are before loading: what changes meanwhile is a change.
        globbed = matching(self._shared.globs)
        with new.limited():
            new.load()
            if new.has("validate_config"):
                new.call("validate_config")
        if new.validation_has_failed:
            raise _Refused(f"{self._policy}: validation failed: the policy called kumo.validation_failed()")
        if new.globs is None:
            for path, digest in globbed.items():
                new.tracked.put(path, TrackedFile(digest))
        # Files that handlers load are not read by loading the policy: they are tried here, and watched further on.
        before, loaded = old.tracked.files(), new.tracked.files()
        differing = {c.path: c for c in changed}
        for path, file in before.items():
            if path in loaded or path in new.files:
                continue
            change = differing.get(path)
            if change is None:
                new.tracked.put(path, file)
            elif change.new is not None:
                new.tracked.put(path, _tried(path, file))

    def _swap(self, old: PolicyHost, new: PolicyHost) -> tuple[Change, ...]:
        before, after = self._digests(old), self._digests(new)
        if new.globs is not None:
            self._shared.globs = new.globs
        new.take_over()
        self._shared.raise_epoch()
        self._shared.watch_changed.set()
        self._tried = ()
        paths = sorted(before.keys() | after.keys())
        return tuple(Change(p, before.get(p), after.get(p)) for p in paths if before.get(p) != after.get(p))

    def _done(self, cause: str, who: dict[str, object] | None, old: PolicyHost, changed: tuple[Change, ...]) -> Outcome:
        new = self.current
        paths = tuple(c.path for c in changed)
        message = f"policy reloaded ({cause}): {', '.join(map(_shown, paths))}"
        self._say(message)
        for notice in new.handlers.notices:
            self._say(f"notice: {notice}")
        detail = self._detail(cause, who) | {
            "old_sha256": old.digest(),
            "new_sha256": new.digest(),
            "files": [{"path": c.path, "old_sha256": c.old, "new_sha256": c.new} for c in changed],
            "config_epoch": self._shared.config_epoch,
        }
        self._pipeline.host("policy_reloaded", message, detail)
        return Outcome(True, paths, message)

    def _failed(
        self,
        cause: str,
        who: dict[str, object] | None,
        old: PolicyHost,
        new: PolicyHost,
        changed: tuple[Change, ...],
        error: Exception,
    ) -> Outcome:
        attempted = _attempted(old, new)
        new.close()
        first_line = str(error).split("\n", 1)[0]
        message = f"policy not reloaded ({cause}), the last good one stays: {first_line}"
        self._say(message)
        detail = self._detail(cause, who) | {
            "message": str(error),
            "old_sha256": old.digest(),
            "attempted_sha256": attempted,
            "files": [{"path": c.path, "old_sha256": c.old, "attempted_sha256": c.new} for c in changed],
        }
        self._pipeline.host("policy_reload_failed", message, detail)
        return Outcome(False, tuple(c.path for c in changed), message)

    def _detail(self, cause: str, who: dict[str, object] | None) -> dict[str, object]:
        return {"cause": cause, "policy": self._policy} | ({"who": who} if who else {})

    # -- files --------------------------------------------------------------------------------------------------

    @staticmethod
    def _digests(host: PolicyHost) -> dict[str, str]:
        out = {path: file.digest for path, file in host.tracked.files().items()}
        return out | {path: hashlib.sha256(raw).hexdigest() for path, raw in list(host.files.items())}

    def _watched(self) -> tuple[list[str], tuple[str, ...]]:
        return list(self._digests(self.current)), self._shared.globs

    def _files_changed(self) -> None:
        """Something happened in a watched directory: reload if contents differ, from what was refused last as well."""
        changed = changes(self._digests(self.current), self._shared.globs)
        if changed and changed != self._tried:
            self._reload(FILE_CHANGE)
        elif not changed:
            self._tried = ()


def _shown(path: str) -> str:
    """A path as short as people would write it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


def _attempted(old: PolicyHost, new: PolicyHost) -> str | None:
    """The digest of the policy that was refused: what it loaded, and as they lie there the files it did not come to."""
    files = dict(new.files)
    for path in old.files.keys() - files.keys():
        try:
            with open(path, "rb") as f:
                files[path] = f.read()
        except OSError:
            continue
    return digest_of(files) if files else None


def _tried(path: str, file: TrackedFile) -> TrackedFile:
    """A file with its contents of now, when they are such as can be used."""
    try:
        with open(path, "rb") as f:
            raw = f.read()
    except OSError as e:
        raise _Refused(f"{path}: {(e.strerror or str(e)).lower()}") from None
    if file.check is not None:
        try:
            file.check(raw)
        except (ValueError, RecursionError) as e:
            raise _Refused(f"{path}: {e}") from None
    return TrackedFile(hashlib.sha256(raw).hexdigest(), file.check)
