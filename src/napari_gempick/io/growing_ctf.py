"""CTF parameters that come as micrographs do: a STAR file that grows, or a folder that fills with CTFFIND's texts."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from napari_gempick.io.ctf import CtfTable, find_ctffind
from napari_gempick.model.errors import GempickError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_gempick.model.ctf import Ctf

_Stamp = tuple[int, int, int]
"""Size, time of the last change, and number of a file."""


class GrowingCtf:
    """The CTF parameters of micrographs, as far as they are known by now.

    The file or folder need not exist yet. What somebody is just writing is not believed: a STAR file that changes while
    it is read; one that ends within a line, and texts of CTFFIND, before they have settled.

    Parameters
    ----------
    path : Path
        As for CtfTable.
    settle : float
        Seconds without a change after which a file is not being written.
    beside : callable, optional
        Reads what else is wanted from the file; `also` is what it returned.
    """

    def __init__(self, path: Path, settle: float, beside: Callable[[], Any] = lambda: None) -> None:
        self._path, self._settle, self._beside = path, settle, beside
        self.also: Any = None
        self._table: CtfTable | None = None
        self._seen: dict[Path, tuple[_Stamp, float]] = {}
        self._read: dict[Path, _Stamp] = {}
        self.problem = f"{path} does not exist yet"

    def update(self, time: float) -> bool:
        """Read again what has changed; return whether anything was read.

        Parameters
        ----------
        time : float
            Seconds on a clock that only goes forward.
        """
        try:
            folder = self._path.is_dir()
            now = {path: _stamp(path) for path in (find_ctffind(self._path) if folder else [self._path])}
            before, self._seen = self._seen, {}
            for path, one in now.items():
                known = before.get(path)
                self._seen[path] = known if known is not None and known[0] == one else (one, time)
            if folder or not _ends_with_a_line(self._path):
                now = {path: one for path, one in now.items() if time - self._seen[path][1] >= self._settle}
            if now == self._read or not now:
                return False
            texts = list(now) if folder else None
            table, also = CtfTable(self._path, texts), self._beside()
            if now != {path: _stamp(path) for path in now}:
                return False
        except (GempickError, OSError) as error:
            if not isinstance(error, FileNotFoundError):
                self.problem = str(error)
            return False
        self._table, self.also, self._read, self.problem = table, also, now, ""
        return True

    def has(self, micrograph: Path) -> bool:
        """Return whether a row or file is about a micrograph of this stem by now."""
        return self._table is not None and self._table.has(micrograph)

    def of(self, micrograph: Path) -> Ctf:
        """Return the parameters of a micrograph, see CtfTable.

        Raises
        ------
        InputError
            There are none by now, or they cannot be right.
        """
        if self._table is None:
            raise InputError(f"{self._path} has no row for {micrograph.name} yet.", micrograph)
        return self._table.of(micrograph)


def _stamp(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _ends_with_a_line(path: Path) -> bool:
    """Return whether a file ends with a line feed; else its last number may be cut."""
    with contextlib.suppress(OSError), path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read() == b"\n"
    return False
