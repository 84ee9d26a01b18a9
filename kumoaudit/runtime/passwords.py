"""Password hashes: argon2 as PHC texts. Any thread; argon2 is imported with the first call."""

from __future__ import annotations

import os
import threading
from typing import Annotated

import msgspec

from kumoaudit.core import options as o

MAX_TIME_COST, MAX_MEMORY_KIB, MAX_PARALLELISM = 100, 1 << 20, 64

# Each hash takes its memory for as long as it runs: a flood of logins must not take all of it.
_running = threading.BoundedSemaphore(2 * (os.cpu_count() or 1))


class PasswordCost(msgspec.Struct, frozen=True, kw_only=True):
    """What one hash costs: passes, KiB of memory, lanes. The defaults are RFC 9106's low-memory choice."""

    time_cost: Annotated[int, o.whole(1, MAX_TIME_COST, "of passes")] = 3
    memory: Annotated[int, o.whole(1024, MAX_MEMORY_KIB, "of KiB")] = 65536
    parallelism: Annotated[int, o.whole(1, MAX_PARALLELISM, "of lanes")] = 4


DEFAULT_COST = PasswordCost()


class NotAHash(ValueError):
    """The text is no argon2 hash that this host would check; the message never holds the text."""


def hash_password(password: bytes, cost: PasswordCost = DEFAULT_COST) -> str:
    """A PHC text (`$argon2id$v=19$...`) with a random salt of 16 bytes."""
    from argon2 import PasswordHasher

    hasher = PasswordHasher(cost.time_cost, cost.memory, cost.parallelism)
    with _running:
        return hasher.hash(password)


class PasswordChecker:
    """Checks passwords; remembers what the last hash cost, so that an unknown user costs the same."""

    def __init__(self) -> None:
        self._cost = DEFAULT_COST

    def check(self, password: bytes, phc: bytes | None) -> bool:
        """Whether *password* fits; None stands for an unknown user. Raises NotAHash, after the time of a check."""
        if phc is None:
            self._spend(password)
            return False
        try:
            cost = _cost_of(phc)
        except NotAHash:
            self._spend(password)
            raise
        self._cost = cost
        return _verify(phc, password)

    def _spend(self, password: bytes) -> None:
        c = self._cost
        fake = f"$argon2id$v=19$m={c.memory},t={c.time_cost},p={c.parallelism}${'A' * 22}${'A' * 43}"
        _verify(fake.encode(), password)


def _cost_of(phc: bytes) -> PasswordCost:
    from argon2 import extract_parameters
    from argon2.exceptions import InvalidHashError

    if not phc.startswith(b"$argon2"):
        raise NotAHash("the hash is not argon2's\n  make one with 'kumoaudit hash-password'")
    try:
        p = extract_parameters(phc.decode("ascii"))
    except (InvalidHashError, ValueError):
        raise NotAHash("the argon2 hash is damaged\n  make a new one with 'kumoaudit hash-password'") from None
    if p.time_cost > MAX_TIME_COST or p.memory_cost > MAX_MEMORY_KIB or p.parallelism > MAX_PARALLELISM:
        raise NotAHash(
            f"the hash costs more than this host spends (time {MAX_TIME_COST}, memory {MAX_MEMORY_KIB} KiB, "
            f"parallelism {MAX_PARALLELISM})\n  make a new one with 'kumoaudit hash-password'"
        )
    return PasswordCost(time_cost=p.time_cost, memory=p.memory_cost, parallelism=p.parallelism)


def _verify(phc: bytes, password: bytes) -> bool:
    from argon2 import PasswordHasher
    from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

    with _running:
        try:
            return PasswordHasher().verify(phc, password)
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError):
            raise NotAHash("the argon2 hash is damaged\n  make a new one with 'kumoaudit hash-password'") from None
