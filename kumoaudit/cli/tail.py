"""`kumoaudit tail`: the newest events, then those that come."""

from __future__ import annotations

import select
import sys
from typing import Any

import click

from kumoaudit.cli.asking import Question, limit_option, question_options
from kumoaudit.cli.help import HelpfulCommand, option
from kumoaudit.query.engine import Follower

_EXAMPLES = (
    ("kumoaudit tail", "the newest ten events"),
    ("kumoaudit tail -f --severity WARNING", "warnings and alarms as they happen"),
    ("kumoaudit tail -f -n 100 --format json /var/log/kumoaudit/acct | jq .user", "follow one log into another tool"),
)

_LOOK_EVERY_MS = 250


@click.command(cls=HelpfulCommand, examples=_EXAMPLES, short_help="Show the newest events.")
@option("Following", "-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@question_options(limit_option("-n", "--limit", default=10, help_text="How many to begin with (default 10)."))
def command(follow: bool, **options: Any) -> int:
    """Show the newest events, oldest of them first, and follow what comes.

    Works with the host stopped, across its restarts and across rotation. TARGET and PATH as for 'kumoaudit query'.
    """
    if follow and options["reverse"]:
        raise click.UsageError("--reverse cannot follow: what comes is newer than what was shown")
    question = Question(rotated=True, **options)
    out = question.renderer()
    given = 0
    try:
        follower = Follower(question.query, question.logs)
        answers = follower.first()
        given = len(answers)
        for answer in answers if question.query.newest_first else reversed(answers):
            out.add(answer)
        out.flush()
        while follow and _wait():
            answers = follower.news()
            given += len(answers)
            for answer in answers:
                out.add(answer)
            if answers:
                out.flush()
    except KeyboardInterrupt:
        if not follow:
            raise
    return question.finish(given)


def _wait() -> bool:
    """Until it is time to look again; False when nobody reads standard output any more."""
    poll = select.poll()
    poll.register(sys.stdout, 0)
    return not any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(_LOOK_EVERY_MS))
