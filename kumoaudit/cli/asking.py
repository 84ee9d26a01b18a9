"""What `query` and `tail` share: the options that make a question, the format, the line about what was covered."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import click

from kumoaudit.cli.help import option
from kumoaudit.core.clock import SystemClock
from kumoaudit.core.event import KINDS, OUTCOMES, SEVERITIES
from kumoaudit.core.spec import Query
from kumoaudit.query.engine import covered
from kumoaudit.query.language import Asked, build_query, hint_for_nothing, split_words
from kumoaudit.query.logs import find_logs
from kumoaudit.query.render import FormatName, Renderer, coverage_line, renderer
from kumoaudit.segments.disk import RealDisk
from kumoaudit.segments.reader import SegmentLog

F = TypeVar("F", bound=Callable[..., Any])

FORMATS = ("table", "json", "csv", "raw")
_WHICH, _WHEN, _WHERE, _HOW = "Which events", "When", "Which logs", "How many and how shown"

_OPTIONS = (
    click.argument("words", nargs=-1, metavar="[TARGET] [PATH]..."),
    option(_WHERE, "--data-dir", metavar="DIR", help="Logs of the host with this data directory."),
    option(_WHICH, "--where", default="", metavar="TEXT", help="A predicate: severity >= ALARM and not user = root."),
    option(_WHICH, "--type", "type", multiple=True, metavar="TYPE", help="Type of the event; * is a wildcard."),
    option(_WHICH, "--kind", multiple=True, metavar="KIND", help=f"{', '.join(KINDS)}."),
    option(_WHICH, "--user", multiple=True, metavar="USER", help="Who did it; * is a wildcard."),
    option(_WHICH, "--host", multiple=True, metavar="HOST", help="The served domain or tenant; * is a wildcard."),
    option(_WHICH, "--severity", metavar="LEVEL", help=f"This level or worse: {', '.join(SEVERITIES)}."),
    option(_WHICH, "--outcome", multiple=True, metavar="OUTCOME", help=f"{', '.join(OUTCOMES)}."),
    option(_WHICH, "--global", "is_global", is_flag=True, help="Only host-wide events, those without a user."),
    option(_WHICH, "--no-global", is_flag=True, help="Only events with a user."),
    option(_WHICH, "--lookup", metavar="ID", help="The record with this id (UUID or ULID, in any case)."),
    option(_WHEN, "--since", metavar="TIME", help="From then on: 1h, '2 days', yesterday, 2026-11-20, RFC 3339."),
    option(_WHEN, "--until", metavar="TIME", help="Before then, in the same forms."),
    option(_HOW, "--reverse", is_flag=True, help="The other end first."),
    option(_HOW, "-e", "fail_on_nothing", is_flag=True, help="Exit status 1 when nothing is found."),
    option(
        _HOW,
        "--format",
        "format_name",
        type=click.Choice(FORMATS),
        help="Default: table on a terminal, json (one object a line) elsewhere; raw is the stored line.",
    ),
)


def question_options(limit: Callable[[F], F]) -> Callable[[F], F]:
    """The options of a question; *limit* is the command's own `--limit`. They arrive as keyword arguments."""

    def decorate(f: F) -> F:
        for decorator in reversed((*_OPTIONS, limit)):
            f = decorator(f)
        return f

    return decorate


def limit_option(*names: str, default: int | None, help_text: str) -> Callable[[F], F]:
    return option(_HOW, *names, "limit", type=click.IntRange(min=1), default=default, metavar="N", help=help_text)


class Question:
    """The question of one command line and where it goes. Raises KumoauditError for what cannot be asked or read."""

    def __init__(
        self,
        *,
        words: Sequence[str],
        data_dir: str | None,
        format_name: str | None,
        fail_on_nothing: bool,
        rotated: bool = False,
        **options: Any,
    ) -> None:
        self.asked = Asked(words=tuple(words), **options)
        self.target, paths = split_words(RealDisk(), words)
        self.query: Query = build_query(self.asked, self.target, SystemClock().now_ns())
        if paths and data_dir:
            raise click.UsageError("--data-dir and a path cannot be given together\n  a data directory is a path too")
        self.logs: list[SegmentLog] = find_logs(RealDisk(), data_dir, paths, os.environ, rotated=rotated)
        self.is_terminal = sys.stdout.isatty()
        self.format = cast(FormatName, format_name or ("table" if self.is_terminal else "json"))
        self.fail_on_nothing = fail_on_nothing

    def renderer(self) -> Renderer:
        """Where the answers go: standard output."""
        return renderer(self.format, sys.stdout.buffer, is_terminal=self.is_terminal)

    def finish(self, given: int) -> int:
        """Say on stderr what was covered, and give the exit code."""
        if not given and (hint := hint_for_nothing(self.asked, self.target)):
            print(hint, file=sys.stderr)
        print(coverage_line(covered(self.logs), given, len(self.logs)), file=sys.stderr)
        return 1 if self.fail_on_nothing and not given else 0
