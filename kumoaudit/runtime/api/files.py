"""`kumo.fs.*` and their older names, and the file of a keysource."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import type_name
from kumoaudit.runtime.api.serde import read_file
from kumoaudit.runtime.convert import text
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""

    def secret_file(at: bytes, call: bytes, path: bytes) -> bytes:
        return read_file(path, f"{host.place_of(at)}: {text(call)}: KeySource failed to load data from file")

    host.python[b"secret_file"] = host.guard(secret_file)
    out = {}
    for prefix in ("kumo.fs.", "kumo."):
        out[f"{prefix}glob"] = Export(_named(_glob, f"{prefix}glob"), raw=True)
        out[f"{prefix}uncached_glob"] = Export(_named(_uncached_glob, f"{prefix}uncached_glob"), raw=True)
        out[f"{prefix}read_dir"] = Export(_named(_read_dir, f"{prefix}read_dir"), raw=True)
    return out


def _named(function: Any, call: str) -> Any:
    return lambda at, *args: function(f"{at}: {call}", *args)


def _glob(where: str, pattern: object = None, relative_to: object = None, ttl: object = None) -> list[bytes]:
    """Absolute names, sorted; relative ones with *relative_to*. Each call looks anew (KumoMTA keeps results for *ttl*).

    Directories that are missing or closed to the host are passed over, as KumoMTA does.
    """
    import glob

    if not isinstance(pattern, bytes):
        raise UsageError(f"{where}: expected a pattern, got {type_name(pattern)}")
    if relative_to is not None and not isinstance(relative_to, bytes):
        raise UsageError(f"{where}: relative_to: expected a path, got {type_name(relative_to)}")
    if ttl is not None and (isinstance(ttl, bool) or not isinstance(ttl, int | float)):
        raise UsageError(f"{where}: ttl_seconds: expected a number of seconds, got {type_name(ttl)}")
    base = os.path.abspath(relative_to or b".")
    found = sorted(glob.glob(pattern, root_dir=base, recursive=True))
    if relative_to is None:
        return [os.path.join(base, f) for f in found]
    prefix = base.rstrip(b"/") + b"/"
    return [f.removeprefix(prefix) for f in found]


def _uncached_glob(where: str, pattern: object = None, relative_to: object = None) -> list[bytes]:
    """The same: here glob keeps no results either."""
    return _glob(where, pattern, relative_to)


def _read_dir(where: str, path: object = None) -> list[bytes]:
    """Absolute names of what a directory holds, sorted."""
    if not isinstance(path, bytes) or not path or b"\0" in path:
        raise UsageError(f"{where}: expected a path, got {type_name(path)}")
    try:
        names = sorted(os.listdir(path))
    except OSError as e:
        raise UsageError(f"{where}: reading directory {text(path)}: {(e.strerror or str(e)).lower()}") from None
    base = os.path.abspath(path)
    return [os.path.join(base, name) for name in names]
