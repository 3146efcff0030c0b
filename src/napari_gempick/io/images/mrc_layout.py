"""Where the pixels of an MRC file lie when its size is not what the header says, decided by the pixels themselves.

Two places are compared: where the header puts the first pixel, and where it must be if the pixels end the file. Read
from the wrong one, the image is displaced, so that the seam between rows runs through it, and has other bytes in it.

Whether the bytes of an MRC file (mode 0) are signed, as the standard says, or unsigned, as many programs write.

IMOD marks its files: a stamp in word 39, and in word 40 a bit that is set where bytes are signed
(https://bio3d.colorado.edu/imod/doc/mrc_format.txt). Files of older programs and of some detectors have no mark; there
the header's statistics tell, and where these say nothing, the pixels themselves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.model.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

IMOD_STAMP = 1146047817
_SIGNED, _TWO = 1, 16
_NEAR = 8  # grey values on each side of a cut
_CLEARLY = 4
_MANY = 0.05


def statistics_of(header: np.void) -> tuple[float, float, float] | None:
    """Return minimum, maximum and mean as the header says; None where they are unset or nonsense."""
    low, high, mean = (float(header[name]) for name in ("dmin", "dmax", "dmean"))
    if not all(math.isfinite(value) for value in (low, high, mean)) or not low < high:
        return None
    return (low, high, mean) if low <= mean <= high else None


def are_unsigned(header: np.void, data: NDArray[np.uint8], *, whole: bool) -> str:
    """Say why the bytes are unsigned; "" where they are signed, or where it makes no difference.

    Parameters
    ----------
    header : void
        Of the file, in its byte order.
    data : (n,) uint8
        The pixels, or many of them.
    whole : bool
        `data` are all pixels of the file.
    """
    if data.max(initial=0) < 128:
        return ""
    known = statistics_of(header)
    said = 0
    if known is not None:
        ranges = [(float(one.min()), float(one.max())) for one in (data, data.view(np.int8))]
        fits = [all(abs(a - b) <= 0.5 for a, b in zip(known[:2], one, strict=True)) for one in ranges]
        if whole and fits[0] != fits[1]:
            return "the header's minimum and maximum are those of unsigned bytes" if fits[0] else ""
        inside = [known[0] - 0.5 <= one[0] and one[1] <= known[1] + 0.5 for one in ranges]
        claims = [known[0] >= 0 and known[1] > 127, known[0] < 0]
        said = (int(claims[0]) - int(claims[1])) or (int(inside[0]) - int(inside[1]))
    flags = _imod_flags(header)
    marked = 0 if flags is None else -1 if flags & _SIGNED else 1
    counts = [np.bincount(data[start : start + 2**20], minlength=256) for start in range(0, len(data), 2**20)]
    seen = _seen(np.sum(counts, axis=0))
    votes = said + marked + seen
    unsigned = (votes or seen or marked) > 0
    if not unsigned:
        return ""
    if marked > 0:
        return "IMOD's flags in the header say so"
    if said > 0:
        return "the header's minimum and maximum say so"
    return "their histogram says so"


def holds_two(header: np.void) -> bool:
    """Return whether IMOD's flags say that each byte holds two pixels of 4 bits."""
    return bool((_imod_flags(header) or 0) & _TWO)


def _imod_flags(header: np.void) -> int | None:
    return _word(header, 39) if _word(header, 38) == IMOD_STAMP else None


def _word(header: np.void, number: int) -> int:
    """Return a 32-bit word of the header, counted from 0, as a signed integer."""
    return int(np.frombuffer(header.tobytes(), header.dtype["nx"], 1, 4 * number)[0])


def _seen(counts: NDArray[np.intp]) -> int:
    """Return 1 for unsigned, -1 for signed, 0 where the histogram does not tell.

    Signed bytes cut the circle of 256 values between 127 and 128, unsigned ones between 255 and 0. A histogram
    continues across the wrong cut, and ends at the right one; that of counts begins abruptly at 0.
    """
    signed_cut = min(counts[128 - _NEAR : 128].sum(), counts[128 : 128 + _NEAR].sum())
    unsigned_cut = min(counts[-_NEAR:].sum(), counts[:_NEAR].sum())
    if signed_cut > _CLEARLY * unsigned_cut:
        return 1
    if unsigned_cut > _CLEARLY * signed_cut:
        return -1
    begins = []
    for cut in (0, 128):
        around = np.roll(counts, _NEAR - cut)[: 2 * _NEAR]
        begins.append(around[_NEAR:].sum() > _MANY * counts.sum() and not around[:_NEAR].any())
    return int(begins[0]) - int(begins[1])


HEADER_BYTES = 1024
_LEAST_ROWS = 32
_SIGMAS = 6.0
"""How far the squares of differences across the seam must differ, in their standard deviation."""
_WIDE = 8.0
_SPREAD = 4.0
_MOST_COMPARED = 2**29
_DECLARED, _LAST = 0, 1


@dataclass(frozen=True)
class Place:
    """What the header says about the place of the pixels, and how to look at them.

    Attributes
    ----------
    size : int
        Bytes of the file.
    extended : int
        Bytes of the extended header, as the header says.
    section_bytes, sections : int
        Bytes of a section, and their number.
    nx : int
        Pixels of a row.
    look : callable
        Returns the pixels of a range of bytes (first, end) as (n,) float64.
    shown : str
        Size and mode of the image, for messages.
    """

    path: Path
    size: int
    extended: int
    section_bytes: int
    sections: int
    nx: int
    look: Callable[[int, int], NDArray[np.float64]]
    header: np.void
    shown: str

    @property
    def need(self) -> int:
        """Bytes of all pixels."""
        return self.section_bytes * self.sections

    def find(self) -> tuple[int, str]:
        """Return the byte where the pixels begin, and a note where that is not what the header says.

        Raises
        ------
        InputError
            The file is truncated, or nothing tells where the pixels begin.
        """
        declared, last = HEADER_BYTES + self.extended, self.size - self.need
        if last == declared:
            return declared, ""
        if last < declared:
            return self._shorter(declared, last)
        return self._longer(declared, last)

    def _shorter(self, declared: int, last: int) -> tuple[int, str]:
        """Decide between an extended header that is missing or shorter than said, and a truncated file."""
        if last < HEADER_BYTES or not self._is_image(last, declared):
            raise InputError(
                f"{self.path} is truncated: {self.size} bytes are there, {declared + self.need} expected "
                f"({self.shown}); copy it again.",
                self.path,
            )
        missing = self.extended if last == HEADER_BYTES else declared - last
        return last, (
            f"{self.path}: {missing} of {self.extended} bytes of the extended header that the header announces are "
            "missing; all pixels are there, and were read."
        )

    def _is_image(self, first: int, end: int) -> bool:
        """Return whether the bytes from `first` to `end` look like the pixels after them."""
        end = min(end, first + self.section_bytes)
        rest = self.look(end, min(self.size, end + self.section_bytes))
        return len(rest) > 1 and _alike(self.look(first, end), rest)

    def _longer(self, declared: int, last: int) -> tuple[int, str]:
        excess = last - declared
        more = f"{self.path} is {excess} bytes longer than its header says"
        if excess % self.section_bytes == 0 and self._in_range(declared):
            count = excess // self.section_bytes
            return declared, f"{more}, as if it held {count} more sections than it says; these were not read."
        votes = {vote for vote in (self._seam(declared, last), self._ends(declared, last)) if vote is not None}
        votes |= {vote for vote in (self._spread(declared, last), self._extremes(declared, last)) if vote is not None}
        chosen = (declared, last)[min(votes, default=_DECLARED)]
        if len(votes) != 1 or (self.extended and self._seam(HEADER_BYTES, chosen) == _DECLARED):
            raise InputError(
                f"{more}, and nothing tells whether the image begins at byte {declared} or at byte {last}; write it "
                "again with the program that made it, or convert it to TIFF.",
                self.path,
            )
        if votes == {_DECLARED}:
            return declared, f"{more}; what follows the image was not read."
        return last, f"{more}; the image was found at its end, behind an extended header that is {excess} bytes longer."

    def _in_range(self, first: int) -> bool:
        known = statistics_of(self.header)
        pixels = self.look(first, first + self.section_bytes)
        if not np.isfinite(pixels).all() or pixels.min() == pixels.max():
            return False
        return known is None or (known[0] <= pixels.min() + 0.5 and pixels.max() <= known[1] + 0.5)

    def _rows(self, first: int) -> NDArray[np.float64]:
        pixels = self.look(first, first + self.section_bytes)
        return _tamed(pixels[: len(pixels) // self.nx * self.nx]).reshape(-1, self.nx)

    def _seam(self, declared: int, last: int) -> int | None:
        """Compare the pixels on both sides of the seam between rows: neighbours where the reading is displaced."""
        found = []
        whole = [self._rows(first) for first in (declared, last)]
        others = -(-(last - declared) * len(whole[0]) // self.section_bytes)  # rows of one of the readings only
        for rows in (whole[_DECLARED][others:], whole[_LAST][: len(whole[_LAST]) - others]):
            if len(rows) < _LEAST_ROWS:
                return None
            found.append(float(np.square(rows[:-1, -1] - rows[1:, 0]).mean()))
        low, high = sorted(found)
        if high - low <= _SIGMAS * np.sqrt(2 / (len(rows) - 1)) * low:
            return None
        return _DECLARED if found[_DECLARED] == high else _LAST

    def _ends(self, declared: int, last: int) -> int | None:
        """Compare the bytes that belong to one of the readings only with those of both."""
        if last >= declared + self.need:
            return None  # nothing belongs to both
        common = self.look(last, min(declared + self.need, last + self.section_bytes))
        head = _alike(self.look(declared, last), common)
        tail = _alike(self.look(declared + self.need, self.size), common)
        if head == tail:
            return None
        return _DECLARED if head else _LAST

    def _spread(self, declared: int, last: int) -> int | None:
        """Compare the spread of grey values, which explodes where pixels are cut, and vanishes in padding."""
        found = []
        for first in (declared, last):
            pixels = self.look(first, first + self.section_bytes)
            finite = np.isfinite(pixels)
            whole = finite.mean() > 0.99 and float(np.abs(pixels[finite]).max()) < 1e30
            found.append((float(np.std(pixels[finite])) if whole else 0.0) or np.inf)
        if min(found) * _SPREAD >= max(found):
            return None
        return int(np.argmin(found))

    def _extremes(self, declared: int, last: int) -> int | None:
        """Compare minimum and maximum with the header's."""
        known = statistics_of(self.header)
        if known is None or self.need > _MOST_COMPARED:
            return None
        slack = 1e-4 * (known[1] - known[0])
        fits = []
        for first in (declared, last):
            pixels = self.look(first, first + self.need)
            fits.append(abs(pixels.min() - known[0]) <= slack and abs(pixels.max() - known[1]) <= slack)
        if fits[0] == fits[1]:
            return None
        return _DECLARED if fits[0] else _LAST


def _tamed(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return pixels without outliers, in units of their spread."""
    pixels = np.where(np.isfinite(pixels), pixels, 0.0)
    low, middle, high = np.percentile(pixels, (16, 50, 84)) if len(pixels) else (0.0, 0.0, 0.0)
    scale = (high - low) / 2 or 1.0
    return np.clip((pixels - middle) / scale, -5, 5)


def _alike(part: NDArray[np.float64], pixels: NDArray[np.float64]) -> bool:
    """Return whether a part of a file holds grey values such as these pixels."""
    if not len(part) or not len(pixels) or not np.isfinite(part).all():
        return False
    pixels = pixels[np.isfinite(pixels)]
    low, middle, high = np.percentile(pixels, (16, 50, 84))
    scale = (high - low) / 2
    if scale == 0 or np.mean(np.abs(part - middle) <= _WIDE * scale) < 0.99:
        return False
    return len(part) < 16 or bool(np.std(part) > scale / _SPREAD)
