"""Segments and readers of them for the tests of `kumo.jsonl`."""

from __future__ import annotations

from pathlib import Path

import zstandard

NAMES = [f"acct-20261120-08410{n}.000000000" for n in range(5)]


def lines(*numbers: int) -> bytes:
    return b"".join(b'{"n":%d,"even":%s}\n' % (n, b"false" if n % 2 else b"true") for n in numbers)


def done(directory: Path, name: str, data: bytes, *, keep: int | None = None) -> Path:
    """A finished segment as KumoMTA writes it: one frame; *keep* bytes of it when a crash left it torn."""
    path = directory / name
    compressor = zstandard.ZstdCompressor().compressobj()
    text = compressor.compress(data) + compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    path.write_bytes((text + compressor.flush())[:keep] if keep else text + compressor.flush())
    path.chmod(0o440)
    return path


def take(count: int, options: str = "", filter_: str = "nil", do: str = "") -> str:
    """A handler that takes *count* batches and returns their numbers."""
    return f"""
local tailer = kumo.jsonl.new_tailer({{ directory = 'logs', {options} }}, {filter_})
local out = {{}}
for batch in tailer:batches() do
  local numbers = kumo.array()
  for record in batch:iter_records() do numbers[#numbers + 1] = record.n end
  out[#out + 1] = numbers
  {do}
  if #out == {count} then tailer:close() end
end
return out
"""


def text_of(path: Path) -> bytes:
    with path.open("rb") as f:
        return zstandard.ZstdDecompressor().stream_reader(f).read()
