"""`kumoaudit run`: the host."""

from __future__ import annotations

import os

import click

from kumoaudit.cli.help import HelpfulCommand, option
from kumoaudit.query.logs import data_dir_of

_EXAMPLES = (
    ("kumoaudit run policy.lua", "record into ./kumoaudit-data"),
    ("kumoaudit run --data-dir /var/lib/kumoaudit policy.lua", "record elsewhere"),
    ("kumoaudit run --script report.lua -- alice 30", "pre_init, then main('alice', '30'), then end"),
)


@click.command(cls=HelpfulCommand, examples=_EXAMPLES, short_help="Run a policy.")
@click.argument("policy", type=click.Path())
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@option("How it runs", "--script", is_flag=True, help="Run pre_init and main(ARGS...), then end; an error is exit 1.")
@option("How it runs", "--trusted", is_flag=True, help="Give the policy ffi, jit, debug and bytecode too.")
@option("Where it writes", "--data-dir", metavar="DIR", help="Default: $KUMOAUDIT_DATA_DIR, ./kumoaudit-data.")
def command(policy: str, args: tuple[str, ...], script: bool, trusted: bool, data_dir: str | None) -> int:
    """Run the host with a policy: record events until it is stopped or nothing is left to do."""
    if args and not script:
        raise click.UsageError(f"unexpected argument {args[0]!r}\n  arguments for the policy go with --script")
    from kumoaudit.daemon import Daemon

    directory, _ = data_dir_of(data_dir, os.environ)
    return Daemon(policy, directory, trusted=trusted).run(args if script else None)
