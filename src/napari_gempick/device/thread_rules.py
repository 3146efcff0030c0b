"""Rules for the threads of this process, as long as anyone asks for them: matrix products and turns at Python code."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")
TURN_SECONDS = 2e-5
"""A search calls NumPy every 0.1 ms, and each time waits for its turn where another thread runs Python code. With
Python's own 5 ms the cores are idle for a tenth of the time."""


class _Rule:
    """A value of the whole process that is set while at least one thread asks for it, and then set back."""

    def __init__(self) -> None:
        self._lock, self._users, self._before = threading.Lock(), 0, 0.0

    @contextlib.contextmanager
    def __call__(self, read: Callable[[], float], put: Callable[[Any], object], value: float) -> Iterator[None]:
        with self._lock:
            if self._users == 0:
                self._before = read()
                put(value)
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    put(self._before)


_products, _turns = _Rule(), _Rule()


@functools.cache
def _functions() -> tuple[Any, Any] | None:
    """Return the functions that read and set the threads of NumPy's OpenBLAS, None where NumPy has another library."""
    package = Path(np.__file__).parent
    for folder in (package.with_name("numpy.libs"), package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            with contextlib.suppress(OSError):
                library = ctypes.CDLL(str(path))
                for name in _NAMES:
                    if hasattr(library, name.format("set")):
                        return getattr(library, name.format("get")), getattr(library, name.format("set"))
    return None


def products_repeat() -> bool:
    """Return whether the number of threads of matrix products can be set: otherwise their sums may depend on it."""
    return _functions() is not None


def one_thread() -> contextlib.AbstractContextManager[None]:
    """Let matrix products of this process run on the thread that calls them: sums must not depend on their number."""
    found = _functions()
    return contextlib.nullcontext() if found is None else _products(*found, 1)


def short_turns() -> contextlib.AbstractContextManager[None]:
    """Let threads of this process that wait for Python's lock get it soon."""
    return _turns(sys.getswitchinterval, sys.setswitchinterval, TURN_SECONDS)
