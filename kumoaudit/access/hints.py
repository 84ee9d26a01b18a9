"""What an ACL map says in vain: names that are never asked for, privileges that never match, rules never reached.

KumoMTA takes all of it silently (section 2.2); `kumoaudit check` shows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kumoaudit.access.aclmap import AclMap, Entry
from kumoaudit.access.address import canonical_socket
from kumoaudit.access.criteria import AllOf, AnyOf, Anyone, Criteria, Group, Individual, MachineSet, Not
from kumoaudit.access.resource import MAX_PARTS, MAX_PATH_BYTES, ROOT
from kumoaudit.core.errors import Problem
from kumoaudit.core.options import suggest

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")

# Characters that no path holds; the rest of section 4's alphabet passes.
_NOT_IN_A_PATH = re.compile("[\x00-\x20?#<>`\x7f]")


def warnings(acl_map: AclMap) -> list[Problem]:
    """Every warning, in the order of the file's resources; [] when there is nothing to say."""
    found: list[Problem] = []
    written = {entry.resource for entry in acl_map.entries}
    for resource in acl_map.acls:
        at = acl_map.places[resource]
        found += [Problem(at, f"{resource!r} {what}", fix) for what, fix in _name_warnings(resource)]
        if resource not in written:
            found.append(Problem(at, f"{resource!r} has no entries", "an ACL without rules decides nothing"))
    reached: dict[tuple[str, str], list[Entry]] = {}
    for entry in acl_map.entries:
        say = _Saying(entry, found)
        if not entry.privileges:
            say("has no privileges, so it never matches", 'write privileges = ["GET"] or remove the entry')
        for what, fix in _criteria_warnings(entry.criteria):
            say(what, fix)
        for n, privilege in enumerate(entry.privileges):
            if privilege in entry.privileges[:n]:
                say(f"names privilege {privilege!r} twice")
                continue
            for what, fix in _privilege_warnings(privilege, entry.resource):
                say(f"privilege {privilege!r} {what}", fix)
            earlier = reached.setdefault((entry.resource, privilege), [])
            hiding = next((e for e in earlier if e.criteria == entry.criteria or _is_always(e.criteria)), None)
            if hiding is not None:
                say(
                    f"is never reached for {privilege!r}: the rule at {hiding.at} takes every such request before",
                    "remove it, or write it before the other",
                )
            earlier.append(entry)
    return found


class _Saying:
    def __init__(self, entry: Entry, found: list[Problem]) -> None:
        self.entry, self.found = entry, found

    def __call__(self, what: str, fix: str = "") -> None:
        self.found.append(Problem(self.entry.at, f"{self.entry.resource}, entry {self.entry.number} {what}", fix))


def _name_warnings(name: str) -> Iterator[tuple[str, str]]:
    """What is wrong with the name of a resource."""
    root, _, rest = name.partition("/")
    if root != ROOT:
        if not name:
            yield "can never match: the name is empty", f"name the listener's resources: {ROOT}/*/path"
        elif name.startswith("/"):
            yield "can never match: no name begins with a slash", f"did you mean '{ROOT}/*{name}'?"
        elif suggest(root, [ROOT]):
            meant = ROOT + name[len(root) :]
            yield f"can never match: unknown word {root!r}", f"did you mean {meant!r}?"
        return
    if name == ROOT:
        return
    address, slash, path = rest.partition("/")
    if address == "*":
        if not slash:
            yield f"can never match: there is no such step between a listener and '{ROOT}'", f"did you mean '{ROOT}'?"
    elif not address:
        yield "can never match: the address of the listener is missing", f"did you mean '{ROOT}/*/{path}'?"
    else:
        try:
            canonical = canonical_socket(address)
        except ValueError:
            yield (
                f"can never match: {address!r} is no address with a port such as 127.0.0.1:8000",
                f"write * for any listener: '{ROOT}/*/{path or rest}'",
            )
        else:
            if canonical != address:
                meant = "/".join((ROOT, canonical, *((path,) if slash else ())))
                yield "can never match: the address is printed otherwise", f"did you mean '{meant}'?"
    if slash:
        yield from _path_warnings(path)


def _path_warnings(path: str) -> Iterator[tuple[str, str]]:
    parts = path.split("/")
    if len(parts) > MAX_PARTS:
        short = "/".join(parts[:MAX_PARTS])
        yield f"can never match: only the first {MAX_PARTS} parts of a path count", f"end it at '{short}'"
    if len(path.encode("utf-8", "replace")) + 1 > MAX_PATH_BYTES:
        yield f"can never match: only the first {MAX_PATH_BYTES} bytes of a path count", "shorten it"
    if m := _NOT_IN_A_PATH.search(path):
        yield f"can never match: {m[0]!r} cannot stand in a path", "write the path alone, percent-encoded"
    if "*" in parts:
        yield (
            "has a star in its path, which is an ordinary character there",
            "a name covers everything below it; remove '/*'",
        )
    if path.endswith("/") and path != "/":
        yield "ends in a slash and does not cover what lies below it", "remove the slash at the end"


def _privilege_warnings(privilege: str, resource: str) -> Iterator[tuple[str, str]]:
    bare = privilege.strip()
    if not bare:
        yield "is empty and never matches", ""
    elif bare != privilege:
        yield "has a space before or behind it and never matches", f"did you mean {bare!r}?"
    elif bare == "*":
        yield "is an ordinary star, not a wildcard", f"list the privileges: {', '.join(METHODS[:3])} ..."
    elif not resource.startswith(ROOT):
        return
    elif bare not in METHODS and bare.upper() in METHODS:
        yield "never matches a request: methods are compared exactly", f"did you mean {bare.upper()!r}?"
    elif len(several := re.split(r"[\s,|]+", bare)) > 1 and all(p.upper() in METHODS for p in several):
        listed = ", ".join(f'"{p.upper()}"' for p in several)
        yield "is one privilege, not several", f"did you mean privileges = [{listed}]?"


def _criteria_warnings(criteria: Criteria) -> Iterator[tuple[str, str]]:
    match criteria:
        case AllOf(terms) | AnyOf(terms):
            if not terms:
                if isinstance(criteria, AllOf):
                    yield "has an empty AllOf, which holds for everybody", "write Any, if that is meant"
                else:
                    yield "has an empty AnyOf, which never holds", "name at least one term"
            for term in terms:
                yield from _criteria_warnings(term)
        case Not(term):
            yield from _criteria_warnings(term)
        case MachineSet(()):
            yield "has an empty MachineSet, which holds for nobody", "name at least one network"
        case Individual("*") | Group("*"):
            word = type(criteria).__name__
            yield f"has {word} = '*', which is that name and no wildcard", "did you mean Authenticated or Any?"
        case Individual("") | Group(""):
            yield f"has an empty {type(criteria).__name__}", "write the name"


def _is_always(criteria: Criteria) -> bool:
    return isinstance(criteria, Anyone) or (isinstance(criteria, AllOf) and all(_is_always(t) for t in criteria.terms))
