"""`kumo.digest` and `kumo.encode`: against Python's hashlib and the test vectors of RFC 4648."""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from collections.abc import Callable
from typing import Any

import pytest

Lua = Callable[..., Any]


def test_the_documented_hmac_of_kumomta_comes_out(lua: Lua) -> None:
    """KumoMTA docs, kumo.digest/hmac_sha256.md."""
    assert lua("return kumo.digest.hmac_sha256({ key_data = 'your key' }, 'your message').hex") == [
        "87fc1cec5c02f0991ae80f50e98eb2eb5213d07fc40417682a74448ac1deb07c"
    ]


@pytest.mark.parametrize("name", ["sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512"])
def test_each_hash_takes_all_arguments_as_bytes_or_json(name: str, lua: Lua) -> None:
    expected = hashlib.new(name, b"a\0\xff" + b'{"n":1}' + b"12").hexdigest()

    assert lua(f"return tostring(kumo.digest.{name}('a\\0\\255', {{ n = 1 }}, 12)), #kumo.digest.{name}().bytes") == [
        expected,
        hashlib.new(name).digest_size,
    ]


@pytest.mark.parametrize("name", ["sha1", "sha224", "sha256", "sha384", "sha512"])
def test_each_hmac_is_pythons(name: str, lua: Lua) -> None:
    assert lua(f"return kumo.digest.hmac_{name}({{ key_data = 'k\\0' }}, 'm').hex") == [
        hmac.new(b"k\0", b"m", name).hexdigest()
    ]


def test_crc32_is_big_endian(lua: Lua) -> None:
    assert lua("return kumo.digest.crc32('123456789').hex") == [f"{zlib.crc32(b'123456789'):08x}"]


def test_a_digest_shows_every_encoding_and_equals_its_like(lua: Lua) -> None:
    assert lua(
        """
        local d = kumo.digest.sha1 'x'
        return d.base32, d.base32_nopad, d.base64, d.base64_nopad, d.base64url, d.base64url_nopad, d == kumo.digest.sha1 'x',
          d == kumo.digest.sha1 'y', #d.bytes, kumo.serde.json_encode { d }
        """
    ) == [
        base64.b32encode(hashlib.sha1(b"x").digest()).decode(),
        base64.b32encode(hashlib.sha1(b"x").digest()).decode(),
        "EfatjsUqKYSrqv18O1FlA3hcIHI=",
        "EfatjsUqKYSrqv18O1FlA3hcIHI",
        "EfatjsUqKYSrqv18O1FlA3hcIHI=",
        "EfatjsUqKYSrqv18O1FlA3hcIHI",
        True,
        False,
        20,
        '["11f6ad8ec52a2984abaafd7c3b516503785c2072"]',
    ]


def test_the_vectors_of_rfc_4648_hold_in_both_directions(lua: Lua) -> None:
    assert lua(
        """
        local e, out = kumo.encode, {}
        for _, name in ipairs { 'base64', 'base64_nopad', 'base64url', 'base32', 'base32_nopad', 'base32hex', 'base32hex_nopad', 'hex' } do
          for _, text in ipairs { '', 'f', 'fo', 'foobar', '\\255\\254\\0' } do
            assert(e[name .. '_decode'](e[name .. '_encode'](text)) == text, name)
          end
          out[name] = e[name .. '_encode'] 'foob'
        end
        return out, e.base64_encode '\\255\\239', e.base64url_encode '\\255\\239'
        """
    ) == [
        {
            "base64": "Zm9vYg==", "base64_nopad": "Zm9vYg", "base64url": "Zm9vYg==", "base32": "MZXW6YQ=",
            "base32_nopad": "MZXW6YQ", "base32hex": "CPNMUOG=", "base32hex_nopad": "CPNMUOG", "hex": "666f6f62",
        },
        "/+8=",
        "_-8=",
    ]  # fmt: skip


def test_decoding_is_strict_and_says_what_was_expected(refused: Callable[..., list[str]]) -> None:
    texts = refused(
        "kumo.encode.base64_decode 'a*b='",
        "kumo.encode.base64_decode 'Zg'",
        "kumo.encode.base64_nopad_decode 'Zg=='",
        "kumo.encode.base64url_decode '/+8='",
        "kumo.encode.base32_decode 'mzxw6yq='",
        "kumo.encode.hex_decode '0g'",
        "kumo.encode.hex_encode(nil)",
        "kumo.digest.sha256(print)",
        "kumo.digest.sha256('x').md5",
        "kumo.digest.md5 'x'",
        "kumo.digest.hmac_sha256({ key_data = 'x' }, 5)",
    )

    assert [t.split(": ")[0] for t in texts] == [
        "kumo.encode.base64_decode",
        "kumo.encode.base64_decode",
        "kumo.encode.base64_nopad_decode",
        "kumo.encode.base64url_decode",
        "kumo.encode.base32_decode",
        "kumo.encode.hex_decode",
        "kumo.encode.hex_encode",
        "kumo.digest.sha256",
        "a digest has no field 'md5'\n  fields",
        "kumo.digest.md5 does not exist in this host",
        "kumo.digest.hmac_sha256",
    ]
    assert texts[2] == "kumo.encode.base64_nopad_decode: the text is not base64: it has padding"
    assert texts[6] == "kumo.encode.hex_encode: expected a text, got nil"
    assert texts[7] == "kumo.digest.sha256: a function cannot be written"
