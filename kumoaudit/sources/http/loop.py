"""The event loop of all listeners, on a thread of its own: uvloop where it is installed, else Python's."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Starts with the first call; `call` from any other thread."""

    def __init__(self) -> None:
        self.has_tls = False
        """Set before the first call: uvloop loses what a client sends before `start_tls` is ready to read it."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run *work* on the loop and wait for its result."""
        with self._lock:
            if self._loop is None:
                self._loop = _new_loop(self.has_tls)
                self._thread = threading.Thread(target=self._run, args=(self._loop,), name="http", daemon=True)
                self._thread.start()
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()

    def stop(self) -> None:
        """End the loop; what is still under way is dropped."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            self._loop = None


def _new_loop(has_tls: bool) -> asyncio.AbstractEventLoop:
    try:
        # KUMOAUDIT_UVLOOP=0 keeps Python's own loop, for comparisons.
        if has_tls or os.environ.get("KUMOAUDIT_UVLOOP") == "0":
            raise ImportError
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
