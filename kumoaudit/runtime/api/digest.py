"""`kumo.encode.*`, and the hashing behind `kumo.digest.*` (whose objects are Lua's, lua/kumoaudit/api/digest.lua)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import type_name
from kumoaudit.runtime.convert import text
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

Codec = tuple[Callable[[bytes], bytes], Callable[[bytes], bytes], int]
"""Encode, decode (strictly), and the group size that padding completes (0: no padding)."""


def _base64_decode(data: bytes) -> bytes:
    return base64.b64decode(data, validate=True)


def _base64url_decode(data: bytes) -> bytes:
    if b"+" in data or b"/" in data:
        raise binascii.Error("'+' and '/' belong to plain base64; the URL form has '-' and '_'")
    return base64.b64decode(data, b"-_", validate=True)


CODECS: dict[str, Codec] = {
    "base64": (base64.b64encode, _base64_decode, 4),
    "base64url": (base64.urlsafe_b64encode, _base64url_decode, 4),
    "base32": (base64.b32encode, base64.b32decode, 8),
    "base32hex": (base64.b32hexencode, base64.b32hexdecode, 8),
    "hex": (binascii.hexlify, binascii.unhexlify, 0),
}


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions of this module."""
    host.python[b"digest"] = host.guard(_digest)
    host.python[b"hmac"] = host.guard(_hmac)
    host.python[b"encoded"] = host.guard(encoded)
    out = {}
    for name, (_, _, group) in CODECS.items():
        for suffix in ("", "_nopad") if group else ("",):
            full = f"{name}{suffix}"
            for action, function in (("encode", encoded), ("decode", decoded)):
                call = f"kumo.encode.{full}_{action}"
                out[call] = Export(_checked(call, full.encode(), function), raw=True)
    return out


def _checked(call: str, name: bytes, function: Callable[[bytes, bytes], bytes]) -> Callable[..., bytes]:
    def run(at: str, data: object = None) -> bytes:
        if not isinstance(data, bytes):
            raise UsageError(f"{at}: {call}: expected a text, got {type_name(data)}")
        try:
            return function(name, data)
        except ValueError as e:
            # The text itself is not shown: it may be a secret.
            raise UsageError(f"{at}: {call}: the text is not {text(name).removesuffix('_nopad')}: {e}") from None

    return run


def encoded(name: bytes, data: bytes) -> bytes:
    """*data* as base64, base64url, base32, base32hex or hex; with `_nopad` at the end of the name without padding."""
    plain = name.removesuffix(b"_nopad")
    out = CODECS[plain.decode()][0](data)
    return out.rstrip(b"=") if plain != name else out


def decoded(name: bytes, data: bytes) -> bytes:
    """The bytes of an encoded text. Raises ValueError: other characters, padding missing or where none belongs."""
    plain = name.removesuffix(b"_nopad")
    _, decode, group = CODECS[plain.decode()]
    if plain != name:
        if b"=" in data:
            raise ValueError("it has padding")
        data += b"=" * (-len(data) % group)
    return decode(data)


def _digest(name: bytes, data: bytes) -> bytes:
    import hashlib
    import zlib

    if name == b"crc32":
        return zlib.crc32(data).to_bytes(4, "big")
    return hashlib.new(name.decode(), data, usedforsecurity=False).digest()


def _hmac(name: bytes, key: bytes, data: bytes) -> Any:
    import hmac

    return hmac.digest(key, data, name.decode())
