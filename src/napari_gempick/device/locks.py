"""Locks between processes: waiting for one always ends, and where locks do not work the caller continues without."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Busy(Exception):
    """Another process holds the lock."""


def take(path: Path | str, seconds: float = 0.0, every: float = 0.05) -> FileLock | None:
    """Return a held lock, or None where the file system has no locks or its folder cannot be written.

    The lock ends with the process, however that ends. Release it with `give_back`.

    Parameters
    ----------
    path : Path or str
        The lock file; its folder must exist.
    seconds : float
        How long to wait for another process.
    every : float
        Seconds between two tries.

    Raises
    ------
    Busy
        Another process holds it still.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=seconds, poll_interval=every)
    except Timeout:
        raise Busy from None
    except (OSError, NotImplementedError):  # a file system without locks, or a folder that may not be written
        return None
    return lock


def give_back(lock: FileLock | None, *, remove: bool = False) -> None:
    """Release a lock; `remove` its file too, where no process waits for it (those that only try are fine)."""
    if lock is None:
        return
    if remove:
        with contextlib.suppress(OSError):
            os.unlink(lock.lock_file)
    lock.release()


@contextlib.contextmanager
def locked(path: Path | str, seconds: float, every: float = 0.05) -> Iterator[bool]:
    """Hold a lock for a block, for which one waits `seconds` at most; yield whether it is held."""
    try:
        lock = take(path, seconds, every)
    except Busy:
        lock = None
    try:
        yield lock is not None
    finally:
        give_back(lock)
