"""The modules of the host that a policy sees: whoever adds one puts its name here."""

from __future__ import annotations

# kumoaudit/runtime/api/NAME.py: functions of Python.
API_MODULES = (
    "core",
    "aaa",
    "audit",
    "kumo_time",
    "serde",
    "files",
    "open_files",
    "digest",
    "memoize",
    "diagnostics",
    "epoch",
    "listeners",
    "socket",
    "secrets",
    "cidr",
    "sqlite",
    "jsonl",
    "strings",
    "regex",
    "uuids",
)
# lua/kumoaudit/api/NAME.lua: functions of Lua.
LUA_MODULES = (
    "core",
    "aaa",
    "listeners",
    "time",
    "serde",
    "secrets",
    "digest",
    "memoize",
    "introspect",
    "cidr",
    "files",
    "sqlite",
    "jsonl",
    "regex",
    "uuids",
)
