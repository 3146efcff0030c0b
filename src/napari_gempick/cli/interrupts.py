"""Ctrl-C and SIGTERM while a command works: what is in hand is finished or given up, and a second one ends at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_received: list[int] = []


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; the second one ends the process at once."""
    cancel = threading.Event()

    def handle(number: int, _frame: FrameType | None) -> None:
        if _received:
            os.write(2, b"Stopped at once.\n")
            os._exit(128 + number)
        _received.append(number)
        os.write(2, b"Stopping ... (once more to end at once)\n")
        cancel.set()

    previous = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield cancel
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def stopped_status() -> int:
    """Return the exit status of a command that was stopped: 128 and the number of the signal, SIGINT by default."""
    number = _received[0] if _received else signal.SIGINT
    _received.clear()
    return 128 + number
