"""Which files a policy was made from, and which of them are others now. Contents decide, not times or names."""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

# A policy that loads a file per user, say, must not fill the memory; those beyond are not watched.
MAX_FILES = 10_000

Check = Callable[[bytes], object]
"""Raises ValueError or KumoauditError for contents that cannot be used."""


class TrackedFile(NamedTuple):
    """Digest of what was loaded, and how new contents are tried before they count."""

    digest: str
    check: Check | None = None


class Change(NamedTuple):
    """A file whose contents are others than before; None where there was, or is, no file."""

    path: str
    old: str | None
    new: str | None


class Tracked:
    """Files other than the policy and its modules on which a policy depends. Any thread."""

    def __init__(self, changed: threading.Event) -> None:
        """*changed* is set whenever there is another file."""
        self._changed = changed
        self._lock = threading.Lock()
        self._files: dict[str, TrackedFile] = {}

    def add(self, path: str, raw: bytes, check: Check | None = None) -> None:
        """Remember that *raw* was loaded from *path*. The first contents count until the policy is loaded anew."""
        path = os.path.abspath(path)
        if path in self._files or len(self._files) >= MAX_FILES:
            return
        self.put(path, TrackedFile(hashlib.sha256(raw).hexdigest(), check))

    def put(self, path: str, file: TrackedFile) -> None:
        """Remember a file whose digest is known; *path* is absolute."""
        with self._lock:
            self._files[path] = file
        self._changed.set()

    def set_globs(self, patterns: Iterable[str]) -> None:
        """Remember every file that matches now."""
        for path, digest in matching(patterns).items():
            if path not in self._files:
                self.put(path, TrackedFile(digest))

    def files(self) -> dict[str, TrackedFile]:
        """A copy, by absolute path."""
        with self._lock:
            return dict(self._files)


def digest_of(files: Mapping[str, bytes]) -> str:
    """SHA-256 over contents, in the order of their paths."""
    digest = hashlib.sha256()
    for _, raw in sorted(files.items()):
        digest.update(raw)
    return digest.hexdigest()


def file_digest(path: str) -> str | None:
    """SHA-256 of a regular file, None when there is none that can be read."""
    try:
        # A pipe would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError:
        return None


def matching(patterns: Iterable[str]) -> dict[str, str]:
    """Path -> digest of each regular file that matches one of *patterns*."""
    found: dict[str, str] = {}
    for pattern in patterns:
        for one in alternatives(pattern):
            for path in glob.iglob(os.path.abspath(one), recursive=True):
                if path not in found and (digest := file_digest(path)):
                    found[path] = digest
    return dict(sorted(found.items()))


def alternatives(pattern: str) -> list[str]:
    """A pattern with `{a,b}` as patterns without: `*.{lua,toml}` is `*.lua` and `*.toml`."""
    m = re.search(r"\{([^{}]*)\}", pattern)
    if not m:
        return [pattern]
    return [r for part in m[1].split(",") for r in alternatives(pattern[: m.start()] + part + pattern[m.end() :])]


def changes(before: Mapping[str, str], patterns: Iterable[str]) -> tuple[Change, ...]:
    """What is different on disk: known files, and files that match *patterns* and were not there before."""
    now: dict[str, str | None] = dict(matching(patterns))
    now |= {path: file_digest(path) for path in before}
    return tuple(Change(p, before.get(p), d) for p, d in sorted(now.items()) if d != before.get(p))
