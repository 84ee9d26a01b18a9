"""Writes the generated parts of the reference pages anew: `python -m tests.reference`.

A part stands between `<!-- generated: NAME -->` and `<!-- end -->`; what is around it is written by hand.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import msgspec
from click.testing import CliRunner

from kumoaudit.access.aclmap import Entry, default_acl
from kumoaudit.access.criteria import Anyone, Authenticated, Criteria, Group, MachineSet
from kumoaudit.access.identity import TRUSTED
from kumoaudit.access.listener import ListenerOptions
from kumoaudit.access.resource import names_for
from kumoaudit.cli import COMMANDS, cli
from kumoaudit.core.catalog import EVENT_TYPES, GROUPS, LOG_STATE_TYPES, types_in_group
from kumoaudit.core.options import parsers_of
from kumoaudit.core.predicate import Always
from kumoaudit.core.units import Free, duration_text
from kumoaudit.dialects.kumo import AcctLogOptions
from kumoaudit.dialects.native import HostOptions, LogOptions, SharedOptions
from kumoaudit.runtime.api.socket import SocketOptions
from kumoaudit.runtime.handlers import EVENTS
from kumoaudit.sources.http.routes import ROUTES
from kumoaudit.sources.metrics import METRICS
from tests.policies import inside

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"

_PART = re.compile(r"<!-- generated: (?P<name>[\w-]+) -->\n.*?<!-- end -->\n", re.DOTALL)

# What an option means. Types and defaults come from the structs.
MEANINGS = {
    "name": "Name of the log, its segments and its ring; each log has one of its own.",
    "to": "Where the records go: zstd segments in a directory, or nowhere.",
    "path": "Directory of the segments; relative to the working directory. Default: `<data-dir>/<name>`.",
    "format": "Shape of the lines; see [records](records.md).",
    "where": "Which events the log takes; see [predicates](predicates.md).",
    "max_file_size": "A segment ends before it holds more; counts uncompressed bytes.",
    "max_segment_duration": "A segment ends at this age, also when nothing comes.",
    "compression_level": "zstd level; 0 is zstd's own default, 3.",
    "compression_window": "How far back zstd looks for repetitions, as a power of two: 17 is 128 KiB.",
    "compression_threads": "Full blocks that are compressed side by side.",
    "durability": "What a recorded event survives: the death of the `process`, or the loss of `power`.",
    "overflow": "When the ring is full: `block` the caller, or `drop` the event, count it and record an `audit_gap`.",
    "block_timeout": "How long a caller waits at most before `on_failure` decides.",
    "on_failure": "`refuse`: the caller gets an error; `continue`: the loss is counted and recorded as `audit_gap`.",
    "required": "Whether a failure of this log may refuse an event at all. Default: true for segments, else false.",
    "log_dir": "Directory of the segments; made when missing; relative to the working directory.",
    "back_pressure": "Records that may wait for their file; then callers wait.",
    "min_free_space": "Below this the log counts as degraded: share of the file system, or bytes.",
    "min_free_inodes": "The same for inodes; a file system without an inode limit never trips it.",
    "log_authz_allow": "Record allowed accesses.",
    "log_authz_deny": "Record denied accesses.",
    "log_authn_ok": "Record logins that succeeded.",
    "log_authn_fail": "Record logins that failed.",
    "listen": "Address and port; port 0 takes a free one.",
    "hostname": "Name in the certificate that the host makes for itself. Default: the host name.",
    "use_tls": "Serve HTTPS.",
    "tls_certificate": "PEM, with its chain. Default: one that signs itself.",
    "tls_private_key": "PEM, without a password. Default: what `tls_certificate` holds.",
    "request_body_limit": "Longest body, unpacked; above it 413.",
    "trusted_hosts": "Peers in the group `kumomta:http-listener-trusted-ip`.",
    "node": "Name of this machine in the records. Default: the host name.",
    "handler_timeout": "How long a handler may run without progress; then the host records `handler_stuck`, drains and exits 3.",
    "max_event_size": "A longer event is recorded with its longest texts cut, and an `event_truncated` beside it.",
}

# Where the same name means something else.
SOCKET_MEANINGS = {
    "path": "Place of the socket; made at the start, removed at the end.",
    "mode": "Who may connect, as octal digits of a file mode, in quotes.",
}

LISTENER_MEANINGS = {
    "listen": "Address and port; port 0 is any free one, `[::]:8000` every address of the machine.",
    "hostname": "Name in the certificate that the host makes itself. Default: the machine's name.",
    "use_tls": "Serve HTTPS, TLS 1.2 or newer.",
    "tls_certificate": "PEM, with its chain. Default: one for `hostname` that signs itself, made anew at each start.",
    "tls_private_key": "PEM without a password; may lie in the same text as the certificate.",
    "request_body_limit": "A longer body, also after it was unpacked, is refused with 413.",
    "trusted_hosts": "Callers from there are in the group `kumomta:http-listener-trusted-ip`.",
}

_MEANINGS_OF: dict[type[msgspec.Struct], dict[str, str]] = {
    SocketOptions: SOCKET_MEANINGS,
    ListenerOptions: LISTENER_MEANINGS,
}


def meanings_of(options: type[msgspec.Struct]) -> dict[str, str]:
    """What the options of a struct mean."""
    return MEANINGS | _MEANINGS_OF.get(options, {})


_DURATIONS = ("max_segment_duration", "block_timeout", "handler_timeout")


def command(name: str) -> click.Command:
    """A subcommand by name."""
    found = cli.get_command(click.Context(cli), name)  # type: ignore[attr-defined]
    assert found is not None
    return found


def _help(*words: str) -> str:
    """What `kumoaudit ... --help` prints in 80 columns."""
    got = CliRunner().invoke(cli, [*words, "--help"], prog_name="kumoaudit", terminal_width=80, max_content_width=80)
    assert got.exit_code == 0, got.output
    return got.output.rstrip()


def commands_part() -> str:
    """The help of every command."""
    out = ["```text", _help(), "```", ""]
    for name in COMMANDS:
        out += [f"## kumoaudit {name}", "", "```text", _help(name), "```", ""]
    return "\n".join(out)


def _default(name: str, value: Any) -> str:
    if value is msgspec.NODEFAULT:
        return "required"
    match value:
        case None:
            return "none"
        case False if name in ("tls_certificate", "tls_private_key"):
            return "none"
        case True | False:
            return str(value).lower()
        case Always():
            return "every event"
        case Free():
            return f"`'{value.percent}%'`"
        case MachineSet(networks):
            listed = ", ".join(f"'{n}'" for n in networks)
            return f"`{{ {listed} }}`"
        case (str() as address, int() as port):
            return f"`'{address}:{port}'`"
        case "":
            return "none"
        case int() if name == "mode":
            return f"`'{value:04o}'`"
        case int() if name in _DURATIONS:
            return f"`'{duration_text(value)}'`"
        case str():
            return f"`'{value}'`"
        case _:
            return f"`{value}`"


def _options(options: type[msgspec.Struct], only: type[msgspec.Struct] | None = None) -> str:
    """A table of the options of a struct: its own, without those it shares (or only those)."""
    shared = set(SharedOptions.__struct_fields__)
    meanings = meanings_of(options)
    defaults = {f.name: f.default for f in msgspec.structs.fields(options)}
    out = ["| option | takes | default | meaning |", "|---|---|---|---|"]
    for name, parser in parsers_of(options).items():
        if only is None and options is not HostOptions and name in shared:
            continue
        about = (parser.__doc__ or "").strip().replace("|", "\\|")
        out.append(f"| `{name}` | {about} | {_default(name, defaults[name])} | {meanings.get(name, '')} |")
    return "\n".join(out) + "\n"


def _tarantool_part() -> str:
    out = ["| type | kind | severity | outcome | arguments | groups | description |", "|---|---|---|---|---|---|---|"]
    for t in EVENT_TYPES.values():
        if t.family != "tarantool":
            continue
        arguments = ", ".join([f"`{a}`" for a in t.args] + [f"[`{a}`]" for a in t.optional])
        groups = ", ".join(g for g in t.groups if g != "all")
        template = f"`{t.template}`" if t.template else "the caller's"
        out.append(
            f"| `{t.name}` | {t.kind} | {t.severity} | {t.outcome or ''} | {arguments} | {groups} | {template} |"
        )
    return "\n".join(out) + "\n"


def _host_part() -> str:
    code = "".join(p.read_text() for p in (ROOT / "kumoaudit").rglob("*.py") if p.name != "catalog.py")
    out = ["| type | severity | says | goes to |", "|---|---|---|---|"]
    for t in EVENT_TYPES.values():
        if t.family == "host":
            place = "the default log and the log it is about" if t.name in LOG_STATE_TYPES else "the default log"
            about = t.about if f'"{t.name}"' in code else f"{t.about} (declared; nothing records it yet)"
            out.append(f"| `{t.name}` | {t.severity} | {about} | {place} |")
    return "\n".join(out) + "\n"


def _kumo_part() -> str:
    rows = [f"| `{t.name}` | {t.kind} | {t.about} |" for t in EVENT_TYPES.values() if t.family == "kumo"]
    return "\n".join(["| type | kind | says |", "|---|---|---|", *rows]) + "\n"


def _groups_part() -> str:
    rows = [f"| `{g}` | {', '.join(f'`{t}`' for t in types_in_group(g)) or 'nothing'} |" for g in GROUPS]
    return "\n".join(["| group | types |", "|---|---|", *rows]) + "\n"


def _handlers_part() -> str:
    when = {
        "pre_init": "before `init`; configure logs here or in `init`",
        "init": "once, at the start",
        "main": "instead of `init`, with `run --script`; gets the arguments behind `--`",
        "validate_config": "by `kumoaudit check`, behind `pre_init` and `init`; and before a reload takes over",
        "shutdown": "when the host stops",
        "http_server_validate_auth_basic": "to check a name and a password; password is nil without a colon",
        "http_server_validate_auth_bearer": "to check a token",
        "get_acl_definition": "for each name of a resource, the most specific first, until a rule decides",
        "audit_event": "for every event but the host's own, before any log sees it",
    }
    out = ["| event | when | arguments | result | handlers |", "|---|---|---|---|---|"]
    for name, e in EVENTS.items():
        many = "several, in order" if e.is_multiple else "one"
        out.append(f"| `{name}` | {when[name]} | {', '.join(e.arguments) or 'none'} | {e.returns} | {many} |")
    return "\n".join(out) + "\n"


def _metrics_part() -> str:
    out = ["| metric | type | labels | is |", "|---|---|---|---|"]
    for m in METRICS:
        out.append(f"| `{m.name}` | {m.type} | {', '.join(f'`{name}`' for name in m.labels)} | {m.help} |")
    return "\n".join(out) + "\n"


def _who(criteria: Criteria) -> str:
    match criteria:
        case Anyone():
            return "anybody"
        case Authenticated():
            return "who is logged in"
        case Group(name) if name == TRUSTED:
            return "trusted hosts"
    raise ValueError(f"the built-in ACL has criteria that the reference has no words for: {criteria}")


def _allowed(entries: list[Entry]) -> str:
    return ", ".join(_who(e.criteria) for e in entries)


def _names(path: str) -> tuple[str, ...]:
    return names_for("127.0.0.1:8000", path).names


def _routes_part() -> str:
    acl = default_acl()
    out = ["| route | allowed by default | does |", "|---|---|---|"]
    for path, methods in ROUTES.items():
        for method, route in methods.items():
            # The rules of the first name that has some: they are used alone.
            on = [[e for e in acl.entries if e.resource == n and method in e.privileges] for n in _names(path)]
            about = re.fullmatch(r"`[^`]+`( `[^`]+`)?: (.+)", " ".join((route.__doc__ or "").split()))
            assert about, f"{path}: the docstring of its route does not say what it does"
            does = f"takes {about[1].strip()}: {about[2]}" if about[1] else about[2]
            out.append(f"| `{method} {path}` | {_allowed(next(filter(None, on)))} | {does} |")
    return "\n".join(out) + "\n"


def _default_acl_part() -> str:
    grouped: dict[tuple[str, tuple[str, ...]], list[Entry]] = {}
    for e in default_acl().entries:
        grouped.setdefault((e.resource, e.privileges), []).append(e)
    out = ["| resource | privileges | allowed |", "|---|---|---|"]
    for (resource, privileges), entries in grouped.items():
        assert all(e.allow for e in entries)
        out.append(f"| `{resource}` | {', '.join(privileges)} | {_allowed(entries)} |")
    return "\n".join(out) + "\n"


TYPES = ROOT / "lua" / "types"

# One part per file: what stands in a table of the reference is what editors show.
_FUNCTION = re.compile(
    r"(?P<comment>(?:^---[^\n]*\n)*)^(?:function (?P<call>[\w.:]+\([^)]*\)) end|(?P<value>kumo\.\w+) = (?:''|\{\}))$",
    re.MULTILINE,
)
_CLASS = re.compile(r"^---@class (?P<name>[\w.]+)(?:: [\w.]+)?\n(?P<fields>(?:^---@field [^\n]*\n)+)", re.MULTILINE)
_FIELD = re.compile(r"^---@field (?P<name>\w+)(?P<maybe>\??) (?P<rest>.*)$", re.MULTILINE)
_RESULT = re.compile(r"^---@return (?P<type>\S+)", re.MULTILINE)

# Classes whose fields are options of a log or of the host: options.md has them with types and defaults.
_IN_OPTIONS = ("LogOptions", "HostOptions", "SharedLogOptions", "SocketOptions", "HttpListenerOptions")


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _lua_part(name: str) -> Callable[[], str]:
    def part() -> str:
        text = (TYPES / f"{name}.lua").read_text()
        head = re.search(r"^---@meta[^\n]*\n((?:^--(?!-)[^\n]*\n)*)", text, re.MULTILINE)
        lines = [line.removeprefix("--").strip() for line in (head[1] if head else "").splitlines()]
        out = [*_sentences(lines), "", "| call | gives | does |", "|---|---|---|"]
        tables = set(re.findall(r"^function ((?:\w+\.)+)\w+\(", text, re.MULTILINE))
        for m in _FUNCTION.finditer(text):
            if m["value"] and f"{m['value']}." in tables:
                continue  # a table of functions
            about = " ".join(c[4:] for c in m["comment"].splitlines() if not c.startswith("---@"))
            gives = _RESULT.search(m["comment"])
            call = m["call"] or m["value"]
            result = f"`{_cell(gives['type'])}`" if gives else ""
            out.append(f"| `{call}` | {result} | {_cell(about)} |")
        for c in _CLASS.finditer(text):
            if c["name"].endswith(_IN_OPTIONS):
                continue
            out += ["", f"`{c['name']}`:", "", "| field | is |", "|---|---|"]
            for f in _FIELD.finditer(c["fields"]):
                is_optional = " (may be left out)" if f["maybe"] else ""
                out.append(f"| `{f['name']}` | {_cell(f['rest'])}{is_optional} |")
        return "\n".join(out)

    return part


def _sentences(lines: list[str]) -> list[str]:
    """A comment as prose: one sentence a line."""
    return re.sub(r"([a-z0-9)`'])\.\s+(?=[A-Z`])", r"\1.\n", " ".join(lines)).split("\n")


# Walks what a policy sees; names that begin with an underscore are the host's own.
_LIST = """
local found = {}
local function walk(name, t)
  for k, v in pairs(t) do
    if type(k) == 'string' and k:sub(1, 1) ~= '_' then
      if type(v) == 'table' and v ~= kumo.null then
        walk(name .. '.' .. k, v)
      else
        found[#found + 1] = name .. '.' .. k
      end
    end
  end
end
kumo.on('names', function()
  walk('kumo', kumo)
  walk('audit', audit)
  return found
end)
"""


def lua_functions(directory: Path) -> list[str]:
    """Everything below `kumo` and `audit` in the environment of a policy, asked of a host."""
    with inside(directory, _LIST) as i:
        (names,) = i.host.call("names")
    return [str(n) for n in names]


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands_part,
    "log-options": lambda: _options(LogOptions),
    "shared-options": lambda: _options(SharedOptions, SharedOptions),
    "acct-options": lambda: _options(AcctLogOptions),
    "socket-options": lambda: _options(SocketOptions),
    "listener-options": lambda: _options(ListenerOptions),
    "host-options": lambda: _options(HostOptions),
    "tarantool-events": _tarantool_part,
    "host-events": _host_part,
    "kumo-events": _kumo_part,
    "groups": _groups_part,
    "metrics": _metrics_part,
    "handlers": _handlers_part,
    "routes": _routes_part,
    "default-acl": _default_acl_part,
    "lua-audit": _lua_part("audit"),
    "lua-logs": _lua_part("kumo_logs"),
    "lua-access": _lua_part("kumo_access"),
    "lua-kumo": _lua_part("kumo"),
    "lua-time": _lua_part("kumo_time"),
    "lua-data": _lua_part("kumo_data"),
    "lua-files": _lua_part("kumo_files"),
    "lua-text": _lua_part("kumo_text"),
    "lua-codes": _lua_part("kumo_codes"),
    "lua-utils": _lua_part("policy_utils"),
}


def pages() -> list[Path]:
    """The pages that have generated parts."""
    return [p for p in sorted(REFERENCE.glob("*.md")) if _PART.search(p.read_text())]


def rewritten(page: Path) -> str:
    """A page with its parts as they are now."""

    def part(m: re.Match[str]) -> str:
        return f"<!-- generated: {m['name']} -->\n{PARTS[m['name']]().rstrip()}\n<!-- end -->\n"

    return _PART.sub(part, page.read_text())


def main() -> None:
    """Write every page anew, and say which functions of Lua have no row in lua.md."""
    for page in pages():
        page.write_text(rewritten(page))
    text = (REFERENCE / "lua.md").read_text() if (REFERENCE / "lua.md").exists() else ""
    with tempfile.TemporaryDirectory() as directory:
        missing = [n for n in lua_functions(Path(directory)) if f"| `{n}" not in text]
    if missing:
        print("lua.md has no row for: " + ", ".join(missing))


if __name__ == "__main__":
    main()
