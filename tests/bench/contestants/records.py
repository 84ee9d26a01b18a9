"""The record as Python code without the product makes it: the same fields as a native line, in the same order."""

from __future__ import annotations

import datetime
import os
import uuid
from typing import Any

NODE = os.uname().nodename


def record(
    description: str,
    *,
    type: str = "custom_login",
    severity: str = "INFO",
    user: str | None = "eve",
    module: str | None = "billing",
    tag: str | None = "x",
) -> dict[str, Any]:
    """A fresh id, the local time to the millisecond, and what the caller says."""
    return {
        "id": str(uuid.uuid4()),
        "node": NODE,
        "time": datetime.datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "kind": "custom",
        "type": type,
        "severity": severity,
        "user": user,
        "session_type": "background",
        "module": module,
        "tag": tag,
        "description": description,
    }
