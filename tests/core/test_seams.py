"""The seams hold: outside of their implementations nobody asks the system for the time, and nobody touches a file."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import kumoaudit

PACKAGE = Path(kumoaudit.__file__).parent
LUA = PACKAGE / "_lua" if (PACKAGE / "_lua").is_dir() else PACKAGE.parent / "lua"

_TIME = {f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")}
# `time.sleep` is no way to learn the time: a pause between two looks may be real.
_NOW = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
_FILES = {
    "open", "io.open", "mmap.mmap",
    *(f"os.{name}" for name in (
        "open", "fdopen", "close", "read", "write", "pread", "pwrite", "lseek", "fsync", "fdatasync", "truncate",
        "ftruncate", "posix_fallocate", "stat", "lstat", "fstat", "statvfs", "fstatvfs", "access", "rename", "replace",
        "renames", "link", "symlink", "readlink", "unlink", "remove", "mkdir", "makedirs", "rmdir", "removedirs",
        "listdir", "scandir", "walk", "fwalk", "chmod", "fchmod", "chown", "fchown", "utime", "mkfifo", "sendfile",
    )),
    *(f"os.path.{name}" for name in (
        "exists", "lexists", "isdir", "isfile", "islink", "ismount", "getsize", "getmtime", "getctime", "getatime",
        "samefile", "realpath",
    )),
    *(f"glob.{name}" for name in ("glob", "iglob")),
}  # fmt: skip
# Modules that exist to touch files: whatever of them is called counts.
_FILE_MODULES = {"shutil", "tempfile", "fcntl"}
# Methods by which `pathlib` does; no class of the package has one of these names.
_PATH_METHODS = {
    "read_bytes", "read_text", "write_bytes", "write_text", "is_dir", "is_file", "is_symlink", "exists", "iterdir",
    "glob", "rglob", "touch", "resolve",
}  # fmt: skip

# What may ask the system itself, and why.
ALLOWED = {
    "core/protocols.py": ({"mmap.mmap"}, "the type of what `Disk.map` gives"),
    "core/clock.py": ({"time.time_ns", "time.monotonic_ns"}, "the clock itself"),
    "segments/disk.py": (
        {
            "open", "mmap.mmap", "fcntl.flock", "fcntl.ioctl", "os.path.isdir", "os.path.realpath",
            *(f"os.{name}" for name in (
                "open", "close", "write", "pread", "pwrite", "fsync", "fdatasync", "ftruncate", "posix_fallocate",
                "fchmod", "fstat", "stat", "lstat", "access", "statvfs", "rename", "unlink", "mkdir", "chmod", "listdir",
            )),
        },
        "the disk itself",
    ),
    "segments/spool.py": ({"open"}, "the kernel's boot id, no file of ours"),
    "segments/reserve.py": ({"os.open", "os.close"}, "descriptors that are held back, of /dev/null"),
    "segments/place.py": ({"os.path.realpath"}, "only computes the name that a message proposes"),
    "query/logs.py": ({"os.path.realpath"}, "only computes names: one log named twice is one log"),
    "pipeline/build.py": ({"os.path.realpath"}, "only computes names: one directory named twice is one directory"),
    "pipeline/ring.py": ({"mmap.mmap"}, "a ring in private memory, where there is no file"),
    "runtime/host.py": (
        {".read_bytes", ".is_dir", ".resolve", "os.open", "os.close"},
        "the policy's own text, the host's Lua, and /dev/null in the place of a standard output that takes nothing",
    ),
    "runtime/reload.py": ({"open"}, "files of the policy"),
    "runtime/tracked.py": ({"open", "os.stat", "glob.iglob"}, "files of the policy"),
    "runtime/watch.py": (
        {"os.path.islink", "os.path.isdir", "os.readlink", "os.walk", "glob.iglob"},
        "where files of the policy lie",
    ),
    "sources/control.py": (
        {f"os.{name}" for name in ("open", "close", "write", "lstat", "unlink", "chmod")},
        "the control socket and the pipe that wakes its thread",
    ),
    "sources/http/tls.py": (
        {"os.close", "os.write", "datetime.now"},
        "a file without a name in memory, as OpenSSL reads nothing else; from when a certificate is good",
    ),
    "access/aclmap.py": ({".read_text"}, "the built-in ACL map, a part of the package"),
    "sources/socketfile.py": (
        {"fcntl.flock", *(f"os.{name}" for name in ("open", "close", "lstat", "fchmod", "chmod", "rename", "unlink"))},
        "a Unix socket and its lock",
    ),
    "runtime/api/serde.py": ({"open"}, "files that the policy reads as data"),
    "runtime/api/open_files.py": ({"os.open", "os.stat", "os.lstat"}, "kumo.fs: files of the policy's own"),
    "runtime/api/jsonl.py": ({"os.path.realpath"}, "only computes names: a directory of this host's under another name"),
    "runtime/api/sqlite.py": ({"os.path.exists"}, "databases of the policy's own"),
    "runtime/api/files.py": ({"glob.glob", "os.listdir"}, "kumo.fs: directories that the policy looks at"),
    "cli/__init__.py": ({"os.open", "os.close"}, "/dev/null in the place of a closed standard output"),
}  # fmt: skip


def dotted(node: ast.expr) -> str:
    """`os.path.exists` of such an expression; "" of any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return ""


def asked(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of everything in *source* that gets time or files from the system. It is found when it is only
    mentioned too (handed on as a function), under whatever name it was imported."""
    tree = ast.parse(source)
    real: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            real |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module:
            real |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        if not isinstance(node, (ast.Name, ast.Attribute)) or not isinstance(node.ctx, ast.Load):
            continue
        first, dot, rest = dotted(node).partition(".")
        name = real.get(first, first) + dot + rest
        if name.startswith(("datetime.datetime.", "datetime.date.")):
            name = name.removeprefix("datetime.")
        if name in _TIME | _NOW | _FILES or (dot and name.split(".")[0] in _FILE_MODULES and not rest.isupper()):
            yield node.lineno, name
        elif isinstance(node, ast.Attribute) and node.attr in _PATH_METHODS and not name.startswith("glob."):
            yield node.lineno, f".{node.attr}"


@pytest.mark.parametrize("path", sorted(p.relative_to(PACKAGE).as_posix() for p in PACKAGE.rglob("*.py")))
def test_time_and_files_go_through_clock_and_disk(path: str) -> None:
    """`core.protocols`: `Clock` is the only source of time, `Disk` the only way to touch log files and rings."""
    allowed, _ = ALLOWED.get(path, (set(), ""))

    found = list(asked((PACKAGE / path).read_text()))

    assert [f"{path}:{line}: {name}" for line, name in found if name not in allowed] == []
    assert allowed - {name for _, name in found} == set(), "allowed, but no longer used: take it off the list"


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import time\ntime.monotonic()", "time.monotonic"),
        ("from time import time_ns as now\nnow()", "time.time_ns"),
        ("import time as t\nwait(t.time)", "time.time"),
        ("from datetime import datetime\ndatetime.now()", "datetime.now"),
        ("import os\nif os.path.exists(p): pass", "os.path.exists"),
        ("from os import path\npath.isdir(p)", "os.path.isdir"),
        ("with open(p) as f: pass", "open"),
        ("from pathlib import Path\nPath(p).read_text()", ".read_text"),
        ("import shutil\nshutil.rmtree(p)", "shutil.rmtree"),
    ],
)
def test_the_check_itself_sees_what_goes_past_a_seam(source: str, name: str) -> None:
    assert name in [found for _, found in asked(source)]


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        (r"\bclock_gettime\b", {"kumoaudit/encode.lua"}),
        (r"\bos\.(time|clock)\b", set()),
        (r"\bos\.(rename|remove|tmpname)\b|\bio\.(lines|popen|output)\b", set()),
        (r"\bio\.open\b", {"kumoaudit/sandbox.lua"}),  # the modules that a policy requires
    ],
)
def test_the_hosts_own_lua_keeps_to_them_too(pattern: str, allowed: set[str]) -> None:
    """`encode.lua` reads the machine's clock for the host whose clock is the machine's, and no other (see
    `test_an_event_born_in_lua_has_the_time_of_the_hosts_clock`)."""
    files = {p.relative_to(LUA).as_posix(): p.read_text() for p in (LUA / "kumoaudit").rglob("*.lua")}

    assert files
    assert {name for name, text in files.items() if re.search(pattern, text)} == allowed
