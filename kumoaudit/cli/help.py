"""Help texts that look alike: one line of purpose, examples that run, options grouped by what they are for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class GroupedOption(click.Option):
    """An option with the heading of the help under which it stands."""

    def __init__(self, *args: Any, heading: str = "Options", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.heading = heading


class HelpfulCommand(click.Command):
    """A command with examples: lines of `kumoaudit ...` with a comment behind `#`."""

    def __init__(self, *args: Any, examples: tuple[tuple[str, str], ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for line, comment in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}# {comment}\n")
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if isinstance(param, click.Argument):
                continue  # the usage line and the text above speak of it
            if (record := param.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(param, "heading", "Options"), []).append(record)
        for heading, records in groups.items():
            with formatter.section(heading):
                formatter.write_dl(records)


def option(heading: str, *names: str, **kwargs: Any) -> Callable[[F], F]:
    """`click.option` under a heading of the help."""
    decorate: Callable[[F], F] = click.option(*names, cls=GroupedOption, heading=heading, **kwargs)
    return decorate
