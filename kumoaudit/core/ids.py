"""Record ids: version 4 UUIDs for custom and Tarantool-shaped events, ULIDs for everything else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# Byte -> digit of base 32; each digit stands for eight of the 256 bytes, so random bytes give random digits.
_DIGIT = bytes(ord(_CROCKFORD[byte & 31]) for byte in range(256))
# Where each of 32 hexadecimal digits stands in the text of a UUID, and digit -> digit of the variant.
_PLACES = [n + (n >= 8) + (n >= 12) + (n >= 16) + (n >= 20) for n in range(32)]
_VARIANT = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)

# Random parts come from the kernel in batches. Taking the next item of a list iterator is atomic, so no two threads
# get the same one; a fork throws the batches away, or a child would repeat its parent's ids.
_BATCH = 512
_uuids: Iterator[str] = iter(())
_base32: Iterator[str] = iter(())
_stamp = (-1, "")


def _forget() -> None:
    global _uuids, _base32
    _uuids, _base32 = iter(()), iter(())


os.register_at_fork(after_in_child=_forget)


def uuid4() -> str:
    """A random UUID of version 4, lower case (Tarantool's `uuid`, section 3)."""
    global _uuids
    while (text := next(_uuids, None)) is None:
        _uuids = iter(_uuid_batch())
    return text


def _uuid_batch() -> list[str]:
    """Many at once, a column of digits at a time: a third of the cost of one by one."""
    digits = os.urandom(16 * _BATCH).hex().encode()
    text = bytearray(b"-" * 36 + b"\n") * _BATCH
    for n, place in enumerate(_PLACES):
        text[place::37] = digits[n::32]
    text[14::37] = b"4" * _BATCH
    text[19::37] = text[19::37].translate(_VARIANT)
    return text.decode().split()


def ulid(time_ns: int) -> str:
    """A ULID: 48 bits of milliseconds and 80 random bits in 26 characters; sorts by time within the text."""
    global _base32, _stamp
    ms, text = _stamp
    if ms != time_ns // 1_000_000:
        ms = time_ns // 1_000_000
        text = "".join(_CROCKFORD[(ms >> shift) & 31] for shift in range(45, -1, -5))
        _stamp = (ms, text)
    while (random := next(_base32, None)) is None:
        digits = os.urandom(16 * _BATCH).translate(_DIGIT).decode()
        _base32 = iter([digits[i : i + 16] for i in range(0, len(digits), 16)])
    return text + random


def is_uuid(text: str) -> bool:
    """Whether *text* has the form of a UUID of any version, in any case."""
    return _UUID.fullmatch(text) is not None


def looks_like_id(text: str) -> bool:
    """Whether a look-up for *text* can find anything: the form of a UUID or of a ULID."""
    return is_uuid(text) or _ULID.fullmatch(text) is not None
