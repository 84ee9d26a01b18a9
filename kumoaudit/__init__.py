"""kumoaudit: a Lua-scriptable audit-log host."""

from __future__ import annotations

__version__ = "0.1.0"
