"""The two encoders of a plan give the same bytes: Lua's compiled one and Python's, which is the definition."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kumoaudit.core.event import SEVERITIES, Event
from kumoaudit.core.predicate import Always, Predicate, compile_test
from kumoaudit.core.predicate_lua import LuaPredicate, NotInLua, lua_string
from kumoaudit.core.predicate_text import parse_predicate
from kumoaudit.core.spec import Fill, Plan
from kumoaudit.core.text import decode
from kumoaudit.pipeline.encode import PythonEncoder, fill
from kumoaudit.runtime.hotpath import HotRoute, generate
from tests.policies import Inside, inside

# A clock that the Lua side reads too; the zone of `tarantool_json` is the machine's own on both sides.
SEC, MS = 1_790_000_000, 123

raw = st.one_of(
    st.text(max_size=200).map(lambda t: t.encode("utf-8", "surrogatepass")),
    st.binary(max_size=200),
    st.lists(
        st.sampled_from([b"a", b'"', b"\\", b"\n", b"\x00", b"\xc3\xa9", b"\xff", b"plain text "]), max_size=40
    ).map(b"".join),
)
optional = st.one_of(st.none(), raw)

LOGS = {
    "native": Plan(),
    "kumo": Plan(format="kumo"),
    "tarantool": Plan(format="tarantool_json", fill=Fill("tarantool", "admin")),
    "bare": Plan(format="tarantool_json"),
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp("encoders")
    logs = "".join(
        f"kumo.audit.configure_log {{ name = '{name}', format = '{plan.format}' }}\n" for name, plan in LOGS.items()
    )
    with inside(
        directory,
        f"""
        kumo.on('init', function() {logs} end)
        kumo.on('log', function(...)
          local severity, peer, session_type, module, user, type, tag, description = ...
          return audit.log {{ severity = severity, remote = peer, session_type = session_type, module = module,
            user = user, type = type, tag = tag, description = description }}
        end)
        """,
    ) as made:
        made.host.lua.execute(
            b"local encode = require 'kumoaudit.encode' encode.set_clock(function() return true, %d, %d end)"
            % (SEC, MS)
        )
        made.host.events.install()
        yield made


def last_line(host: Inside, log: str) -> bytes:
    ring = next(r for r in host.pipeline.open_routes if r.spec.name == log).ring
    current, _ = ring.state(0)
    _, state = ring.state(current)
    block = bytes(ring.view(current, 0, state.used))
    return block[block.rfind(b"\n", 0, len(block) - 1) + 1 :]


def as_event(id_: str, node: str, values: tuple[bytes | None, ...], kind: bytes) -> Event:
    """What an event of the ten-field path is, by definition: bad bytes shown, an empty text absent."""
    severity, peer, session, module, user, tag, description = (None if v is None else decode(v) or None for v in values)
    return Event(
        id=id_,
        time_ns=SEC * 1_000_000_000 + MS * 1_000_000,
        node=node,
        kind="custom",
        type=decode(kind),
        severity=severity or "INFO",
        peer=peer,
        session_type=session if values[2] is not None else "background",
        module=module,
        user=user,
        tag=tag,
        description=description or "",
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    severity=st.sampled_from([s.encode() for s in SEVERITIES]),
    peer=optional,
    session=optional,
    module=optional,
    user=optional,
    tag=optional,
    kind=raw.map(lambda b: b"custom_" + b[:40]),
    description=raw,
)
def test_both_encoders_give_the_same_bytes_for_every_plan(
    host: Inside,
    severity: bytes,
    peer: bytes | None,
    session: bytes | None,
    module: bytes | None,
    user: bytes | None,
    tag: bytes | None,
    kind: bytes,
    description: bytes,
) -> None:
    """Architecture section 5: the ring carries encoded lines, whoever encoded them."""
    _, state, *rest = host.host._call(b"log", severity, peer, session, module, user, kind, tag, description)
    assert state == b"done", rest

    native = last_line(host, "native")
    id_ = native[7:43].decode()
    event = as_event(id_, "n1", (severity, peer, session, module, user, tag, description), kind)
    for log, plan in LOGS.items():
        if plan.fill.module == "tarantool":
            continue  # this fill belongs to a section that is configured elsewhere; its encoder is tested below
        assert last_line(host, log) == PythonEncoder(plan).line(event), log


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(user=optional, module=optional, description=raw)
def test_what_a_log_fills_in_is_the_same_in_both(
    host: Inside, user: bytes | None, module: bytes | None, description: bytes
) -> None:
    """Interface section 4: the Tarantool section's log fills in module and user as it writes."""
    plan = LOGS["tarantool"]
    route = next(r for r in host.pipeline.open_routes if r.spec.name == "bare")
    generated = generate([HotRoute("bare", plan, Always(), False, True)], "n1", 1 << 20)
    events, lua = host.host.events, host.host.lua
    ring = events._open_ring(route.ring.address, route.ring.mutex_address, lambda *a: (True, False))
    counters = events._counters_at(ctypes.addressof(host.host.counters))
    emit, _ = lua.compile(generated.source.encode())(events._encode, lua.table_from([ring]), host.host.python, counters)
    id_ = emit(None, b"INFO", None, b"background", module or None, user or None, b"message", None, description)

    event = as_event(id_.decode(), "n1", (b"INFO", None, b"background", module, user, None, description), b"message")
    assert last_line(host, "bare") == PythonEncoder(plan).line(event)


# -- predicates -------------------------------------------------------------------------------------------------------

words = st.sampled_from(
    ["eve", "bob", "custom_a", "custom_b", "m", "INFO", "", "x*", "*b", "c*_*a", "10.0.0.1", "n1", "custom"]
)
fields = st.sampled_from(
    ["user", "type", "module", "tag", "description", "session_type", "host", "kind_", "node", "resource"]
)


def texts() -> st.SearchStrategy[str]:
    equal = st.tuples(fields, st.sampled_from(["=", "!="]), words).map(
        lambda t: f'{t[0].rstrip("_")} {t[1]} "{t[2] if t[0] != "kind_" else "custom"}"'
    )
    several = st.tuples(st.sampled_from(["user", "type"]), st.lists(words, min_size=1, max_size=6)).map(
        lambda t: f"{t[0]} in (" + ", ".join(f'"{w}"' for w in t[1]) + ")"
    )
    severity = st.tuples(st.sampled_from(["<", "<=", ">", ">=", "=", "!="]), st.sampled_from(SEVERITIES)).map(
        lambda t: f"severity {t[0]} {t[1]}"
    )
    leaf = st.one_of(equal, several, severity)
    return st.recursive(
        leaf,
        lambda inner: st.one_of(
            st.tuples(inner, inner).map(lambda t: f"({t[0]}) and ({t[1]})"),
            st.tuples(inner, inner).map(lambda t: f"({t[0]}) or ({t[1]})"),
            inner.map(lambda t: f"not ({t})"),
        ),
        max_leaves=5,
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=texts(),
    severity=st.sampled_from(SEVERITIES),
    user=st.sampled_from([None, "eve", "bob", "xyz"]),
    kind=st.sampled_from(["custom_a", "custom_b", "message", "custom_za"]),
    module=st.sampled_from([None, "m", "b"]),
    tag=st.sampled_from([None, "x", "xb"]),
)
def test_a_predicate_compiled_to_lua_agrees_with_matches(
    host: Inside, text: str, severity: str, user: str | None, kind: str, module: str | None, tag: str | None
) -> None:
    """Architecture section 6: a filter means the same wherever it runs."""
    predicate: Predicate = parse_predicate(text, allow_seq=False)
    event = Event(
        id="", time_ns=1, kind="custom", type=kind, node="n1", severity=severity, user=user, module=module, tag=tag,
        session_type="background", description="d",
    )  # fmt: skip
    names = {
        f: ("etype" if f == "type" else f)
        for f in ("severity", "user", "peer", "session_type", "module", "tag", "type", "description")
    }
    compiler = LuaPredicate(names, {"kind": "custom", "node": "n1"})
    try:
        expression = compiler.expression(predicate)
    except NotInLua:
        pytest.fail(f"{text} should be expressible")
    sets = "".join(f"local set{i} = {s}\n" for i, s in enumerate(compiler.sets, 1))
    source = (
        "local rank, glob = (...).rank, (...).glob\n"
        + sets
        + "return function(severity, user, peer, session_type, module, tag, etype, description)\n"
        f"return {expression} end"
    )
    lua = host.host.lua
    test = lua.compile(source.encode())(host.host.events._encode)
    values = [None if v is None else v.encode() for v in (severity, user, None, "background", module, tag, kind, "d")]

    assert test(*values) == compile_test(predicate)(fill(Fill(None, None), event), 0), (text, expression)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.binary())
def test_a_lua_string_literal_holds_every_byte(host: Inside, value: bytes) -> None:
    assert host.host.lua.eval(lua_string(value).encode()) == value


def test_a_filter_that_lua_cannot_express_goes_through_python_and_means_the_same(tmp_path: Path) -> None:
    """The log gets exactly what its filter takes; the others are not affected."""
    with inside(
        tmp_path,
        """
        kumo.on('init', function()
          kumo.audit.configure_log { name = 'some', where = 'description ~ NEEDLE' }
          kumo.audit.configure_log { name = 'all' }
          for _, text in ipairs { 'a needle', 'hay', 'Needles' } do audit.log(text) end
        end)
        """,
    ) as host:
        assert host.host.events.in_python == {"some": "~ on description"}
        assert [b"eedle" in line for line in host.lines("some")] == [True, True]
        assert len([line for line in host.lines("all") if b'"kind":"custom"' in line]) == 3


def test_long_texts_are_encoded_alike(tmp_path: Path) -> None:
    """Every length around the steps of the eight-byte check, clean and not."""
    with inside(tmp_path, "kumo.on('log', function(d) return audit.log(d) end)") as host:
        for n in [*range(200), 1000, 4096, 100_000]:
            for text in ("x" * n, "x" * max(0, n - 1) + '"', "é" * (n // 2), "\x00" + "y" * n):
                id_ = host.host.call("log", text)[0]
                line = last_line(host, "log")
                assert json.loads(line)["id"] == id_
                assert json.loads(line).get("description", "") == text
