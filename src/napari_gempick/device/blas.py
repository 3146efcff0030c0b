"""One thread in each matrix product: the workers are the threads, and sums must not depend on their number."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = ("scipy_openblas_{}_num_threads64_", "openblas_{}_num_threads64_", "openblas_{}_num_threads")
_lock = threading.Lock()
_users = 0
_before = 1


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


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let matrix products of this process run on the thread that calls them, as long as anyone asks for it."""
    global _users, _before
    found = _functions()
    if found is None:
        yield
        return
    read, put = found
    with _lock:
        if _users == 0:
            _before = int(read())
            put(1)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                put(_before)
