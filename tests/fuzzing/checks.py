"""What a reader may return: values that can be right, or one sentence that names the file."""

from __future__ import annotations

import math
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_gempick.io.names import check_name, printable
from napari_gempick.model.errors import GempickError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_gempick.io.candidates import Candidates
    from napari_gempick.io.formats.coordinate_set import CoordinateSet
    from napari_gempick.model.ctf import Ctf
    from napari_gempick.model.picks import Picks

_LONGEST = 2500
_MEMORY = "needs more memory than there is"


class Garbage(Exception):
    """A reader returned what cannot be right."""


def want(good: Any, what: str) -> None:
    """Raise Garbage where a value cannot be right."""
    if not good:
        raise Garbage(what)


def check_sentence(error: GempickError, names: Iterable[str]) -> None:
    """Check that an error is one printable sentence that names the file."""
    sentence = error.sentence
    want(len(sentence) <= _LONGEST, f"a sentence of {len(sentence)} characters: {sentence[:200]}")
    want(len(sentence.splitlines()) == 1, f"several lines: {sentence!r}")
    stray = [mark for mark in sentence if unicodedata.category(mark) in ("Cc", "Cs")]
    want(not stray, f"control characters: {sentence!r}")
    want(sentence.rstrip().endswith("."), f"no end of a sentence: {sentence!r}")
    want(_MEMORY not in sentence, f"too much memory: {sentence!r}")
    want(any(printable(name) in sentence for name in names), f"the file is not named: {sentence!r}")


def image(data: Any, shape: tuple[int, ...] | None = None) -> None:
    """Check pixels."""
    array = np.asarray(data)
    want(array.size and min(array.shape) > 0, f"an image of shape {array.shape}")
    want(array.dtype.kind in "bfiu", f"an image of {array.dtype}")
    want(shape is None or array.shape == shape, f"{array.shape}, not {shape}")


def pixel_size(value: float | None) -> None:
    """Check a pixel size in Å that a file gives."""
    want(value is None or 0.1 <= value <= 50, f"a pixel size of {value}")


def listed(value: float | None) -> None:
    """Check a pixel size as a list has it: whether it is plausible is judged when the image is read."""
    want(value is None or isinstance(value, float | int), f"a pixel size of {value!r}")


def name(text: str) -> None:
    """Check that a name can be written down."""
    try:
        check_name(text)
        text.encode()
    except (GempickError, UnicodeError) as error:
        raise Garbage(f"the name {text!r}") from error


def picks(found: Picks, view_names: tuple[str, ...]) -> None:
    """Check picks."""
    for values in (found.x, found.y):
        want(np.isfinite(values).all() and (np.abs(values) <= 1e9).all(), "positions")
    want(np.abs(found.x - found.map_x).max(initial=0) >= 0, "map positions")
    want(not np.isinf(found.score).any(), "infinite scores")
    known = found.psi[~np.isnan(found.psi)]
    want(((known >= 0) & (known < 360)).all(), f"psi {known}")
    want(((found.view >= 0) & (found.view < len(view_names))).all(), "views")
    want((np.abs(found.section.astype(np.int64)) < 1e8).all(), "classes")
    for one in view_names:
        name(one)


def coordinates(found: CoordinateSet) -> None:
    """Check coordinates."""
    picks(found.picks, found.view_names)
    n = len(found.picks)
    for values in found.columns.values():
        want(len(values) == n, "columns of another length")
    want(found.micrographs is None or len(found.micrographs) == n, "micrographs")
    for one in dict.fromkeys(found.micrographs or ()):
        name(one)
    for key in ("box_size", "pixel_size"):
        values = found.extra.get(key)
        if values is not None:
            good = np.isnan(values) | ((values > 0) & (values < 1e7))
            want(good.all(), f"{key} {values}")
    shape = found.extra.get("shape")
    want(shape is None or ((shape > 0) & (shape <= 10**6)).all(), f"shape {shape}")
    for one in found.by_micrograph().values():
        want(len(one.picks) <= n, "parts")


def candidates(found: Candidates) -> None:
    """Check candidates."""
    picks(found.picks, found.view_names)
    want(np.isfinite(found.picks.score).all(), "scores")
    want(found.view_names, "views")
    for shape in (found.file_shape, found.map_shape):
        want(all(1 <= side <= 10**6 for side in shape), f"shape {shape}")
    for value in (found.pixel_size, found.map_pixel_size):
        want(math.isfinite(value) and 0 < value < 1e4, f"pixel size {value}")
    want(-1.1 <= found.floor <= 1.1, f"floor {found.floor}")
    if found.decoys is not None:
        picks(found.decoys, found.view_names)


def ctf(found: Ctf) -> None:
    """Check CTF parameters."""
    values = (found.defocus_u, found.defocus_v, found.angle, found.phase_shift, found.cs)
    want(all(math.isfinite(value) for value in values), f"{found}")
    want(0 < abs(found.defocus_u) <= 2e5 and 0 < abs(found.defocus_v) <= 2e5, f"{found}")
    want(20 <= found.voltage <= 3000 and 0 <= found.amplitude_contrast <= 1, f"{found}")
