"""What people write on a command line -> `Query`. Every option narrows the question further."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kumoaudit.core.errors import UsageError
from kumoaudit.core.ids import looks_like_id
from kumoaudit.core.predicate import AllOf, Always, AnyOf, Compare, FieldIn, Not, Predicate
from kumoaudit.core.predicate_text import parse_predicate, predicate_from_table
from kumoaudit.core.protocols import Disk
from kumoaudit.core.spec import Query
from kumoaudit.core.timetext import parse_when


class Asked(msgspec.Struct, frozen=True):
    """The options of `query` and `tail` as they were written; see interface section 6 for what each means."""

    words: tuple[str, ...] = ()
    where: str = ""
    since: str | None = None
    until: str | None = None
    type: tuple[str, ...] = ()
    kind: tuple[str, ...] = ()
    user: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    severity: str | None = None
    outcome: tuple[str, ...] = ()
    is_global: bool = False
    no_global: bool = False
    lookup: str | None = None
    limit: int | None = None
    reverse: bool = False


def split_words(disk: Disk, words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The target (None without one) and the paths among the plain arguments.

    What exists on disk or holds a slash is a path, everything else a target. Raises UsageError for two targets.
    """
    paths = [w for w in words if "/" in w or _exists(disk, w)]
    targets = [w for w in words if w not in paths]
    if len(targets) > 1:
        raise UsageError(
            f"more than one target: {', '.join(targets)}\n"
            "  ask for one host, user@host or user=...; a path is written with a slash (./name) or must exist"
        )
    return (targets[0] if targets else None), paths


def _exists(disk: Disk, name: str) -> bool:
    try:
        disk.lstat(name)
    except (OSError, ValueError):
        return False
    return True


def build_query(asked: Asked, target: str | None, now_ns: int) -> Query:
    """The question. Raises UsageError (PredicateError) that names the option."""
    terms: list[Predicate] = []
    if target is not None:
        terms.append(target_predicate(target))
    if asked.where:
        terms.append(_where_option(asked.where, now_ns))
    terms.extend(
        _field_option(field, list(values))
        for field in ("type", "kind", "user", "host", "outcome")
        if (values := getattr(asked, field))
    )
    if asked.severity:
        wanted = _field_option("severity", [asked.severity])
        if not isinstance(wanted, FieldIn):
            raise UsageError(f"--severity: expected one level, got {asked.severity!r}")
        terms.append(Compare("severity", ">=", wanted.values[0]))
    if asked.is_global and asked.no_global:
        raise UsageError("--global and --no-global exclude each other\n  leave one out")
    if asked.is_global and (asked.user or (target and ("@" in target or target.startswith("user=")))):
        raise UsageError("--global shows events without a user, so it cannot be asked together with a user")
    if asked.is_global or asked.no_global:
        without: Predicate = FieldIn("user", ("",))
        terms.append(without if asked.is_global else Not(without))
    if asked.lookup is not None:
        if not asked.lookup:
            raise UsageError("--lookup: expected the id of a record")
        terms.append(FieldIn("id", (asked.lookup,)))
    since, until = _when("--since", asked.since, now_ns), _when("--until", asked.until, now_ns)
    if since is not None and until is not None and since >= until:
        raise UsageError(f"--since {asked.since} is not before --until {asked.until}: nothing can lie between")
    where = Always() if not terms else terms[0] if len(terms) == 1 else AllOf(tuple(terms))
    return Query(where, since, until, asked.limit, not asked.reverse)


def target_predicate(target: str) -> Predicate:
    """`host`, `user@host` or `user=NAME`. Names of hosts are compared as written and in lower case (JIDs have none)."""
    if target.startswith("user="):
        if not target[5:]:
            raise UsageError("user= needs a name\n  for events without a user use --global")
        return predicate_from_table({"user": target[5:]})
    if "=" in target:
        raise UsageError(
            f"{target!r} is not a target\n  write host, user@host or user=NAME; use --where for other fields"
        )
    user, at, host = target.rpartition("@")
    if not at:
        return _either("host", host)
    if not user or not host:
        raise UsageError(f"{target!r} is not a target\n  write host, user@host or user=NAME")
    # Some record the whole address as the user, others its two parts.
    return AnyOf((_either("user", target), AllOf((_either("user", user), _either("host", host)))))


def hint_for_nothing(asked: Asked, target: str | None) -> str:
    """A likely reason why nothing was found; "" when there is none to tell."""
    if asked.lookup is not None and not looks_like_id(asked.lookup):
        return f"{asked.lookup!r} has the form neither of a UUID nor of a ULID"
    if target is not None and "@" not in target and "=" not in target and "." in target:
        return f"{target!r} was taken for a host; a file of that name does not exist here"
    return ""


def _either(field: str, value: str) -> FieldIn:
    return FieldIn(field, tuple(dict.fromkeys((value, value.lower()))))


def _when(option: str, text: str | None, now_ns: int) -> int | None:
    if text is None:
        return None
    try:
        return parse_when(text, now_ns)
    except UsageError as e:
        raise UsageError(f"{option}: {e}") from None


def _where_option(text: str, now_ns: int) -> Predicate:
    try:
        return parse_predicate(text, now_ns=now_ns)
    except UsageError as e:
        raise UsageError(f"--where: {e}") from None


def _field_option(field: str, values: list[str]) -> Predicate:
    try:
        return predicate_from_table({field: values})
    except UsageError as e:
        # The error names `where.field` only when the field is wrong, and ours are not.
        raise UsageError(f"--{field}: {e}") from None
