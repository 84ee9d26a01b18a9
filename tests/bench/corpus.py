"""What the contestants record: pools of texts, made from a fixed seed, one text a line, the same for everybody.

A pool repeats only after 65,536 events, about 16 MB of lines: farther than the window of `zstd -3` (2 MiB), or packing
would look better and faster than it is.
"""

from __future__ import annotations

import bisect
import itertools
import random
from pathlib import Path

POOL = 65_536

FIELDS = ("description", "user", "type", "module", "tag", "remote")
"""Pools of the varied corpus; the plain one varies the description alone."""

_VERBS = ("granted", "denied", "created", "removed", "updated", "exported", "revoked", "renewed", "listed", "opened")
_NOUNS = ("invoice", "session", "tenant", "token", "role", "dataset", "bucket", "key", "policy", "quota", "report")
_WHY = ("by rule", "after review", "via console", "from batch", "on schedule", "with consent", "for support case")
_NAMES = ("ann", "bob", "eve", "dan", "kim", "lee", "max", "zoe", "ivan", "olga")

# type, module, description of the varied corpus
_ACTS = (
    ("custom_auth_ok", "auth", "Authenticate user {user}"),
    ("custom_auth_fail", "auth", "Failed to authenticate user {user}"),
    ("custom_denied", "acl", "Access denied to space {space} for {user}"),
    ("custom_insert", "db", "Insert tuple [{key}, '{other}'] into space {space}"),
    ("custom_order", "shop", "order {key} moved from new to paid by {user} amount {amount}"),
    ("custom_http", "api", "GET /api/v1/{space}/{key}?page={page} 200"),
)


def write(directory: Path, count: int = POOL) -> None:
    """Write both corpora below *directory*: `plain/description.txt` and `varied/<field>.txt`, *count* lines each.

    *count* is a power of two, so that a loop finds its text with a mask.
    """
    if count & (count - 1):
        raise ValueError(f"a pool has a power of two of texts, not {count}")
    _write(directory / "plain", {"description": _plain(count)})
    _write(directory / "varied", _varied(count))


def read(directory: Path, field: str = "description") -> list[str]:
    """The texts of a pool."""
    return (directory / f"{field}.txt").read_text("utf-8").split("\n")[:-1]


def _write(directory: Path, pools: dict[str, list[str]]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for field, texts in pools.items():
        (directory / f"{field}.txt").write_text("".join(f"{text}\n" for text in texts), "utf-8")


def _plain(count: int) -> list[str]:
    """Descriptions: 75 bytes on average, 2 % need escaping, 1 % are not ASCII."""
    r = random.Random(7)
    texts = []
    for _ in range(count):
        text = (
            f"{r.choice(_VERBS)} {r.choice(_NOUNS)} {r.getrandbits(32):08x} {r.choice(_WHY)} {r.randrange(10**6)} "
            f"from {_address(r)} {r.choice(_NOUNS)} {r.choice(_VERBS)}"
        )
        kind = r.random()
        if kind < 0.02:
            text += ' "q\\\t'
        elif kind < 0.03:
            text += " Zürich – café"
        texts.append(text)
    return texts


def _varied(count: int) -> dict[str, list[str]]:
    """Service logs: few users and addresses are frequent and most are rare, six types, a tag now and then."""
    r = random.Random(3)
    users = [f"{name}.n{i}@example.com" for name in _NAMES for i in range(300)]
    weights = list(itertools.accumulate(1 / (i + 1) for i in range(len(users))))
    addresses = [_address(r) for _ in range(3000)]
    pools: dict[str, list[str]] = {field: [] for field in FIELDS}
    for _ in range(count):
        user = users[bisect.bisect(weights, r.random() * weights[-1])]
        kind, module, template = r.choice(_ACTS)
        pools["user"].append(user)
        pools["type"].append(kind)
        pools["module"].append(module)
        pools["tag"].append(r.choice(("", "", "", "batch", "console")))
        pools["remote"].append(f"{addresses[int(r.paretovariate(0.7)) % 3000]}:{r.randrange(32768, 61000)}")
        pools["description"].append(
            template.format(
                user=user,
                space=f"space_{r.randrange(40)}",
                key=r.randrange(10**7),
                other=r.choice(users),
                amount=r.randrange(10**5),
                page=r.randrange(20),
            )
        )
    return pools


def _address(r: random.Random) -> str:
    return f"10.{r.randrange(256)}.{r.randrange(256)}.{r.randrange(256)}"
