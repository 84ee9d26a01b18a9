"""The machine and the versions that a table belongs to."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib import metadata

import lupa.luajit21 as lupa
import zstandard

PACKAGES = (
    "kumoaudit",
    "lupa",
    "zstandard",
    "orjson",
    "msgspec",
    "structlog",
    "picologging",
    "aiohttp",
    "uvicorn",
    "h11",
    "uvloop",
)


def describe(directory: str) -> dict[str, str]:
    """Lines of `what: text`; *directory* is where the contestants write."""
    cores = len(os.sched_getaffinity(0))
    versions = {name: _version(name) for name in PACKAGES}
    luajit = lupa.LuaRuntime().eval("jit.version")
    return {
        "machine": f"{_cpu_model()}, {cores} cores, {_memory_gb()} GB, {platform.machine()}",
        "kernel": f"{platform.system()} {platform.release()}, {_file_system(directory)}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "lua": f"{luajit} (lupa {versions.pop('lupa')})",
        "zstd": f"{'.'.join(map(str, zstandard.ZSTD_VERSION))} (zstandard {versions.pop('zstandard')}), {_command()}",
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
    }


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        if name != "kumoaudit":
            return "not installed"
        from kumoaudit import __version__

        return f"{__version__} (checkout)"


def _cpu_model() -> str:
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown CPU"


def _memory_gb() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)


def _file_system(directory: str) -> str:
    """The type of the file system that *directory* is on."""
    best, kind = "", "unknown file system"
    path = os.path.realpath(directory)
    with open("/proc/mounts", encoding="utf-8", errors="replace") as f:
        for line in f:
            _, at, this, *_ = line.split()
            if (path + "/").startswith(at.rstrip("/") + "/") and len(at) >= len(best):
                best, kind = at, this
    return kind


def _command() -> str:
    if not shutil.which("zstd"):
        return "no zstd command"
    text = subprocess.run(["zstd", "--version"], capture_output=True, text=True, check=False).stdout
    found = [word.rstrip(",") for word in text.split() if word.lstrip("v")[:1].isdigit() and "." in word]
    return f"command {found[0]}" if found else "command of unknown version"
