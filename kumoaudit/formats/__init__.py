"""Event <-> one line of bytes. `FORMATS` is the table of names."""

from __future__ import annotations

from kumoaudit.core.protocols import Format
from kumoaudit.formats.kumo import KumoFormat
from kumoaudit.formats.native import NativeFormat
from kumoaudit.formats.tarantool import TarantoolJson

FORMATS: dict[str, Format] = {f.name: f for f in (NativeFormat(), KumoFormat(), TarantoolJson())}
