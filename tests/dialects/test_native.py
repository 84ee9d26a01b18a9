"""The native dialect's options."""

from __future__ import annotations

from pathlib import Path

import pytest

from kumoaudit.core.errors import ConfigError
from kumoaudit.dialects.native import NativeDialect
from kumoaudit.segments.lines import MAX_WINDOW


def test_every_window_that_may_be_configured_can_be_read_back(tmp_path: Path) -> None:
    """Readers refuse larger windows than 8 MiB, so that no file makes them allocate more."""
    dialect = NativeDialect(str(tmp_path))
    (spec,) = dialect.translate({"name": "a", "compression_window": 23}, "policy.lua:1")
    assert 1 << spec.compression.window_log == MAX_WINDOW

    with pytest.raises(ConfigError, match="from 10 to 23"):
        dialect.translate({"name": "a", "compression_window": 24}, "policy.lua:1")
