"""Record ids: version 4 UUIDs for custom and Tarantool-shaped events, ULIDs for everything else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

_BATCH = 512
_pool: Iterator[str] = iter(())


def _random_hex() -> str:
    """32 random hexadecimal digits, drawn from the kernel in batches.

    Taking the next item of a list iterator is atomic, so no two threads get the same digits.
    """
    global _pool
    while (digits := next(_pool, None)) is None:
        text = os.urandom(16 * _BATCH).hex()
        _pool = iter([text[i : i + 32] for i in range(0, len(text), 32)])
    return digits


def _forget() -> None:
    """Throw the batch away, or a forked child would repeat its parent's ids."""
    global _pool
    _pool = iter(())


os.register_at_fork(after_in_child=_forget)


def uuid4() -> str:
    """A random UUID of version 4, lower case (Tarantool's `uuid`, section 3)."""
    h = _random_hex()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:]}"


def ulid(time_ns: int) -> str:
    """A ULID: 48 bits of milliseconds and 80 random bits in 26 characters; sorts by time within the text."""
    n = (time_ns // 1_000_000) << 80 | int(_random_hex()[:20], 16)
    return "".join(_CROCKFORD[(n >> shift) & 31] for shift in range(125, -1, -5))


def is_uuid(text: str) -> bool:
    """Whether *text* has the form of a UUID of any version, in any case."""
    return _UUID.fullmatch(text) is not None


def same_id(a: str, b: str) -> bool:
    """Whether two ids are one; UUIDs and ULIDs are compared without case (interface section 6)."""
    return a == b or a.lower() == b.lower()


def looks_like_id(text: str) -> bool:
    """Whether a look-up for *text* can find anything: the form of a UUID or of a ULID."""
    return is_uuid(text) or _ULID.fullmatch(text) is not None
