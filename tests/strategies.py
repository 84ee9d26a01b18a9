"""Hypothesis strategies: events with awkward texts, and predicates that have a chance to match them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from kumoaudit.core.event import KINDS, OUTCOMES, SEVERITIES, AuthInfo, Event, Identity
from kumoaudit.core.predicate import (
    FIELDS,
    AllOf,
    Always,
    AnyOf,
    AnyText,
    Cidr,
    Compare,
    Contains,
    FieldIn,
    Glob,
    Not,
    Predicate,
)

# Few letters, so that predicates hit; among them what JSON escapes, what folds to ASCII, and wildcards.
AWKWARD = 'ak5. "\\/*\n\té\u0130\u212a\u017f\u202e\U0001f600K'
texts = st.text(AWKWARD, max_size=6)
words = st.one_of(texts, st.sampled_from(["eve", "true", "authn", "deny", "1e22", "10.0.0.1", "uuid"]))
optional = st.one_of(st.none(), words.filter(bool))
# JSON of every kind; integers within what JSON readers take for whole numbers.
leaves = st.one_of(
    words, st.integers(-(1 << 53), 1 << 53), st.floats(allow_nan=False, allow_infinity=False), st.booleans()
)
details = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["a", "b"]),
        st.one_of(leaves, st.none(), st.lists(leaves, max_size=2), st.dictionaries(st.just("c"), leaves, max_size=1)),
        max_size=2,
    ),
)
infos = st.one_of(
    st.none(),
    st.builds(
        AuthInfo,
        peer_address=optional,
        identities=st.lists(st.builds(Identity, words, st.just("GenericAuth")), max_size=2).map(tuple),
        groups=st.lists(words, max_size=2).map(tuple),
    ),
)
# Nanoseconds of the years 1970 to 2100.
times = st.integers(0, 4_102_444_800_000_000_000)
_TYPES: dict[str, st.SearchStrategy[str]] = {
    "authn": st.just("Authentication"),
    "authz": st.just("Authorization"),
    "custom": words.filter(bool),
}


@st.composite
def events(draw: st.DrawFn) -> Event:
    """Any event whose texts are valid; some have the shape of KumoMTA's records."""
    kind = draw(st.sampled_from(sorted(_TYPES)))
    fields: dict[str, Any] = {
        name: draw(optional)
        for name in ("user", "host", "resource", "privilege", "scope", "session_type", "module", "tag", "source")
    }
    return Event(
        id=draw(st.one_of(words, st.uuids(version=4).map(str))),
        time_ns=draw(times),
        kind=kind,
        type=draw(_TYPES[kind]),
        node=draw(words),
        severity=draw(st.sampled_from(SEVERITIES)),
        outcome=draw(st.one_of(st.none(), st.sampled_from(OUTCOMES))),
        peer=draw(st.one_of(optional, st.sampled_from(["10.0.0.1:443", "::ffff:10.0.0.1", "[::1]:5"]))),
        description=draw(words),
        auth_info=draw(infos),
        detail=draw(details),
        metadata=draw(details),
        **fields,
    )


_text_fields = st.sampled_from(
    [f for f in FIELDS if f not in ("time", "seq", "kind", "severity", "outcome")]
    + ["detail.a", "detail.a.c", "metadata.a", "metadata.B"]
)


def _star(value: str) -> str:
    return value.replace("\\", "\\\\").replace("*", "\\*")


_patterns = st.lists(words.map(_star), min_size=2, max_size=3).map("*".join)
simple = st.one_of(
    st.builds(FieldIn, _text_fields, st.lists(words, min_size=1, max_size=2, unique=True).map(tuple)),
    st.builds(FieldIn, st.just("kind"), st.sampled_from(KINDS).map(lambda v: (v,))),
    st.builds(FieldIn, st.just("severity"), st.sampled_from(SEVERITIES).map(lambda v: (v,))),
    st.builds(FieldIn, st.just("outcome"), st.sampled_from(OUTCOMES).map(lambda v: (v,))),
    st.builds(Glob, _text_fields, _patterns),
    st.builds(Contains, st.one_of(_text_fields, st.sampled_from(["kind", "severity", "outcome"])), words),
    st.builds(AnyText, words),
    st.builds(Cidr, st.just("peer"), st.sampled_from(["10.0.0.0/8", "::1/128", "0.0.0.0/0"])),
    st.builds(Compare, st.just("severity"), st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from(SEVERITIES)),
    st.builds(Compare, st.just("detail.a"), st.sampled_from(["<", ">="]), st.integers(-100, 100)),
    st.builds(Compare, st.just("seq"), st.sampled_from(["<", ">="]), st.integers(0, 100)),
    st.builds(Compare, st.just("time"), st.sampled_from(["<", ">="]), times),
)


def _combined(inner: st.SearchStrategy[Predicate]) -> st.SearchStrategy[Predicate]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return st.one_of(st.builds(Not, inner), st.builds(AllOf, several), st.builds(AnyOf, several))


predicates: st.SearchStrategy[Predicate] = st.one_of(st.just(Always()), st.recursive(simple, _combined, max_leaves=5))
