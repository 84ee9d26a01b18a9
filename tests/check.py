"""Every check that is no test: format, lint, types, layers, Lua lint. `python tests/check.py`; exit 1 names what failed.

A tool that is missing fails the run under CI and is skipped with the reason elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LUA = ("lua", "examples")


def tool(name: str) -> str | None:
    """A command of this Python's environment, or of the machine."""
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else shutil.which(name)


CHECKS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("format", ("ruff", "format", "--check", ".")),
    ("lint", ("ruff", "check", ".")),
    ("types", ("mypy",)),
    ("layers", ("lint-imports",)),
    ("Lua lint", ("luacheck", "--quiet", *LUA)),
)


def main() -> int:
    """Run them all; the exit code is the number of those that failed, at most 1."""
    failed = []
    for title, (name, *args) in CHECKS:
        command = tool(name)
        if command is None:
            if os.environ.get("CI"):
                failed.append(f"{title}: {name} is not installed")
            else:
                print(f"{title}: skipped, {name} is not installed (Debian: lua-check)")
            continue
        print(f"{title}: {name} {' '.join(args)}", flush=True)
        if subprocess.run([command, *args], cwd=ROOT, check=False).returncode:
            failed.append(title)
    print(f"failed: {', '.join(failed)}" if failed else "all checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
