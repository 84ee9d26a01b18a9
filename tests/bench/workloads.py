"""The loops in Lua: the same text for the product's policy and for the naive path."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Workload(NamedTuple):
    """A loop that records `n` events with `audit`; the pools it uses are locals of the same name, `mask` their size."""

    corpus: str
    pools: tuple[str, ...]
    loop: str
    user: str | None = "eve"
    """What stands in the record as the user; None where the corpus says it."""
    description: str | None = None
    """What stands in every record, or None where the corpus says it."""
    hook: str = ""
    """The handler of `audit_event`, a Lua function, or nothing."""


_W1 = """\
for i = 1, n do
  audit.log {
    type = 'custom_login', user = 'eve', module = 'billing', tag = 'x', description = description[band(i, mask) + 1]
  }
end
"""

_VARIED = """\
for i = 1, n do
  local k = band(i, mask) + 1
  audit.log {
    type = type_[k], user = user[k], remote = remote[k], module = module[k], tag = tag[k], description = description[k]
  }
end
"""

_W3 = """\
local l = audit.new { type = 'custom_hello', module = 'my_module' }
for i = 1, n do
  l:log 'Hello'
end
"""

WORKLOADS = {
    "w1": Workload("plain", ("description",), _W1),
    "varied": Workload("varied", ("description", "user", "type", "module", "tag", "remote"), _VARIED, user=None),
    "w3": Workload("plain", ("description",), _W3, user=None, description="Hello"),
    "w4": Workload(
        "plain",
        ("description",),
        _W1,
        user="e***",
        hook="function(ev) ev.user = ev.user:sub(1, 1) .. '***'; return ev end",
    ),
}


def policy(workload: Workload, corpus: Path, options: str) -> str:
    """A policy for `kumoaudit run --script`: one log with *options*, and `main(n)` that records."""
    parts = [
        _pools(workload, corpus),
        f"kumo.on('pre_init', function()\n  kumo.audit.configure_log {{ name = 'bench'{options} }}\nend)\n",
    ]
    if workload.hook:
        parts.append(f"kumo.on('audit_event', {workload.hook})\n")
    parts.append(f"kumo.on('main', function(count)\n  local n = tonumber(count)\n{workload.loop}end)\n")
    return "".join(parts)


def naive_chunk(workload: Workload, corpus: Path) -> str:
    """The same loop for a runtime in which `audit` is Python's: a chunk (audit, n)."""
    pools = _pools(workload, corpus)
    return f"local audit, n = ...\nlocal bit = require 'bit'\n{pools}return function() {workload.loop} end"


def _pools(workload: Workload, corpus: Path) -> str:
    out = ["local band = bit.band\n"]
    for field in workload.pools:
        name = "type_" if field == "type" else field
        path = str(corpus / workload.corpus / f"{field}.txt").replace("\\", "\\\\").replace("'", "\\'")
        out.append(f"local {name} = {{}}\nfor line in io.lines('{path}') do {name}[#{name} + 1] = line end\n")
    out.append("local mask = #description - 1\n")
    return "".join(out)
