"""Where a batch of lines may be cut: only behind a line."""

from __future__ import annotations


def cut_at_line(lines: memoryview, room: int) -> int:
    """Length of the longest prefix of whole lines that fits in *room* bytes; 0 when even the first is too long.

    *lines* ends with a newline. Limits are promised per record, but records arrive in batches, so the batch has to be
    cut where a record ends.
    """
    if len(lines) <= room:
        return len(lines)
    at = room
    while at > 0:
        low = max(0, at - 65536)
        found = bytes(lines[low:at]).rfind(b"\n")
        if found >= 0:
            return low + found + 1
        at = low
    return 0


def cut_after_line(lines: memoryview) -> int:
    """Length of the first line with its newline."""
    at = 0
    while at < len(lines):
        found = bytes(lines[at : at + 65536]).find(b"\n")
        if found >= 0:
            return at + found + 1
        at += 65536
    return len(lines)
