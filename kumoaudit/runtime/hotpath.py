"""The compiled path of events that are born in Lua: open logs -> Lua source of one function.

The function decides which logs take an event, encodes one line per distinct shape and appends it to each ring; no
Python object and no Lua string is made. What it cannot express (a filter with `~`, say) goes through Python for that
log alone, and `kumoaudit check` names the log and the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from kumoaudit.core.predicate import Predicate
from kumoaudit.core.predicate_lua import LuaPredicate, NotInLua, lua_string
from kumoaudit.core.spec import Fill, Plan

_FIELDS = {
    "severity": "severity",
    "user": "user",
    "peer": "peer",
    "session_type": "session_type",
    "module": "module",
    "tag": "tag",
    "type": "etype",
    "description": "description",
}
_ARGS = "severity, peer, session_type, module, user, etype, tag, description"
# Bytes of a line beside its texts: names, punctuation, id, time; the node is added.
_FRAME_BYTES = 640


class HotRoute(NamedTuple):
    """An open log as the generator needs it."""

    name: str
    plan: Plan
    claims: Predicate
    needs_sync: bool
    is_default: bool


class Generated(NamedTuple):
    """Lua source; which logs it leaves to Python, and why."""

    source: str
    in_python: dict[str, str]


class _Decision(NamedTuple):
    sets: list[str]
    meant: str
    takes: str


def why_not_in_lua(route: HotRoute, node: str) -> str:
    """Why events from Lua go to this log through Python, or "" when they need not."""
    try:
        _decide(route, node, 0)
    except NotInLua as e:
        return str(e)
    return "" if route.plan.format in _SHAPES else f"the format {route.plan.format}"


def generate(routes: Sequence[HotRoute], node: str, max_event_bytes: int) -> Generated:
    """The source of a chunk (encode, rings, py, counters, filtered) -> emit, record.

    `emit(id, severity, peer, session_type, module, user, type, tag, description)` stamps and records an event;
    `record(sec, ms, severity, ...)` records one whose id is in `encode.id`. Both return the id when a log took it.
    The default log comes last: it takes what no other log is meant for.
    """
    out = [
        "local E, rings, py, counters, filtered = ...",
        "local B, put, value, literal, id = E.buffer, E.put, E.value, E.literal, E.id",
        "local append, copy, string_of, error = E.append, E.copy, E.string_of, E.error",
        "local rank, glob = E.rank, E.glob",
        "local last_sec, last_ms = -1, -1",
    ]
    in_python: dict[str, str] = {}
    shapes: dict[tuple[str, Fill], int] = {}
    decisions: list[_Decision | None] = []
    for i, route in enumerate(routes):
        out.append(f"local ring{i} = rings[{i + 1}]")
        reason = why_not_in_lua(route, node)
        if reason:
            in_python[route.name] = reason
            decisions.append(None)
            continue
        decision = _decide(route, node, i)
        decisions.append(decision)
        for k, text in enumerate(decision.sets, 1):
            out.append(f"local set{i}_{k} = {text}")
        shapes.setdefault((_SHAPES[route.plan.format], route.plan.fill), len(shapes) + 1)
    out += [f"local head{number} = ''" for number in shapes.values()]
    out.append("local function stamp(sec, ms)")
    out.append("  last_sec, last_ms = sec, ms")
    for (shape, _), number in shapes.items():
        out.append(f"  head{number} = {_head(shape, node)}")
    out.append("end")
    for (shape, values), number in shapes.items():
        out += _encoder(shape, values, number)
    out += _record(routes, decisions, shapes, max(0, (max_event_bytes - _FRAME_BYTES - len(node) * 6) // 6))
    out += [
        f"local function emit(given, {_ARGS})",
        "  local sec, ms = E.now()",
        "  if given == nil then E.new_id() else copy(id, given, 36) end",
        f"  return record(sec, ms, {_ARGS})",
        "end",
        "return emit, record",
    ]
    return Generated("\n".join(out) + "\n", in_python)


def generate_for_python() -> str:
    """The same two functions where the JIT is off: FFI is very slow then, so every event goes through Python."""
    return "\n".join(
        [
            "local E, rings, py, counters, filtered = ...",
            "local copy, string_of, error = E.copy, E.string_of, E.error",
            f"local function record(sec, ms, {_ARGS})",
            f"  local ok, result = py.custom(sec, ms, string_of(E.id, 36), {_ARGS})",
            "  if not ok then error(result, 0) end",
            "  return result",
            "end",
            f"local function emit(given, {_ARGS})",
            "  local sec, ms = E.now()",
            "  if given == nil then E.new_id() else copy(E.id, given, 36) end",
            f"  return record(sec, ms, {_ARGS})",
            "end",
            "return emit, record",
        ]
    )


def _decide(route: HotRoute, node: str, index: int) -> _Decision:
    names = dict(_FIELDS)
    if route.plan.fill.module:
        names["module"] = f"module{index}"
    if route.plan.fill.user:
        names["user"] = f"user{index}"
    compiler = LuaPredicate(names, {"kind": "custom", "node": node}, set_prefix=f"set{index}_")
    meant = compiler.expression(route.claims)
    takes = compiler.expression(route.plan.where)
    return _Decision(compiler.sets, meant, takes)


def _record(
    routes: Sequence[HotRoute],
    decisions: Sequence[_Decision | None],
    shapes: dict[tuple[str, Fill], int],
    limit: int,
) -> list[str]:
    out = [
        f"local function record(sec, ms, {_ARGS})",
        "  local total = #description + #etype + (user and #user or 0) + (peer and #peer or 0)"
        " + (module and #module or 0) + (tag and #tag or 0) + (session_type and #session_type or 0)",
        f"  if total > {limit} then",
        f"    local ok, result = py.custom(sec, ms, string_of(id, 36), {_ARGS})",
        "    if not ok then error(result, 0) end",
        "    return result",
        "  end",
        "  if ms ~= last_ms or sec ~= last_sec then stamp(sec, ms) end",
        "  local time_ns = sec * 1000000000LL + ms * 1000000LL",
        "  local took, meant, lost, problem = false, false, false, nil",
    ]
    for i, (route, decision) in enumerate(zip(routes, decisions, strict=True)):
        if decision is None or "module" not in f"{decision.meant}{decision.takes}":
            pass
        elif route.plan.fill.module:
            out.append(f"  local module{i} = module or {lua_string(route.plan.fill.module)}")
        if decision is not None and route.plan.fill.user and "user" in f"{decision.meant}{decision.takes}":
            out.append(f"  local user{i} = user or {lua_string(route.plan.fill.user)}")
    held: dict[int, bool] = {}
    for i, (route, decision) in enumerate(zip(routes, decisions, strict=True)):
        if decision is None:
            condition = "if not meant then" if route.is_default else "do"
            out += [
                f"  {condition}",
                f"    local ok, was_meant, result = py.offer({i}, sec, ms, string_of(id, 36), {_ARGS})",
                # Refused is refused: the event does not go to the default log instead.
                "    if not ok then problem, meant = problem or was_meant, true",
                "    else",
                "      meant = meant or was_meant",
                "      took, lost = took or result == true, lost or result == false",
                "    end",
                "  end",
            ]
            continue
        if decision.meant == "false" and not route.is_default:
            continue
        number = shapes[(_SHAPES[route.plan.format], route.plan.fill)]
        if number not in held:
            out.append(f"  local n{number} = 0")
            held[number] = True
        condition = "not meant" if route.is_default else decision.meant
        out.append(f"  if {condition} then" if condition != "true" else "  do")
        out.append("    meant = true")
        out.append(f"    if {decision.takes} then" if decision.takes != "true" else "    do")
        out.append(f"      if n{number} == 0 then n{number} = encode{number}({_ARGS}) end")
        out.append(f"      local done, why = append(ring{i}, B, n{number}, time_ns)")
        if route.needs_sync:
            out += [
                "      if done then",
                f"        local ok, text = py.sync({i})",
                "        if not ok then done, why = nil, text end",
                "      end",
            ]
        out += [
            "      if done then took = true elseif done == nil then problem = problem or why else lost = true end",
            *([f"    else local n = filtered[{i + 1}]; n[0] = n[0] + 1"] if decision.takes != "true" else []),
            "    end",
            "  end",
        ]
        if len(shapes) > 1:
            # The buffer holds one line: another shape writes over it.
            out += [f"  n{other} = 0" for other in held if other != number]
    out += [
        "  if problem then error(problem, 0) end",
        "  if took then",
        "    counters[0] = counters[0] + 1",
        "    return string_of(id, 36)",
        "  end",
        "  if not lost then counters[1] = counters[1] + 1 end",
        "  return nil",
        "end",
    ]
    return out


def _json(text: str) -> str:
    return orjson.dumps(text).decode()


def _head(shape: str, node: str) -> str:
    if shape == "native":
        return (
            lua_string(f'","node":{_json(node)},"time":"')
            + " .. E.utc(sec, ms) .. "
            + lua_string('","kind":"custom","type":')
        )
    return lua_string('{"time": "') + " .. E.local_time(sec, ms) .. " + lua_string('", "uuid": "')


def _encoder(shape: str, values: Fill, number: int) -> list[str]:
    out = [f"local function encode{number}({_ARGS})"]
    if values.module:
        out.append(f"  module = module or {lua_string(values.module)}")
    if values.user:
        out.append(f"  user = user or {lua_string(values.user)}")
    return out + (_native(number) if shape == "native" else _tarantool(number)) + ["end"]


def _native(number: int) -> list[str]:
    out = [
        '  copy(B, \'{"id":"\', 7)',
        "  copy(B + 7, id, 36)",
        f"  local at = value(B, etype, literal(B, head{number}, 43))",
        "  at = value(B, severity, literal(B, ',\"severity\":', at))",
    ]
    out += _optional("user", 'put(B, user, literal(B, \',"user":"\', at))')
    out += _optional("peer", 'put(B, peer, literal(B, \',"peer":"\', at))')
    for name in ("session_type", "module"):
        out += [f"  if {name} ~= nil then", f"    at = value(B, {name}, literal(B, ',\"{name}\":', at))", "  end"]
    out += _optional("tag", 'put(B, tag, literal(B, \',"tag":"\', at))')
    out += _optional("description ~= ''", 'put(B, description, literal(B, \',"description":"\', at))')
    out += ["  return literal(B, '}\\n', at)"]
    return out


def _optional(name: str, expression: str) -> list[str]:
    condition = name if " " in name else f"{name} ~= nil"
    return [f"  if {condition} then", f"    at = {expression}", "    B[at] = 34", "    at = at + 1", "  end"]


def _tarantool(number: int) -> list[str]:
    return [
        f"  local at = literal(B, head{number}, 0)",
        "  copy(B + at, id, 36)",
        '  at = value(B, severity, literal(B, \'", "severity": \', at + 36))',
        "  at = put(B, peer or '', literal(B, ', \"remote\": \"', at))",
        "  at = value(B, session_type or 'unknown', literal(B, '\", \"session_type\": ', at))",
        "  at = value(B, module or '', literal(B, ', \"module\": ', at))",
        "  at = put(B, user or '', literal(B, ', \"user\": \"', at))",
        '  at = value(B, etype, literal(B, \'", "type": \', at))',
        "  at = put(B, tag or '', literal(B, ', \"tag\": \"', at))",
        '  at = put(B, description, literal(B, \'", "description": "\', at))',
        "  return literal(B, '\"}\\n', at)",
    ]


# Format -> shape of an event that is born in Lua. The kumo format writes custom events as native lines.
_SHAPES = {"native": "native", "kumo": "native", "tarantool_json": "tarantool"}
