"""What the records of one decision, or of one caller's logins, have in common: made once, shared by all of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from kumoaudit.core.event import Event
from kumoaudit.core.text import Plain


class Pieces(NamedTuple):
    """A line of *event* as its format wrote it, cut at what differs: its time, its id, the id of its request."""

    event: Event
    to_time: str
    to_id: str
    to_request_id: str
    to_end: str


class Outline:
    """The fixed part of such details, and how a format wrote it. Any thread: a race writes the same thing twice.

    `pieces` are kept by the format that made them; None: not yet, or the line could not be cut.
    """

    __slots__ = ("fixed", "pieces", "uses")

    def __init__(self, fixed: Plain) -> None:
        self.fixed = fixed
        self.pieces: Pieces | None = None
        self.uses = 0

    def detail(self, request_id: str) -> Repeated:
        """The detail of one record. Nobody changes it: who wants another makes a dict of it."""
        detail = Repeated(self.fixed, request_id=request_id)
        detail.outline = self
        return detail


class Repeated(Plain):
    """A detail that differs from others of its outline in `request_id` only."""

    __slots__ = ("outline",)

    outline: Outline


def has_only_id(request: Any) -> bool:
    """Whether *request*, what is known of a request, is its id and nothing more."""
    return request is not None and len(request) == 1 and type(request.get("request_id")) is str
