"""The documents are true: every block runs or decodes, every link leads somewhere, nothing is left out or out of date."""

from __future__ import annotations

import configparser
import json
import re
import tomllib
from pathlib import Path
from shutil import which

import pytest

from kumoaudit.access.listener import ListenerOptions
from kumoaudit.cli import COMMANDS
from kumoaudit.core.catalog import EVENT_TYPES
from kumoaudit.core.errors import EnvironmentFault, KumoauditError
from kumoaudit.core.options import parsers_of
from kumoaudit.core.predicate import FIELDS
from kumoaudit.dialects.kumo import AcctLogOptions
from kumoaudit.dialects.native import HostOptions, LogOptions
from kumoaudit.formats.native import ROW_FIELDS
from kumoaudit.runtime.api.socket import SocketOptions
from kumoaudit.runtime.handlers import EVENTS
from kumoaudit.sources.metrics import METRICS
from tests import reference
from tests.documents import (
    PAGES,
    ROOT,
    Session,
    anchors,
    blocks,
    commands,
    difference,
    links,
    prose,
    without_installing,
)
from tests.policies import run_policy

REFERENCE = ROOT / "docs" / "reference"

# Languages of blocks that nothing can run: pictures, shapes, file listings.
_SHOWN_ONLY = ("text",)

# What pages use that is not part of every system; `.ci/run` installs it.
_TOOLS = ("curl", "openssl", "zstd")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# -- blocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_does_what_the_page_says(page: Path, tmp_path: Path) -> None:
    """A page is one session: its policies run, its commands print what it shows, its records decode."""
    session: Session | None = None
    later = [b.text for b in blocks(page) if b.language == "console"]
    for tool in _TOOLS:
        if which(tool) is None and any(re.search(rf"\b{tool} -", text) for text in later):
            pytest.skip(f"the page uses {tool}, which this machine does not have")
    try:
        for block in blocks(page):
            at = f"{name_of(page)}:{block.line}"
            if block.language in ("lua", "console") and session is None:
                session = _session(tmp_path)
            match block.language:
                case "lua":
                    _run_lua(
                        at, block.options, block.option("file"), block.text, block.option("expect"), session, later
                    )
                case "console":
                    _run_console(at, block, session)
                case "json":
                    for line in [block.text] if block.option("pretty") else block.text.splitlines():
                        assert isinstance(json.loads(line), dict), at
                case "toml":
                    tomllib.loads(block.text)
                    if name := block.option("file"):
                        session = session or _session(tmp_path)
                        (session.directory / name).write_text(block.text)
                case "ini":
                    configparser.ConfigParser(strict=False).read_string(block.text)
                    if name := block.option("file"):
                        assert (ROOT / name).read_text() == block.text, f"{at}: {name} says something else"
                case other:
                    assert other in _SHOWN_ONLY, f"{at}: a block of language {other!r} is not checked by any test"
    finally:
        if session:
            session.close()


def _session(directory: Path) -> Session:
    (directory / "session").mkdir()
    return Session(directory / "session")


def _run_lua(at, options, file, text, expect, session, later) -> None:
    if options.startswith("fragment"):
        assert len(options.split()) > 1, f"{at}: a fragment says why it cannot run"
        return
    if file:
        (session.directory / file).write_text(session.own(text))
        assert any(file in t for t in later), f"{at}: {file} is saved and never run"
        return
    directory = session.directory.parent / f"lua-{at.rpartition(':')[2]}"
    directory.mkdir()
    ran = run_policy(directory, text)
    assert int(expect or 0) == ran.code, f"{at}: exit {ran.code}\n{ran.err}"


def _run_console(at, block, session) -> None:
    if block.options.startswith("skip"):
        assert len(block.options.split()) > 1, f"{at}: a block that is skipped says why"
        return
    for command, shown in commands(block):
        typed = without_installing(command)
        if not typed:
            continue
        code, out = session.run(typed)
        assert code == 0, f"{at}: {typed}: exit {code}\n{out}"
        if shown:
            assert (problem := difference(shown, out, session.directory)) == "", f"{at}: {typed}\n{problem}"


def test_the_commands_of_the_readme_are_those_that_ci_runs() -> None:
    """They install from the package index, so the session above leaves that part out; `.ci/run` does not."""
    typed = [c for b in blocks(ROOT / "README.md") if b.language == "console" for c, _ in commands(b)]
    creating = [c for c in typed if "python3 -m venv" in c]
    ci = (ROOT / ".ci" / "run").read_text()

    assert len(creating) == 2
    assert all(c.startswith("python3 -m venv .venv && .venv/bin/pip install -q ") for c in creating)
    assert creating[0].endswith("&& .venv/bin/kumoaudit run examples/quickstart.lua")
    assert creating[1] in ci.splitlines()


# -- links and sentences ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_to_a_page_and_its_heading(page: Path) -> None:
    broken = []
    for target in links(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)

    assert broken == []


# The page of figures is written with the benchmark.
_NOT_SPLIT = (REFERENCE / "performance.md",)


@pytest.mark.parametrize("page", [p for p in PAGES if p not in _NOT_SPLIT], ids=name_of)
def test_prose_has_one_sentence_a_line(page: Path) -> None:
    """So that a diff shows sentences. Tables hold what they must."""
    two = [
        line
        for line in prose(page).splitlines()
        if not line.startswith("|")
        and re.search(r"[a-z0-9)`]\.\s+[A-Z`]", re.sub(r"`[^`]*`", "`x`", line))
        and not re.match(r"^\d+\. ", line)
    ]

    assert two == []


def test_every_page_of_the_documents_is_in_their_index() -> None:
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / t.partition("#")[0]).resolve() for t in links(index)}

    assert [name_of(p) for p in PAGES if p.parent != ROOT and p != index and p.resolve() not in linked] == []


# -- promises name their tests -----------------------------------------------------------------------------------------

KUMOMTA = ROOT / "docs" / "explanation" / "kumomta.md"


def test_every_test_that_a_page_names_exists() -> None:
    """`path::test_name` in backticks, on any page."""
    missing = []
    for page in PAGES:
        for path, name in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", page.read_text()):
            file = ROOT / path
            if not file.exists() or not re.search(rf"^def {name}\(", file.read_text(), re.MULTILINE):
                missing.append(f"{name_of(page)}: {path}::{name}")

    assert missing == []


def test_each_dispute_and_weak_spot_of_kumomta_has_a_row_that_names_a_test() -> None:
    rows = re.findall(r"^\| ([DW]\d+) \|.*\| ([^|]*) \|$", KUMOMTA.read_text(), re.MULTILINE)

    assert [key for key, _ in rows] == [f"D{n}" for n in range(1, 16)] + [f"W{n}" for n in range(1, 17)]
    assert [key for key, tests in rows if not re.fullmatch(r"(`tests/[\w/]+\.py::test_\w+`(, )?)+", tests)] == []


# -- the reference is complete ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", reference.pages(), ids=name_of)
def test_the_generated_parts_of_the_reference_are_current(page: Path) -> None:
    """`python -m tests.reference` writes them anew."""
    assert reference.rewritten(page) == page.read_text()


def _mentioned(page: str) -> str:
    return (REFERENCE / page).read_text()


def test_every_command_and_each_of_its_options_is_in_the_reference() -> None:
    text = _mentioned("commands.md")
    missing = [name for name in COMMANDS if f"## kumoaudit {name}\n" not in text]
    for name in COMMANDS:
        for param in reference.command(name).params:
            missing += [o for o in (*param.opts, *param.secondary_opts) if o.startswith("-") and f"{o}" not in text]

    assert missing == []


@pytest.mark.parametrize(
    "options", [LogOptions, HostOptions, AcctLogOptions, SocketOptions, ListenerOptions], ids=lambda o: o.__name__
)
def test_every_option_is_in_the_reference_with_a_meaning(options) -> None:
    text, meanings = _mentioned("options.md"), reference.meanings_of(options)

    assert [o for o in parsers_of(options) if f"| `{o}` |" not in text or not meanings.get(o)] == []


def test_every_event_type_is_in_the_reference() -> None:
    text = _mentioned("events.md")

    assert [t for t in EVENT_TYPES if f"`{t}`" not in text] == []


def test_every_field_of_a_row_and_of_a_predicate_is_in_the_reference() -> None:
    records, predicates = _mentioned("records.md"), _mentioned("predicates.md")

    assert [f for f in ROW_FIELDS if f"| `{f}` |" not in records] == []
    assert [f for f in FIELDS if f"`{f}`" not in predicates] == []


def test_the_reference_of_lua_names_what_a_policy_can_call_and_nothing_else(tmp_path: Path) -> None:
    """Asked of a running host, so a function that is added without a row fails here."""
    live = reference.lua_functions(tmp_path)
    rows = re.findall(r"^\| `((?:kumo|audit)\.[\w.]+)[(`]", _mentioned("lua.md"), re.MULTILINE)

    assert sorted(live) == sorted(rows)


def test_every_event_that_a_handler_can_be_registered_for_is_in_the_reference() -> None:
    text = _mentioned("lua.md")

    assert [e for e in EVENTS if f"| `{e}` |" not in text] == []


def test_every_metric_is_in_the_reference() -> None:
    text = _mentioned("metrics.md")

    assert [m.name for m in METRICS if f"| `{m.name}` |" not in text] == []


def test_every_exit_code_of_an_error_is_in_the_reference() -> None:
    text = _mentioned("exit-codes.md")
    kinds: list[type[KumoauditError]] = [KumoauditError, EnvironmentFault]

    assert all(f"| {k.exit_code} |" in text for k in kinds)
    assert all(f"| {code} |" in text for code in (0, 1, 2, 3, 130))
