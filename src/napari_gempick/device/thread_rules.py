"""Rules for the threads of this process, as long as anyone asks for them: matrix products and turns at Python code."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threadpoolctl import ThreadpoolController

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TURN_SECONDS = 2e-5
"""A search calls NumPy every 0.1 ms, and each time waits for its turn where another thread runs Python code. With
Python's own 5 ms the cores are idle for a tenth of the time."""


class _Rule:
    """What holds for the whole process while at least one thread asks for it.

    Parameters
    ----------
    begin : callable
        Makes it hold, and returns what ends it.
    """

    def __init__(self, begin: Callable[[], Callable[[], object]]) -> None:
        self._begin = begin
        self._end: Callable[[], object] = lambda: None
        self._lock, self._users = threading.Lock(), 0

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._end = self._begin()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._end()


@functools.cache
def _libraries(with_scipy: bool) -> ThreadpoolController:
    """Return the libraries of matrix products that are loaded: NumPy's, and SciPy's own once it is."""
    return ThreadpoolController().select(user_api="blas")


def _one_product_thread() -> Callable[[], object]:
    limiter: Any = _libraries("scipy.linalg" in sys.modules).limit(limits=1)
    end: Callable[[], object] = limiter.restore_original_limits
    return end


def _short_turns() -> Callable[[], object]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN_SECONDS)
    return functools.partial(sys.setswitchinterval, before)


one_thread = _Rule(_one_product_thread)
"""Matrix products run on the thread that calls them: sums must not depend on their number."""
short_turns = _Rule(_short_turns)
"""Threads that wait for Python's lock get it soon."""


@functools.cache
def products_repeat() -> bool:
    """Return whether matrix products of NumPy, kept to one thread, are the same bytes whenever they are made.

    OpenBLAS makes them so; with MKL they may depend on where in memory an array begins.
    """
    loaded = _libraries("scipy.linalg" in sys.modules).lib_controllers
    folders = [Path(one.filepath).parent.name for one in loaded if one.internal_api == "openblas"]
    return any(not name.startswith("scipy") for name in folders)
