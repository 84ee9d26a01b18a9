"""The bytes behind `kumo.uuid.*` (whose objects are Lua's, lua/kumoaudit/api/uuids.lua)."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import type_name
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost


def v6() -> bytes:
    """Version 1 with its time in the order of sorting (RFC 9562, 5.6)."""
    one = uuid.uuid1()
    time = one.time
    high = (time >> 12) << 16 | 6 << 12 | time & 0xFFF
    return ((high << 64) | one.int & (1 << 64) - 1).to_bytes(16, "big")


def v7(now_ms: int) -> bytes:
    """48 bits of milliseconds since 1970, 74 random bits (RFC 9562, 5.7)."""
    random = int.from_bytes(os.urandom(10), "big")
    value = now_ms << 80 | 7 << 76 | (random >> 62 & 0xFFF) << 64 | 2 << 62 | random & (1 << 62) - 1
    return value.to_bytes(16, "big")


def exports(host: PolicyHost) -> dict[str, Export]:
    """Only `kumo.uuid.parse` and `new_*` of Lua call these."""

    def new(version: bytes) -> bytes:
        match version:
            case b"v1":
                return uuid.uuid1().bytes
            case b"v4":
                return uuid.uuid4().bytes
            case b"v6":
                return v6()
            case _:
                return v7(host.pipeline.clock.now_ns() // 1_000_000)

    def parse(at: bytes, value: object) -> bytes:
        where = f"{host.place_of(at)}: kumo.uuid.parse"
        if not isinstance(value, bytes):
            raise UsageError(f"{where}: expected a text, got {type_name(value)}")
        try:
            digits = value.decode("ascii").lower().removeprefix("urn:uuid:")
            if digits[:1] == "{" and digits[-1:] == "}":
                digits = digits[1:-1]
            if len(digits) == 36 and all(digits[i] == "-" for i in (8, 13, 18, 23)):
                digits = digits[:8] + digits[9:13] + digits[14:18] + digits[19:23] + digits[24:]
            if len(digits) == 32 and "-" not in digits and digits.isalnum():
                return bytes.fromhex(digits)
        except ValueError:
            pass
        raise UsageError(f"{where}: not a UUID; write it as 69994630-3e27-11ef-91fc-cc28aa0a5c5a")

    host.python[b"uuid_new"] = host.guard(new)
    host.python[b"uuid_parse"] = host.guard(parse)
    return {}
