"""`kumoaudit query`: search logs."""

from __future__ import annotations

from typing import Any

import click

from kumoaudit.cli.asking import Question, limit_option, question_options
from kumoaudit.cli.help import HelpfulCommand
from kumoaudit.query.engine import run_query

_EXAMPLES = (
    ("kumoaudit query --since 1h --outcome deny", "what was denied in the last hour"),
    ("kumoaudit query alice@example.com --format json /var/log/kumoaudit/acct", "all about one account, in one log"),
    ("kumoaudit query --where 'severity >= WARNING and peer in 10.0.0.0/8' --limit 20", "the newest 20 of a question"),
)


@click.command(cls=HelpfulCommand, examples=_EXAMPLES, short_help="Search logs.")
@question_options(limit_option("--limit", default=None, help_text="The newest N (with --reverse the oldest N)."))
def command(**options: Any) -> int:
    """Search logs, with the host running or stopped; newest first.

    TARGET is host, user@host or user=NAME. PATH is a log directory, a data directory or a file (JSON lines, plain, gzip
    or zstd); what holds a slash or exists is a path. The last line on stderr says what was covered.
    """
    question = Question(**options)
    out = question.renderer()
    given = 0
    for answer in run_query(question.query, question.logs):
        out.add(answer)
        given += 1
    out.flush()
    return question.finish(given)
