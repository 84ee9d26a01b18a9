"""`kumoaudit version`: what a bug report needs."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click

from kumoaudit import __version__
from kumoaudit.cli.help import HelpfulCommand

_EXAMPLES = (
    ("kumoaudit version", "all versions"),
    ("kumoaudit version | head -n 1", "only kumoaudit's own"),
    ("kumoaudit version | grep LuaJIT", "the Lua that policies run on"),
)


@click.command(cls=HelpfulCommand, examples=_EXAMPLES, short_help="Show versions.")
def command() -> int:
    """Show the versions of kumoaudit and of what it stands on."""
    click.echo(f"kumoaudit {__version__}")
    click.echo(f"Python {platform.python_version()} ({platform.machine()}, {platform.system()} {platform.release()})")
    click.echo(_luajit())
    for name in ("lupa", "zstandard", "orjson", "msgspec", "argon2-cffi", "regex"):
        try:
            click.echo(f"{name} {version_of(name)}")
        except PackageNotFoundError:
            click.echo(f"{name} is not installed")
    return 0


def _luajit() -> str:
    try:
        from lupa import luajit21
    except ImportError as e:
        return f"LuaJIT is not available: {e}"
    runtime = luajit21.LuaRuntime(register_eval=False, register_builtins=False)
    return str(runtime.lua_implementation)
