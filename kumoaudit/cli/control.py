"""`kumoaudit control`: a command for a running host, over its control socket."""

from __future__ import annotations

import os

import click

from kumoaudit.cli.help import HelpfulCommand, option
from kumoaudit.core.text import printable
from kumoaudit.query.logs import data_dir_of

_EXAMPLES = (
    ("kumoaudit control liveness", "exit status 0 when the host takes records, else 1 and the reason"),
    ("kumoaudit control reopen --data-dir /var/lib/kumoaudit", "begin a new segment of each log, as SIGHUP does"),
    ("kumoaudit control reload", "put changed files of the policy in force, and say whether they are"),
    ("kumoaudit control shutdown", "drain the logs and stop, as SIGTERM does"),
)

COMMANDS = ("liveness", "reopen", "reload", "shutdown")


@click.command(cls=HelpfulCommand, examples=_EXAMPLES, short_help="Tell a running host what to do.")
@click.argument("name", metavar="COMMAND", type=click.Choice(COMMANDS))
@option("Which host", "--data-dir", metavar="DIR", help="Default: $KUMOAUDIT_DATA_DIR, ./kumoaudit-data.")
def command(name: str, data_dir: str | None) -> int:
    """Send COMMAND to the host that runs in a data directory: liveness, reopen, reload or shutdown.

    Works for root and the host's user, also while logs refuse records (a full disk). All but liveness leave a record
    of who asked. reload reads the changed files of the policy again, as SIGHUP does, and says what came of it. Exit
    status 1: no host runs there, it is not alive, or it keeps the last good policy because the new one is refused.
    """
    from kumoaudit.sources.control import ask

    answer = ask(data_dir_of(data_dir, os.environ)[0], {"command": name})
    match name:
        case "liveness":
            click.echo(answer["reason"] or "OK")
            return 1 if answer["reason"] else 0
        case "reopen":
            click.echo(f"reopened: {', '.join(answer['logs'])}")
        case "reload":
            click.echo(printable(answer["message"]), err=not answer["ok"])
            return 0 if answer["ok"] else 1
        case _:
            click.echo(f"pid {answer['pid']} is stopping")
    return 0
