"""`sqlite.open` and `db:execute` (KumoMTA section 6)."""

from __future__ import annotations

import gc
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kumoaudit.core.errors import PolicyError
from kumoaudit.runtime.api.sqlite import Database, without_data
from tests.policies import Inside, kumoaudit

OPEN = "local db = require 'sqlite'.open 'people.db'\n"
PEOPLE = OPEN + (
    "db:execute 'CREATE TABLE people (name, age)'\n"
    "db:execute('INSERT INTO people (name, age) VALUES (?, ?)', 'john', 42)\n"
    "db:execute('INSERT INTO people (name, age) VALUES (:name, :age)', { name = 'fred', age = 32 })\n"
)


def test_the_example_of_kumomta_gives_what_its_comments_say(lua: Callable[..., Any]) -> None:
    assert lua(
        PEOPLE
        + "return db:execute 'SELECT age FROM people ORDER BY age', db:execute 'SELECT * FROM people ORDER BY age', "
        "db:execute 'DELETE FROM people', db:execute 'SELECT * FROM people'"
    ) == [[32, 42], [{"name": "fred", "age": 32}, {"name": "john", "age": 42}], 2, []]


@pytest.mark.parametrize(
    ("lua_value", "kind", "back"),
    [
        ("1", "integer", 1),
        ("1.5", "real", 1.5),
        ("'é'", "text", "é"),
        ("'a\\0b'", "text", "a\0b"),
        ("'\\255'", "blob", "\\xff"),
        ("true", "integer", 1),
        ("'12345678901234567890'", "text", "12345678901234567890"),
    ],
)
def test_each_kind_of_value_has_its_kind_in_sql_and_comes_back(
    lua: Callable[..., Any], lua_value: str, kind: str, back: Any
) -> None:
    body = f"return db:execute('SELECT typeof(?1) UNION ALL SELECT ?1', {lua_value})"

    assert lua(OPEN + body) == [[kind, back]]


def test_null_is_absent_in_a_row_and_keeps_its_place_in_a_column(lua: Callable[..., Any]) -> None:
    assert lua(
        OPEN + "local rows = db:execute('SELECT ? AS a, 2 AS b, 3 AS c', nil)\n"
        "local column = db:execute 'SELECT 1 UNION ALL SELECT NULL UNION ALL SELECT 3'\n"
        "return rows[1].a == nil, rows[1].b, #column, column[2] == kumo.null, db:execute('SELECT ? IS NULL', kumo.null)[1]"
    ) == [True, 2, 3, True, 1]


def test_integers_beyond_a_lua_number_keep_their_digits(lua: Callable[..., Any]) -> None:
    assert lua(OPEN + "return db:execute('SELECT 9007199254740993')[1]") == ["9007199254740993"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("db:execute('SELECT * FROM absent')", "db:execute: no such table: absent"),
        ("db:execute('SELEC secret')", 'db:execute: near "SELEC": syntax error'),
        ('db:execute("SELECT \'secret")', "db:execute: unrecognized token"),
        (
            "db:execute('SELECT :a', { b = 'secret' })",
            "db:execute: You did not supply a value for binding parameter :a.",
        ),
        ("db:execute('SELECT ?', 'secret', 2)", "db:execute: Incorrect number of bindings supplied"),
        ("db:execute('SELECT 1; SELECT 2')", "db:execute: You can only execute one statement at a time."),
        (
            "db:execute('SELECT ?', print)",
            "db:execute: parameter 1: expected a number, a text, a boolean or nil, got a fun",
        ),
        ("db:execute(nil)", "db:execute: expected SQL as a string, got nil"),
        ("db.execute('SELECT 1')", "db:execute: call it as db:execute(sql, ...), with a colon"),
        ("db:execute(\"SELECT load_extension('secret')\")", "db:execute: not authorized"),
        ("require 'sqlite'.open '/no/where.db'", "sqlite.open: /no/where.db: unable to open database file"),
        ("require 'sqlite'.open()", "sqlite.open: expected the path of a database, got nil"),
        ("require 'sqlite'.open(':memory:', -1)", "sqlite.open: the busy time must be a number of milliseconds"),
    ],
)
def test_an_error_names_the_line_and_no_data(host: Callable[[str], Inside], call: str, said: str) -> None:
    running = host(f"kumo.on('go', function()\nlocal db = require 'sqlite'.open ':memory:'\nreturn ({call})\nend)").host

    with pytest.raises(PolicyError) as e:
        running.call("go")

    assert f"policy.lua:3: {said}" in e.value.message
    assert "secret" not in e.value.message


def test_words_stay_in_an_error_and_literals_do_not() -> None:
    assert without_data(ValueError('near "FROM": syntax error')) == 'near "FROM": syntax error'
    assert without_data(ValueError('near ")": syntax error')) == 'near ")": syntax error'
    assert without_data(ValueError("near \"'s3 cret'\": syntax error")) == "near a literal: syntax error"


def test_other_handlers_run_while_a_statement_does(
    host: Callable[[str], Inside], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = Database.execute

    def slow(self: Database, *args: Any) -> Any:
        begun.set()
        assert go_on.wait(60)
        return real(self, *args)

    monkeypatch.setattr(Database, "execute", slow)
    running = host(
        "local db = require 'sqlite'.open ':memory:'\n"
        "kumo.on('slow', function() return db:execute('SELECT 5')[1] end)\nkumo.on('other', function() return 7 end)"
    ).host
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.extend(running.call("slow")))
    thread.start()
    assert begun.wait(60)
    assert running.call("other") == [7]
    go_on.set()
    thread.join(60)

    assert results == [5]


def test_a_busy_database_is_an_error_after_the_busy_time(lua: Callable[..., Any], tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "people.db", isolation_level=None)
    other.execute("CREATE TABLE t (x)")
    other.execute("BEGIN IMMEDIATE")

    ok, said = lua(
        "local db = require 'sqlite'.open('people.db', 1)\nreturn pcall(function() db:execute 'INSERT INTO t VALUES (1)' end)"
    )
    other.close()

    assert not ok
    assert "database is locked" in said


def test_a_database_that_is_collected_is_closed(host: Callable[[str], Inside]) -> None:
    running = host(
        "local sqlite = require 'sqlite'\n"
        "kumo.on('go', function() for _ = 1, 20 do sqlite.open ':memory:' collectgarbage() collectgarbage() end end)"
    ).host
    running.call("go")
    gc.collect()

    assert sum(isinstance(o, Database) for o in gc.get_objects()) <= 3


def test_check_leaves_the_database_as_it_is(tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "there.db", isolation_level=None)
    db.execute("CREATE TABLE t (x)")
    policy = tmp_path / "policy.lua"
    policy.write_text(
        "local sqlite = require 'sqlite'\nkumo.on('init', function()\n"
        "local there, new = sqlite.open 'there.db', sqlite.open 'new.db'\n"
        "there:execute 'INSERT INTO t VALUES (1)'\nassert(#there:execute 'SELECT x FROM t' == 1)\n"
        "new:execute 'CREATE TABLE u (x)'\nend)"
    )

    ran = kumoaudit("check", policy, cwd=tmp_path)

    assert ran.code == 0, ran.err
    assert db.execute("SELECT count(*) FROM t").fetchone() == (0,)
    assert not (tmp_path / "new.db").exists()
    db.close()
