"""Names of resources: an HTTP path on a listener, its parents and those of any listener (KumoMTA, section 4)."""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from kumoaudit.access.address import canonical_socket

MAX_PATH_BYTES = 256
MAX_PARTS = 10
ROOT = "http_listener"

# What a path and a query may hold as they come (the `http` crate that KumoMTA reads them with); bytes of UTF-8 pass.
_PATH = re.compile("[\x21\x22\x24-\x3b\x3d\x40-\x5f\x61-\x7e\x80-\ud7ff\ue000-\U0010ffff]*")
_QUERY = re.compile("[\x21\x24-\x3b\x3d\x3f-\x7e\x80-\ud7ff\ue000-\U0010ffff]*")
_ABSOLUTE = re.compile(
    r"[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._~!$&'()*+,;=:%-]*@)?"
    r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]*)?(?=[/?]|$)"
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_SLASHES = re.compile("//+")

# A longer path is worked out each time: otherwise a caller could fill the cache with megabytes.
_CACHED_PATH = 512


class Resource(msgspec.Struct, frozen=True):
    """What is asked for. `names` are the names to look up, most specific first; the first is the target.

    `raw_path` is the path as it came (no query, no host). `is_cut`: the path had more than 256 bytes or 10 parts, and
    the name holds only its beginning. `is_exact`: the name holds the path exactly as it came, so it need not be told.
    """

    names: tuple[str, ...]
    raw_path: str
    is_cut: bool = False
    is_exact: bool = True


def http_url_resource(local_addr: str, url: str, *, normalise: bool = False) -> Resource:
    """The resource of a URL, absolute or only a path, on the listener bound to *local_addr* (`ip:port`).

    KumoMTA's `make_http_url_resource` (section 2.4): only the path counts. With *normalise* the names are those of
    the path that most servers would serve: see `normalised`. ValueError says what is wrong with which argument.
    """
    return names_for(canonical_socket(local_addr), path_of(url), normalise=normalise)


def path_of(url: str) -> str:
    """The path of a URL as it came; `*` (of OPTIONS) stays `*`, `https://h` has the path `/`. ValueError if none."""
    return _cached_path(url) if len(url) <= _CACHED_PATH else _path_of(url)


def _path_of(url: str) -> str:
    if not url:
        raise ValueError("the URL is empty\nwrite a path such as /api/admin or a whole URL")
    shown = url if len(url) <= 60 else url[:57] + "..."
    text, _, _ = url.partition("#")
    path, _, query = text.partition("?")
    if text == "*":
        return "*"
    if not text.startswith("/"):
        if m := _ABSOLUTE.match(text):
            path = path[m.end() :] or "/"
        elif _SCHEME.match(text):
            raise ValueError(f"URL {shown!r}: no valid host behind the scheme")
        elif "/" in path:
            raise ValueError(f"URL {shown!r}: a host without a scheme\nwrite https://{shown} or the path alone")
        elif " " in text:
            raise ValueError(f"URL {shown!r}: a URL cannot hold a space\nwrite %20")
        else:
            raise ValueError(f"URL {shown!r} has no path: a bare host is no resource\nwrite the path, such as /{shown}")
    for part, allowed, what in ((path, _PATH, "path"), (query, _QUERY, "query")):
        if m := allowed.match(part):
            if m.end() == len(part):
                continue
            raise ValueError(f"URL {shown!r}: {part[m.end()]!r} cannot stand in the {what}\nwrite it percent-encoded")
    return path


def names_for(local_addr: str, path: str, *, normalise: bool = False) -> Resource:
    """The resource of a path (as `path_of` gives it) on a listener whose canonical address is *local_addr*.

    What the listener calls for each request: a path seen before costs one look-up. Any thread.
    """
    if len(path) > _CACHED_PATH:
        return _names_for(local_addr, path, normalise)
    return _cached(local_addr, path, normalise)


def named_resource(name: str) -> Resource:
    """The resource of a name: `http_listener/ADDRESS/path` has its parents, any other name stands alone.

    For callers that have a name instead of a URL (`POST /api/audit/check/v1`). ValueError for an empty name.
    """
    if not name:
        raise ValueError("the name of a resource is empty")
    root, _, rest = name.partition("/")
    address, slash, path = rest.partition("/")
    if root == ROOT and slash:
        try:
            return names_for(canonical_socket(address), "/" + path)
        except ValueError:
            pass  # `http_listener/*/...` and the like: a name as any other
    return Resource((name,), name)


def normalised(path: str) -> str:
    """*path* with unreserved characters decoded, other escapes in upper case, and `//`, `.` and `..` resolved.

    In that order, as web servers do, so that `/%2e%2e/` cannot hide a parent. A slash at the end stays.
    """
    if not path.startswith("/"):
        return "/"
    text = _SLASHES.sub("/", _ESCAPE.sub(_decoded, path))
    out: list[str] = []
    parts = text.split("/")[1:]
    for part in parts:
        if part == "..":
            if out:
                out.pop()
        elif part != ".":
            out.append(part)
    if parts[-1] in (".", ".."):
        out.append("")
    return "/" + "/".join(out)


def _decoded(escape: re.Match[str]) -> str:
    char = chr(int(escape.group(1), 16))
    return char if char in _UNRESERVED else escape.group(0).upper()


def _names_for(local_addr: str, raw_path: str, normalise: bool) -> Resource:
    path = normalised(raw_path) if normalise else raw_path
    path = path if path.startswith("/") else "/"
    data = path.encode("utf-8", "backslashreplace")
    is_long = len(data) > MAX_PATH_BYTES
    if is_long:
        # KumoMTA cuts at a byte; a character that would be torn is left out whole.
        path = data[:MAX_PATH_BYTES].decode("utf-8", "ignore")
    parts = path[1:].split("/")
    is_cut = is_long or len(parts) > MAX_PARTS
    del parts[MAX_PARTS:]
    tails = ["/".join(parts[:n]) for n in range(len(parts), 0, -1)]
    bound = f"{ROOT}/{local_addr}"
    names = (*(f"{bound}/{t}" for t in tails), bound, *(f"{ROOT}/*/{t}" for t in tails), ROOT)
    return Resource(names, raw_path, is_cut, names[0] == bound + raw_path)


_cached = lru_cache(maxsize=1024)(_names_for)
_cached_path = lru_cache(maxsize=1024)(_path_of)
