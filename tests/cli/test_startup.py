"""What a command imports: asking a log must not cost the start of a host, nor a library that it does not use."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from kumoaudit.cli import COMMANDS
from tests.support import environment, event, stored

HEAVY = ("aiohttp", "textual", "duckdb", "confluent_kafka", "prometheus_client", "pydantic", "asyncio")
HOST = ("lupa", "kumoaudit.runtime", "kumoaudit.pipeline", "kumoaudit.daemon", "kumoaudit.commands")

_SHOW = """
import json, sys
from kumoaudit.cli import main
code = main(sys.argv[1:])
sys.stdout.flush()
print(json.dumps([code, sorted(sys.modules)]), file=sys.stderr)
"""


def modules(*args: str) -> tuple[int, set[str]]:
    """Exit code, and the modules that are loaded at the end."""
    done = subprocess.run(
        [sys.executable, "-c", _SHOW, *args], env=environment(), capture_output=True, text=True, timeout=60, check=True
    )
    code, names = json.loads(done.stderr.splitlines()[-1])
    return code, set(names)


@pytest.fixture
def path(tmp_path: Path) -> str:
    (tmp_path / "x.log").write_bytes(stored(event(0)) + b"\n")
    return str(tmp_path / "x.log")


@pytest.mark.parametrize("args", [["--help"], ["query", "--help"], ["tail", "--help"]])
def test_help_imports_nothing_heavy(args: list[str]) -> None:
    code, loaded = modules(*args)

    assert code == 0
    assert not loaded & {*HEAVY, *HOST, "rich", "humanfriendly"}


def test_check_imports_nothing_that_only_a_server_needs() -> None:
    if importlib.util.find_spec("kumoaudit.cli.check") is None:
        pytest.skip("there is no check command yet")
    _, loaded = modules("check", "--help")

    assert not loaded & set(HEAVY)


@pytest.mark.parametrize("command", ["query", "tail"])
def test_asking_a_log_imports_neither_host_nor_lua_nor_rich(command: str, path: str) -> None:
    code, loaded = modules(command, path)

    assert code == 0
    assert not loaded & {*HEAVY, *HOST, "rich", "humanfriendly"}


def test_a_table_needs_rich_and_nothing_else(path: str) -> None:
    code, loaded = modules("query", "--format", "table", path)

    assert code == 0
    assert "rich.table" in loaded
    assert not loaded & {*HEAVY, *HOST}


def test_the_list_of_commands_imports_none_of_them() -> None:
    _, loaded = modules("--help")

    assert not {c.place.partition(":")[0] for c in COMMANDS.values()} & loaded
