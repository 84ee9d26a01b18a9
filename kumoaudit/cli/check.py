"""`kumoaudit check`: would this policy run? Opens, creates and deletes nothing."""

from __future__ import annotations

import os
from typing import Any

import click

from kumoaudit.cli.help import HelpfulCommand, option
from kumoaudit.core.errors import KumoauditError, UsageError
from kumoaudit.core.text import printable_lines
from kumoaudit.query.logs import data_dir_of

_EXAMPLES = (
    ("kumoaudit check policy.lua", "every problem, or none"),
    ("kumoaudit check --data-dir /var/lib/kumoaudit policy.lua", "as the service would run it"),
    ("kumoaudit check policy.lua && systemctl restart kumoaudit", "before a restart"),
)


@click.command(cls=HelpfulCommand, examples=_EXAMPLES, short_help="Check a policy.")
@click.argument("policy", type=click.Path())
@option("Where it would write", "--data-dir", metavar="DIR", help="Default: $KUMOAUDIT_DATA_DIR, ./kumoaudit-data.")
def command(policy: str, data_dir: str | None) -> int:
    """Validate a policy: run the file, pre_init, init and validate_config with _VALIDATING_CONFIG = true.

    Opens, creates and deletes nothing.
    """
    from kumoaudit.access.hints import warnings
    from kumoaudit.core.clock import SystemClock
    from kumoaudit.pipeline.build import Pipeline
    from kumoaudit.runtime.host import PolicyHost
    from kumoaudit.segments.disk import RealDisk

    def say(text: str) -> None:
        try:
            click.echo(printable_lines(text), err=True)
        except (OSError, ValueError):
            pass  # nobody listens; the exit code still tells

    pipeline = Pipeline(data_dir_of(data_dir, os.environ)[0], os.uname().nodename, RealDisk(), SystemClock(), say)
    host = PolicyHost(policy, pipeline, say, validating=True)
    host.factories["http"] = _checked_listener
    problems: list[KumoauditError] = []
    try:
        host.load()
    except KumoauditError as e:
        if host.exit_code is None:
            raise UsageError(str(e)) from None
    for event in ("pre_init", "init", "validate_config"):
        if not host.has(event) or host.exit_code is not None:
            continue
        try:
            with host.configuring(event):
                host.call(event)
        except KumoauditError as e:
            # os.exit leaves a handler as an error does, but is none.
            if host.exit_code is None:
                problems.append(e)
    for notice in host.handlers.notices:
        say(f"notice: {notice}")
    for spec in host.validated:
        if reason := host.events.why_in_python(spec):
            what = f"log {spec.name!r} takes events of the policy through Python, about 20 times slower"
            say(f"notice: {spec.at}: {what}: {reason}")
    for acl_map in host.acl_maps.values():
        for warning in warnings(acl_map):
            say(f"warning: {warning}")
    for problem in problems:
        say(str(problem))
    if host.validation_has_failed:
        say(f"{policy}: validation failed: the policy called kumo.validation_failed()")
    if problems:
        return max(p.exit_code for p in problems)
    if host.validation_has_failed:
        return 1
    if host.exit_code is not None:
        say(f"notice: {policy}: the policy ended the host with os.exit({host.exit_code}); what follows was not checked")
        if host.exit_code:
            return host.exit_code
    click.echo(f"{policy}: no problems found")
    return 0


def _checked_listener(asked: Any) -> Any:
    """As the daemon would make it, but for the address: whether that is free is another question at the start."""
    from kumoaudit.sources.http.tls import server_context

    options = asked.options
    if options.use_tls:
        server_context(asked.certificate, asked.private_key, options.hostname or os.uname().nodename)
