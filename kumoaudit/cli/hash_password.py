"""`kumoaudit hash-password`: a hash for `kumo.secrets.check_password`. The password never stands in the arguments."""

from __future__ import annotations

import sys

import click

from kumoaudit.cli.help import HelpfulCommand, option
from kumoaudit.core.errors import UsageError
from kumoaudit.runtime import passwords

_COST = passwords.DEFAULT_COST
_EXAMPLES = (
    ("kumoaudit hash-password", "asks twice, shows nothing"),
    ("kumoaudit hash-password < password.txt", "the first line of a file"),
    ("kumoaudit hash-password --memory 262144", "256 MiB per check"),
)


@click.command(cls=HelpfulCommand, examples=_EXAMPLES, short_help="Hash a password.")
@option(
    "Cost",
    "--time-cost",
    type=click.IntRange(1, passwords.MAX_TIME_COST),
    default=_COST.time_cost,
    show_default=True,
    help="Passes over the memory.",
)
@option(
    "Cost",
    "--memory",
    type=click.IntRange(1024, passwords.MAX_MEMORY_KIB),
    default=_COST.memory,
    show_default=True,
    help="KiB of memory.",
)
@option(
    "Cost",
    "--parallelism",
    type=click.IntRange(1, passwords.MAX_PARALLELISM),
    default=_COST.parallelism,
    show_default=True,
    help="Lanes.",
)
def command(time_cost: int, memory: int, parallelism: int) -> int:
    """Print the argon2id hash of a password, read from the terminal or from standard input."""
    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True).encode()
    else:
        password = sys.stdin.buffer.readline().removesuffix(b"\n").removesuffix(b"\r")
    if not password:
        raise UsageError("hash-password: the password is empty\n  give it on the first line of standard input")
    cost = passwords.PasswordCost(time_cost=time_cost, memory=memory, parallelism=parallelism)
    click.echo(passwords.hash_password(password, cost))
    return 0
