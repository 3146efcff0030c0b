"""Excluded areas that were edited by hand: kept in the state for undo, and as files for commands. No Qt, no napari."""

from __future__ import annotations

import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.inputs.preparation import EDITED
from napari_gempick.io.atomic import write_bytes
from napari_gempick.io.images.mrc import write_mrc
from napari_gempick.io.reading import readable
from napari_gempick.model.errors import GempickError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Mask:
    """Where no pick may lie, packed: equal masks are equal values.

    Attributes
    ----------
    shape : (ny, nx)
    pixel_size : float
        Å.
    """

    shape: tuple[int, int]
    packed: bytes
    pixel_size: float

    @classmethod
    def of(cls, excluded: NDArray[np.bool_], pixel_size: float) -> Mask:
        """Return an array (ny, nx) packed."""
        ny, nx = excluded.shape
        return cls.of_packed((ny, nx), np.packbits(excluded, axis=1), pixel_size)

    @classmethod
    def of_packed(cls, shape: tuple[int, int], bits: NDArray[np.uint8], pixel_size: float) -> Mask:
        """Return the mask of an array (ny, nx) whose rows are bits already, by `numpy.packbits(..., axis=1)`."""
        return cls(shape, zlib.compress(np.ascontiguousarray(bits), 1), pixel_size)

    def array(self) -> NDArray[np.bool_]:
        """Return it as an array (ny, nx)."""
        ny, nx = self.shape
        bits = np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(ny, -1)
        return np.unpackbits(bits, axis=1, count=nx).view(np.bool_)


class MaskFiles:
    """Writes the masks of a session into its folder, where searches, `gempick retune` and export read them.

    A mask that undo takes back becomes the file that was there before, or none. Used on several threads.
    """

    def __init__(self) -> None:
        self._wanted: tuple[Path | None, Mapping[str, Mask]] = None, {}
        self._folder: Path | None = None
        self._written: dict[str, Mask | None] = {}
        self._before: dict[str, bytes | None] = {}
        self._lock = threading.Lock()

    def want(self, folder: Path | None, masks: Mapping[str, Mask]) -> None:
        """Take what the person decided last, by the stems of micrographs; `write` follows."""
        self._wanted = folder, masks

    def forget(self) -> None:
        """Keep the files as they are; undo no longer changes what was written so far."""
        with self._lock:
            self._wanted, self._folder = (None, {}), None

    def carry(self, old: Path, new: Path, stems: Iterable[str]) -> list[str]:
        """Copy masks of earlier sessions to another folder of results, as they were before this session edited them.

        Returns a sentence for each that cannot be read or written.
        """
        failed = []
        with self._lock:
            before = self._before if old == self._folder else {}
            for stem in stems:
                path, content = old / EDITED / f"{stem}.mrc.gz", before.get(stem)
                try:
                    if stem not in before and path.exists():
                        with readable(path):
                            content = path.read_bytes()
                    if content is not None:
                        write_bytes(new / EDITED / path.relative_to(old / EDITED), content)
                except GempickError as error:
                    failed.append(error.sentence)
        return failed

    def is_current(self, stem: str, mask: Mask | None) -> bool:
        """Return whether a mask is what the person decided last."""
        return self._wanted[1].get(stem) == mask

    def write(self, only: str | None = None) -> None:
        """Write what differs from the files, of one micrograph or of all.

        Raises
        ------
        OutputError
            A file cannot be written.
        """
        with self._lock:
            folder, wanted = self._wanted
            if folder is None:
                return
            if folder != self._folder:
                self._folder, self._written, self._before = folder, {}, {}
            for stem in [only] if only is not None else [*{**self._written, **wanted}]:
                mask = wanted.get(stem)
                if self._written.get(stem) == mask:
                    continue
                path = folder / EDITED / f"{stem}.mrc.gz"
                if stem not in self._before:
                    self._before[stem] = path.read_bytes() if path.exists() else None
                before = self._before[stem]
                if mask is not None:
                    write_mrc(path, mask.array(), mask.pixel_size)
                elif before is not None:
                    write_bytes(path, before)
                else:
                    path.unlink(missing_ok=True)
                self._written[stem] = mask
