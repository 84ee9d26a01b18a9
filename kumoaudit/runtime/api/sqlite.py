"""SQLite for policies (KumoMTA section 6): `sqlite.open`, `db:execute`. Statements run outside the gate."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import weakref
from typing import TYPE_CHECKING, Any

from kumoaudit.core.errors import UsageError
from kumoaudit.core.options import type_name
from kumoaudit.runtime.convert import text, unpack
from kumoaudit.runtime.host import Export
from kumoaudit.runtime.works import place

if TYPE_CHECKING:
    from kumoaudit.runtime.host import PolicyHost

_OPEN, _EXECUTE = "sqlite.open", "db:execute"
MAX_BUSY_MS = 3_600_000
_EXACT = 1 << 53


class Database:
    """One connection; a statement at a time, from any thread. Closed when nobody holds it any more."""

    def __init__(self, path: str, busy_ms: int, *, is_copy: bool) -> None:
        """Open the file, or (*is_copy*) a copy of it in memory, so that nothing is changed. Raises sqlite3.Error."""
        self._db: sqlite3.Connection
        self._busy = threading.Lock()
        options = {"timeout": busy_ms / 1000, "isolation_level": None, "check_same_thread": False}
        if not is_copy or path == ":memory:":
            self._db = sqlite3.connect(path, **options)  # type: ignore[call-overload]
        else:
            self._db = sqlite3.connect(":memory:", **options)  # type: ignore[call-overload]
            if os.path.exists(path):
                source = sqlite3.connect(path, **options)  # type: ignore[call-overload]
                source.backup(self._db)
                source.close()
        self._db.text_factory = bytes
        weakref.finalize(self, self._db.close)

    def execute(self, sql: str, values: list[Any] | dict[str, Any]) -> int | list[Any]:
        """Changed rows, or the rows found: values when there is one column, else maps. Raises sqlite3.Error."""
        with self._busy:
            cursor = self._db.execute(sql, values)
            try:
                if cursor.description is None:
                    return max(cursor.rowcount, 0)
                names = [column[0] for column in cursor.description]
                if len(names) == 1:
                    return [_cell(row[0]) for row in cursor]
                # As in KumoMTA, a NULL in a row is an absent field.
                return [{n: _cell(v) for n, v in zip(names, row, strict=True) if v is not None} for row in cursor]
            finally:
                cursor.close()


def _cell(value: Any) -> Any:
    """Integers that a Lua number cannot hold exactly are texts with all their digits, as in `kumo.serde`."""
    return str(value) if isinstance(value, int) and abs(value) > _EXACT else value


def exports(host: PolicyHost) -> dict[str, Export]:
    """The functions themselves are Lua's (lua/kumoaudit/api/sqlite.lua)."""

    def open_database(at: bytes, packed: bytes) -> float:
        where = f"{host.place_of(at)}: {_OPEN}"
        path, busy = (*unpack(packed), None, None)[:2]
        if type(path) is not str or not path or "\0" in path:
            raise UsageError(f"{where}: expected the path of a database, got {type_name(path)}")
        busy = 500 if busy is None else busy
        if isinstance(busy, bool) or not isinstance(busy, int | float) or not 0 <= busy <= MAX_BUSY_MS:
            raise UsageError(f"{where}: the busy time must be a number of milliseconds from 0 to {MAX_BUSY_MS}")
        try:
            return float(host.objects.add(Database(path, int(busy), is_copy=host.validating)))
        except sqlite3.Error as e:
            raise UsageError(f"{where}: {path}: {without_data(e)}") from None

    def execute(at: bytes, number: float, kind: bytes, sql: bytes, values: bytes | None, *given: Any) -> Any:
        where = place(at, _EXECUTE)
        database = host.objects.get(number, Database)
        if kind != b"string":
            raise UsageError(f"{where}: expected SQL as a string, got {text(kind)}")
        try:
            return database.execute(text(sql), _parameters(where, values, given))
        except (sqlite3.Error, OverflowError) as e:
            raise UsageError(f"{where}: {without_data(e)}") from None

    host.python[b"sqlite_open"] = host.guard(open_database)
    host.works[b"sqlite_execute"] = execute
    return {}


def _parameters(where: str, names: bytes | None, given: tuple[Any, ...]) -> list[Any] | dict[str, Any]:
    """*given* values; with *names* (a JSON list) they are the parameters of these names."""
    values = [_parameter(v) for v in given]
    if names is None:
        return values
    keys = unpack(names)
    if all(type(k) is str for k in keys):
        return dict(zip(keys, values, strict=True))
    raise UsageError(f"{where}: a table of parameters is either a list or has names only")


def _parameter(value: Any) -> Any:
    """Whole numbers are integers, texts are TEXT unless they are no UTF-8, then BLOB."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT:
        return int(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value


def without_data(error: Exception) -> str:
    """The text of an error without literals of the statement, which may hold what a policy glued into it."""
    said = re.sub(r'unrecognized token: ".*"', "unrecognized token", str(error), flags=re.DOTALL)
    return re.sub(r'near "(?![A-Za-z_]\w*"|[^\w"]{1,2}").*?"', "near a literal", said, flags=re.DOTALL)
