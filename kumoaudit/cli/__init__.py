"""The command line: the table of subcommands (only the one that was asked for is imported), errors -> exit codes."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from kumoaudit.core.errors import KumoauditError
from kumoaudit.core.text import printable_lines

EXIT_USAGE = 2
EXIT_ENVIRONMENT = 3
EXIT_INTERRUPTED = 130


class Subcommand(NamedTuple):
    """Where a subcommand lies (`module:attribute`) and what the list of subcommands says about it."""

    place: str
    purpose: str


COMMANDS: dict[str, Subcommand] = {
    "run": Subcommand("kumoaudit.cli.run:command", "Run a policy: the audit-log host."),
    "check": Subcommand("kumoaudit.cli.check:command", "Check a policy and its configuration; touch nothing."),
    "query": Subcommand("kumoaudit.cli.query:command", "Search logs, with the host running or stopped."),
    "tail": Subcommand("kumoaudit.cli.tail:command", "Show the newest events and follow what comes."),
    "status": Subcommand("kumoaudit.cli.status:command", "Show state, logs and counters of a running host."),
    "control": Subcommand("kumoaudit.cli.control:command", "Tell a running host to reopen, reload or stop."),
    "hash-password": Subcommand("kumoaudit.cli.hash_password:command", "Hash a password for a policy to check."),
    "version": Subcommand("kumoaudit.cli.version:command", "Show the versions of kumoaudit and of what it stands on."),
}


class LazyGroup(click.Group):
    """A group that knows its subcommands by name and imports one when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{module}:{attribute} is not a command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, 1)
            guess = f"did you mean {near[0]!r}? " if near else ""
            raise click.UsageError(f"no such command: {args[0]!r}\n  {guess}commands: {', '.join(COMMANDS)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, c.purpose) for name, c in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; what click would turn into a traceback or a code of its own becomes a plain code here."""
        try:
            code = super().invoke(ctx)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            _abandon_stdout()
            return 0
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show Python and Lua tracebacks of errors (also: KUMOAUDIT_DEBUG=1).")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Record what happened, keep it through a crash, find it again.

    Exit codes: 0 done; 1 a negative answer; 2 usage, policy or configuration; 3 the environment.
    """
    ctx.obj = debug


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on *argv* (default: the process's own) and return the exit code. Never raises."""
    args = list(sys.argv[1:] if argv is None else argv)
    debug = _wants_debug(args)
    if debug:
        os.environ["KUMOAUDIT_DEBUG"] = "1"  # the host looks there too
    try:
        code = cli.main(args=args, prog_name="kumoaudit", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except KumoauditError as e:
        _tell(str(e) or type(e).__name__, debug)
        return e.exit_code
    except click.ClickException as e:
        if debug:
            traceback.print_exc()
        e.show(sys.stderr)
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _abandon_stdout()
        return 0
    except OSError as e:
        _tell(": ".join(str(p) for p in (e.filename, e.strerror or e) if p), debug)
        return EXIT_ENVIRONMENT
    except Exception as e:  # noqa: BLE001 - the last resort: nobody is shown a traceback who did not ask for it
        _tell(f"unexpected {type(e).__name__}: {e}\n  please report it; 'kumoaudit --debug ...' shows where", debug)
        return EXIT_ENVIRONMENT


def _wants_debug(args: Sequence[str]) -> bool:
    """The group's option, before click has read anything (it may be what fails)."""
    before_command = []
    for arg in args:
        if not arg.startswith("-"):
            break
        before_command.append(arg)
    return "--debug" in before_command or os.environ.get("KUMOAUDIT_DEBUG", "") not in ("", "0")


def _tell(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    try:
        print(printable_lines(message), file=sys.stderr)
    except (OSError, ValueError):
        pass  # nobody listens; the exit code still tells


def _abandon_stdout() -> None:
    """The reader of standard output has gone: let what is still buffered go nowhere instead of failing at the end."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
