"""Password hashing for `kumo.secrets`; runs outside the gate, as argon2 takes its time on purpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kumoaudit.core import options as o
from kumoaudit.core.errors import UsageError
from kumoaudit.runtime import passwords
from kumoaudit.runtime.convert import text, unpack
from kumoaudit.runtime.host import Export

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions themselves are Lua's (lua/kumoaudit/api/secrets.lua); this is the work behind them."""
    checker = passwords.PasswordChecker()
    warned: set[str] = set()

    def begin(at: bytes, call: str, kind: bytes) -> str:
        where = f"{host.place_of(at)}: {call}" if at else call
        if kind != b"string":
            raise UsageError(f"{where}: expected the password as a string, got {text(kind)}")
        return where

    def hash_password(at: bytes, kind: bytes, password: bytes, options: bytes) -> bytes:
        where = begin(at, "kumo.secrets.hash_password", kind)
        cost = o.read_options(passwords.PasswordCost, unpack(options), where)
        return passwords.hash_password(password, cost).encode()

    def check_password(at: bytes, kind: bytes, password: bytes, hash_kind: bytes, phc: bytes) -> bool:
        where = begin(at, "kumo.secrets.check_password", kind)
        try:
            return checker.check(password, None if hash_kind == b"nil" else phc)
        except passwords.NotAHash as e:
            if where not in warned:
                warned.add(where)
                host.say(f"{where}: warning: {e}")
            return False

    host.works[b"hash_password"] = hash_password
    host.works[b"check_password"] = check_password
    return {}
