"""Whether the bytes of an MRC file (mode 0) are signed, as the standard says, or unsigned, as many programs write.

IMOD marks its files: a stamp in word 39, and in word 40 a bit that is set where bytes are signed
(https://bio3d.colorado.edu/imod/doc/mrc_format.txt). Files of older programs and of some detectors have no mark; there
the header's statistics tell, and where these say nothing, the pixels themselves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
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
    counts = np.bincount(data, minlength=256)
    if not counts[128:].any():
        return ""
    known = statistics_of(header)
    said = 0
    if known is not None:
        ranges = [_range(counts), _range(np.roll(counts, 128), -128)]
        fits = [all(abs(a - b) <= 0.5 for a, b in zip(known[:2], one, strict=True)) for one in ranges]
        if whole and fits[0] != fits[1]:
            return "the header's minimum and maximum are those of unsigned bytes" if fits[0] else ""
        inside = [known[0] - 0.5 <= one[0] and one[1] <= known[1] + 0.5 for one in ranges]
        claims = [known[0] >= 0 and known[1] > 127, known[0] < 0]
        said = (int(claims[0]) - int(claims[1])) or (int(inside[0]) - int(inside[1]))
    flags = _imod_flags(header)
    marked = 0 if flags is None else -1 if flags & _SIGNED else 1
    seen = _seen(counts)
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


def _range(counts: NDArray[np.intp], first: int = 0) -> tuple[float, float]:
    found = np.flatnonzero(counts)
    return float(found[0] + first), float(found[-1] + first)


def _seen(counts: NDArray[np.intp]) -> int:
    """Return 1 for unsigned, -1 for signed, 0 where the histogram does not tell.

    Signed bytes cut the circle of 256 values between 127 and 128, unsigned ones between 255 and 0. A histogram goes on
    across the wrong cut, and ends at the right one; that of counts begins abruptly at 0.
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
