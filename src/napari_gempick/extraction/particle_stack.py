"""A stack of particles and its STAR file, written bit by bit: after an interruption, the part that was written is kept.

Everything grows in the folder OUT.partial: the images, the rows of the STAR file, and a journal with a line for each
micrograph that is complete. Resuming cuts both files back to the journal's last line. The end renames the images to
OUT and puts the STAR file together.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from mrcfile.utils import machine_stamp_from_byte_order
from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt

from napari_gempick.io.atomic import atomic_path, refuse_existing
from napari_gempick.io.images.mrc import LABEL
from napari_gempick.io.images.mrc_layout import HEADER_BYTES
from napari_gempick.io.reading import checked, readable
from napari_gempick.io.star import loop_head, loop_rows
from napari_gempick.model.errors import InputError, OutputError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_MODES = {"float32": 2, "float16": 12}
_PARTIAL = ".partial"
_IMAGES, _ROWS, _JOURNAL = "images.mrcs", "rows.star", "journal.jsonl"


def is_finished(path: Path) -> bool:
    """Return whether a stack and its STAR file are there, and nothing unfinished beside them."""
    return path.is_file() and path.with_suffix(".star").is_file() and not path.with_name(path.name + _PARTIAL).exists()


class ParticleStack:
    """Images and rows of particles on their way to OUT.mrcs and OUT.star.

    Parameters
    ----------
    path : Path
        The .mrcs file; the STAR file has the same name with .star.
    side : int
        Pixels along a side.
    dtype : str
        float32 or float16.
    plan : dict
        What decides the content, as JSON; an interrupted stack is only resumed with the same.
    resume, overwrite : bool
        What to do with an interrupted stack, and with files that are there.

    Raises
    ------
    OutputError
        The files are there already, or cannot be written.
    SettingsError
        An interrupted stack had another plan.
    InputError
        What it left is damaged.
    """

    def __init__(
        self, path: Path, side: int, dtype: str, plan: dict[str, Any], *, resume: bool = False, overwrite: bool = False
    ) -> None:
        self.path, self.star = path, path.with_suffix(".star")
        self._side, self._dtype = side, np.dtype(dtype)
        self._folder = path.with_name(path.name + _PARTIAL)
        self.done: list[dict[str, Any]] = []
        taken_back = self.path.exists() and resume and not overwrite and self._take_back_images()
        refuse_existing([self.star] if taken_back else [self.path, self.star], overwrite)
        if self._folder.exists() and not (resume or overwrite):
            raise OutputError(
                f"{self._folder} is what an interrupted extraction left; add --resume to continue it, or --overwrite "
                "to start again.",
                self._folder,
            )
        self._stats = _Stats(count=0, pixels=0, low=0, high=0, total=0, squares=0)
        plan = json.loads(json.dumps(plan))
        try:
            if overwrite and not resume and self._folder.exists():
                shutil.rmtree(self._folder)
            self._folder.mkdir(parents=True, exist_ok=True)
            if not (resume and self._restore(plan)):
                self._begin(plan)
            self._images, self._rows, self._journal = (
                (self._folder / name).open("ab") for name in (_IMAGES, _ROWS, _JOURNAL)
            )
        except OSError as error:
            raise OutputError(
                f"Cannot write {path}: {error.strerror or error}; choose another folder.", path
            ) from error

    def _take_back_images(self) -> bool:
        """Move the images back where an earlier run ended between naming them and naming the STAR file.

        So the end is made again. Return whether it did.
        """
        images = self._folder / _IMAGES
        if self.star.exists() or images.exists() or not (self._folder / _JOURNAL).exists():
            return False
        os.replace(self.path, images)
        return True

    def _begin(self, plan: dict[str, Any]) -> None:
        (self._folder / _IMAGES).write_bytes(bytes(HEADER_BYTES))
        (self._folder / _ROWS).write_bytes(b"")
        (self._folder / _JOURNAL).write_text(json.dumps({"plan": plan}) + "\n", encoding="utf-8")

    def _restore(self, plan: dict[str, Any]) -> bool:
        """Cut the files back to the last complete micrograph; False where there is nothing to continue."""
        journal = self._folder / _JOURNAL
        if not os.path.lexists(journal):
            return False
        with readable(journal):
            raw = journal.read_bytes()
        lines = raw[: raw.rfind(b"\n") + 1].split(b"\n")[:-1]  # the last line may be half written
        if not lines:
            return False
        head, *entries = (_line(journal, line) for line in lines)
        if head.get("plan") != plan:
            raise SettingsError(
                f"{journal} is of an extraction with other settings or micrographs; add --overwrite to start again.",
                journal,
            )
        images, rows = self._folder / _IMAGES, self._folder / _ROWS
        kept = lines[:1]
        size = HEADER_BYTES, 0
        for line, entry in zip(lines[1:], entries, strict=True):
            checked(_Entry, entry, journal, "add --overwrite to start again")
            pixels, count = entry["images"] - HEADER_BYTES, entry["stats"]["count"]
            each = self._side**2
            right = pixels == count * each * self._dtype.itemsize and entry["stats"]["pixels"] == count * each
            if not right or entry["images"] < size[0] or entry["rows"] < size[1]:
                raise _damaged(journal)
            if entry["images"] > images.stat().st_size or entry["rows"] > rows.stat().st_size:
                break
            size = entry["images"], entry["rows"]
            self.done.append(entry)
            kept.append(line)
        if self.done:
            self._stats = _Stats(**self.done[-1]["stats"])
        os.truncate(images, size[0])
        os.truncate(rows, size[1])
        journal.write_bytes(b"\n".join([*kept, b""]))
        return True

    @property
    def count(self) -> int:
        """Particles so far."""
        return self._stats.count

    def append(self, images: NDArray[np.float32], columns: Mapping[str, Sequence[str]]) -> None:
        """Append particles: (n, side, side) images and their columns of text."""
        stored = images.astype(self._dtype)
        self._stats.add(stored)
        with self._writing():
            self._images.write(stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes())
            self._rows.write(loop_rows(columns).encode("utf-8", "surrogateescape"))

    def mark(self) -> tuple[int, int, dict[str, Any]]:
        """Return where the files end, for `back_to`."""
        return self._images.seek(0, os.SEEK_END), self._rows.seek(0, os.SEEK_END), dict(vars(self._stats))

    def back_to(self, mark: tuple[int, int, dict[str, Any]]) -> None:
        """Drop the particles that were appended since."""
        with self._writing():
            for stream, size in zip((self._images, self._rows), mark[:2], strict=True):
                stream.truncate(size)
                stream.seek(0, os.SEEK_END)
        self._stats = _Stats.model_construct(**mark[2])

    def finish_micrograph(self, entry: dict[str, Any]) -> None:
        """Note that everything of a micrograph is there."""
        with self._writing():
            for stream in (self._images, self._rows):
                stream.flush()
                os.fsync(stream.fileno())
            size = {"images": self._images.tell(), "rows": self._rows.tell(), "stats": vars(self._stats)}
            self._journal.write(json.dumps({**entry, **size}).encode() + b"\n")
            self._journal.flush()
        self.done.append(entry)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"Cannot write {self.path}: {error.strerror}; free space, then continue with --resume.", self.path
            ) from error

    def close(self) -> None:
        """Close the files and leave them for another time, if there is anything in them."""
        for stream in (self._images, self._rows, self._journal):
            with contextlib.suppress(OSError):  # what a full disk could not take
                stream.close()
        if not self.count and self._folder.exists():
            shutil.rmtree(self._folder)

    def finish(self, labels: Sequence[str], optics: Mapping[str, Sequence[str]], pixel_size: float) -> None:
        """Give both files their final names: the images with `pixel_size` (Å) in the header, and the STAR file."""
        self.close()
        with (self._folder / _IMAGES).open("r+b") as stream:
            stream.write(self._header(pixel_size))
        with atomic_path(self.star) as temporary, temporary.open("wb") as out:
            head = f"\ndata_optics\n\n{loop_head(optics)}{loop_rows(optics)}\n\ndata_particles\n\n{loop_head(labels)}"
            out.write(head.encode("utf-8", "surrogateescape"))
            with (self._folder / _ROWS).open("rb") as rows:
                shutil.copyfileobj(rows, out)
            out.write(b"\n")
            os.replace(self._folder / _IMAGES, self.path)  # the STAR file comes last: it marks the end
        shutil.rmtree(self._folder)

    def _header(self, pixel_size: float) -> bytes:
        header = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
        header["nx"] = header["ny"] = header["mx"] = header["my"] = self._side
        header["nz"], header["mz"] = self.count, 1
        header["mode"] = _MODES[self._dtype.name]
        header["cella"] = (self._side * pixel_size, self._side * pixel_size, pixel_size)
        header["cellb"] = (90.0, 90.0, 90.0)
        header["mapc"], header["mapr"], header["maps"] = 1, 2, 3
        header["dmin"], header["dmax"], header["dmean"], header["rms"] = self._stats.values()
        header["map"] = b"MAP "
        header["machst"] = machine_stamp_from_byte_order("<")
        header["nversion"] = 20141
        header["nlabl"], header["label"][0] = 1, LABEL
        return header.tobytes()


class _Stats(BaseModel):
    """Least and largest value, sum and sum of squares of the pixels written; the same for any number of threads."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    count: NonNegativeInt
    pixels: NonNegativeInt
    low: float
    high: float
    total: float
    squares: NonNegativeFloat

    def add(self, images: NDArray[Any]) -> None:
        if not images.size:
            return
        low, high = float(images.min()), float(images.max())
        self.low, self.high = (min(self.low, low), max(self.high, high)) if self.pixels else (low, high)
        values = images.astype(np.float64)
        self.total += float(values.sum())
        self.squares += float(np.square(values, out=values).sum())
        self.count, self.pixels = self.count + len(images), self.pixels + images.size

    def values(self) -> tuple[float, float, float, float]:
        """Return least, largest, mean and standard deviation."""
        mean = self.total / max(1, self.pixels)
        return self.low, self.high, mean, float(np.sqrt(max(0.0, self.squares / max(1, self.pixels) - mean**2)))


class _Entry(BaseModel):
    """What must be right in a line of the journal."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)

    name: str
    digest: str
    picks: NonNegativeInt
    error: str | None
    optics: dict[str, str] | None
    outside: NonNegativeInt
    at_edge: NonNegativeInt
    dust: NonNegativeInt
    notes: list[str] = []
    images: NonNegativeInt
    rows: NonNegativeInt
    stats: _Stats


def _line(journal: Path, line: bytes) -> dict[str, Any]:
    """Return a line of the journal; InputError where it is damaged."""
    with contextlib.suppress(ValueError, RecursionError):
        entry = json.loads(line)
        if isinstance(entry, dict):
            return entry
    raise _damaged(journal)


def _damaged(journal: Path) -> InputError:
    return InputError(f"{journal} is damaged; add --overwrite to start again.", journal)
