"""What the threshold wall shows of a micrograph: a small picture of it, and its picks. No Qt, no napari."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_gempick.io.images.micrograph import read_micrograph
from napari_gempick.model.errors import GempickError
from napari_gempick.widgets.state.look import ADDED_COLOUR, contrast_limits, smoothed
from napari_gempick.widgets.state.state import Edits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.widgets.state.loading import CandidateCache
    from napari_gempick.widgets.state.result import Result
    from napari_gempick.widgets.state.state import State

SIDE = 512
"""Pixels of the longer side of a picture, about."""
FINEST = 2.5
"""Pixels of the picture: resolution of its low-pass."""


@dataclass(frozen=True, eq=False)
class MicrographPicture:
    """A small picture of a micrograph.

    Attributes
    ----------
    grey : (h, w) uint8
    ratio : float
        Pixels of the file per pixel of the picture.
    """

    grey: NDArray[np.uint8]
    ratio: float


@dataclass(frozen=True, eq=False)
class Marks:
    """The picks of a micrograph as circles; places and diameter in pixels of the file.

    Attributes
    ----------
    x, y : (n,) float64
    view : (n,) int
        A number in `colours`; the last one is that of picks made by hand.
    error : str
        Why there are none.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    view: NDArray[np.intp]
    colours: tuple[str, ...]
    diameter: float
    error: str = ""

    def __len__(self) -> int:
        return len(self.x)


def thumbnail(file: MicrographFile, pixel_size: float | None) -> MicrographPicture | None:
    """Return a binned, low-passed picture of a micrograph; None where it cannot be read.

    Parameters
    ----------
    pixel_size : float, optional
        Å, of the settings.
    """
    try:
        micrograph = read_micrograph(file.path, pixel_size, listed=file.pixel_size)
    except GempickError:
        return None
    image = micrograph.data
    n = max(1, max(image.shape) // SIDE)
    h, w = image.shape[0] // n, image.shape[1] // n
    small = image[: h * n, : w * n].reshape(h, n, w, n).mean(axis=(1, 3), dtype=np.float32)
    small = smoothed(small, 1.0, FINEST)
    low, high = contrast_limits(small)
    return MicrographPicture(np.clip((small - low) / (high - low) * 255, 0, 255).astype(np.uint8), float(n))


def marks_of(
    file: MicrographFile,
    state: State,
    folder: Path,
    results: Mapping[str, Result],
    selections: CandidateCache,
    colour: Callable[[str], str],
) -> Marks:
    """Return the picks of a micrograph as the canvas shows them: its thresholds, its score, its corrections."""
    stem = file.output_stem
    nothing = np.zeros(0)
    try:
        selection = selections.get(file, state, folder, results)
    except GempickError as error:
        return Marks(nothing, nothing, np.zeros(0, np.intp), (), 0.0, error.sentence)
    if selection is None:
        return Marks(nothing, nothing, np.zeros(0, np.intp), (), 0.0, results[stem].error)
    choice = selection.choose(state.tune_of(stem), state.edits.get(stem, Edits()))
    rows, names = np.flatnonzero(choice.shown), selection.candidates.view_names
    picks, added = selection.picks, choice.added
    return Marks(
        np.concatenate([picks.x[rows], [one.x for one in added]]),
        np.concatenate([picks.y[rows], [one.y for one in added]]),
        np.concatenate([picks.view[rows], np.full(len(added), len(names))]).astype(np.intp),
        (*(colour(name) for name in names), ADDED_COLOUR),
        selection.diameter / selection.candidates.pixel_size,
    )
