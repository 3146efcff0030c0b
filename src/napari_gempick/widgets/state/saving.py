"""Saves the session in the background: what is newest, in the folder that it belongs to, one file at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.session import SessionFolder
    from napari_gempick.widgets.state.state import State
    from napari_gempick.widgets.state.threads import Background


@dataclass(frozen=True)
class Snapshot:
    """A session as it was at one moment; nothing in it changes any more.

    Attributes
    ----------
    folder : SessionFolder
        Where it belongs, whatever is opened afterwards.
    results : mapping of str to Result
        A copy.
    current : str or None
        The micrograph that was shown.
    """

    folder: SessionFolder
    state: State
    results: Mapping[str, Result]
    current: str | None


WAIT = 0.3
"""Seconds that a snapshot waits for newer ones, which a moving slider makes."""


class Saver:
    """Writes snapshots, the newest only: an older one is never written after it.

    Parameters
    ----------
    background : Background
        With one thread, of its own: a slow disk keeps nothing else waiting. It is closed with the saver.
    also : callable
        Writes what belongs to the session beside its file.
    """

    def __init__(self, background: Background, also: Callable[[], None]) -> None:
        self._background, self._also = background, also
        self._writing, self._ending = threading.Lock(), threading.Event()
        self._queued = False
        self._newest: tuple[int, Snapshot] | None = None
        self._written = 0

    def put(self, snapshot: Snapshot) -> None:
        """Write a snapshot soon; on the window's thread."""
        self._take(snapshot)
        if not self._queued:
            self._queued = True
            self._background.do(self._write_soon)

    def _write_soon(self) -> None:
        self._ending.wait(WAIT)
        self._queued = False
        self._write()

    def put_now(self, snapshot: Snapshot) -> None:
        """Write a snapshot, after the file that is being written."""
        self._take(snapshot)
        self._write()

    def _take(self, snapshot: Snapshot) -> None:
        self._newest = (self._newest[0] if self._newest else 0) + 1, snapshot

    def _write(self) -> None:
        with self._writing:
            newest = self._newest
            if newest is None or newest[0] == self._written:
                return
            self._written, snapshot = newest
            snapshot.folder.save(snapshot.state, snapshot.results, snapshot.current)
            self._also()

    def close(self) -> None:
        """Wait for the file that is being written, and end the thread."""
        self._ending.set()
        self._background.close()
