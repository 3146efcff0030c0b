"""An estimate of what a search will take, and warnings, before it starts. No Qt, no napari."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from napari_gempick.device.cores import usable_cores
from napari_gempick.inputs.bank_maker import BankMaker
from napari_gempick.inputs.views import choose_grid, read_views
from napari_gempick.io.images.micrograph import LIST, header_pixel_size, listed_pixel_size, open_image
from napari_gempick.model.errors import GempickError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_gempick.inputs.views import View
    from napari_gempick.io.listing import MicrographFile
    from napari_gempick.model.geometry import Grid
    from napari_gempick.model.settings import PickSettings
    from napari_gempick.widgets.state.loading import Loaded
    from napari_gempick.widgets.state.state import State

FFTS = {False: 1.3, True: 4.1}
"""Cost of a rotated template on the CPU in plain inverse transforms of the map, with a mask that turns or does not; see
docs/performance.md."""
FAR = 0.05
"""A typed pixel size that differs from the header by more than this share is worth a word."""
LONG = 60.0
"""Seconds from which on a low-pass is recommended."""
FIFTH = 5.0
"""A low-pass at this share of the diameter keeps what tells particles from noise."""


@dataclass(frozen=True)
class Outlook:
    """The estimate for a search of one micrograph.

    Attributes
    ----------
    step : float
        The automatic angle step, degrees.
    images : int
        Rotated templates.
    work : float
        Plain inverse transforms that cost as much.
    seconds : float or None
        None where nothing has been measured, as on a GPU before its first search.
    quick : tuple of float, optional
        A low-pass in Å, and the seconds with it, where that is much faster.
    warnings : tuple of str
        Sentences.
    """

    step: float
    images: int
    work: float
    seconds: float | None = None
    quick: tuple[float, float] | None = None
    warnings: tuple[str, ...] = ()


def outlook(state: State, file: MicrographFile | None, loaded: Loaded | None, rate: float | None) -> Outlook:
    """Return what a search with the current settings will take.

    Parameters
    ----------
    file, loaded : MicrographFile, Loaded, optional
        The micrograph that is shown.
    rate : float, optional
        Seconds for the work of one plain transform and one pixel of the map.

    Raises
    ------
    GempickError
        Templates, masks or settings cannot be used.
    """
    settings = state.settings()
    views = read_views(settings)
    makers = BankMaker(settings, views)
    automatic = makers if settings.angle_step is None else BankMaker(state.settings(angle_step=None), views)
    images, work = _work(makers)
    known = loaded is not None and loaded.image is not None and loaded.pixel_size is not None
    if not known or loaded is None or loaded.image is None or loaded.pixel_size is None:
        return Outlook(automatic.index.angle_step, images, work)
    shape, pixel_size = (int(loaded.image.shape[0]), int(loaded.image.shape[1])), loaded.pixel_size
    grid = choose_grid(settings, shape, pixel_size)
    seconds = None if rate is None else work * rate * _pixels(grid)
    quick = None
    if seconds is not None and rate is not None and seconds > LONG:
        lowpass = round(max(2 * pixel_size, makers.diameter / FIFTH) / 5) * 5.0
        if lowpass > 1.5 * (settings.lowpass or 2 * pixel_size):
            faster = state.settings(lowpass=lowpass)
            cost = _work(BankMaker(faster, views))[1] * rate * _pixels(choose_grid(faster, shape, pixel_size))
            quick = (lowpass, cost) if cost < seconds / 3 else None
    warnings = tuple(_warnings(settings, views, file, shape, pixel_size))
    return Outlook(automatic.index.angle_step, images, work, seconds, quick, warnings)


def _work(makers: BankMaker) -> tuple[int, float]:
    """Return the number of rotated templates, and their cost in plain transforms."""
    searched = np.bincount(makers.index.view(np.flatnonzero(makers.index.searched()).astype(np.int32)))
    turning = [not view.mask.lower().startswith("circle") for view in makers.views]
    work = sum(int(n) * FFTS[turns] for n, turns in zip(searched, turning, strict=True))
    return int(searched.sum()), float(work)


def _pixels(grid: Grid) -> int:
    return int(grid.shape[0] * grid.shape[1])


def _warnings(
    settings: PickSettings, views: list[View], file: MicrographFile | None, shape: tuple[int, int], pixel_size: float
) -> list[str]:
    found = [note for view in views for note in view.notes]
    for view in views:
        sides = tuple(n * view.pixel_size / pixel_size for n in view.templates[0].shape)
        if sides[0] > shape[0] or sides[1] > shape[1]:
            found.append(
                f"Templates of {view.name} are larger than the micrograph ({sides[1]:.0f} x {sides[0]:.0f} of its "
                "pixels): check both pixel sizes."
            )
    if settings.lowpass is not None and settings.lowpass < 2 * pixel_size:
        found.append(
            f"A low-pass of {settings.lowpass:g} Å does nothing: pixels of {pixel_size:g} Å hold no detail finer than "
            f"{2 * pixel_size:g} Å."
        )
    if settings.pixel_size is not None and file is not None:
        try:
            image = open_image(file.path, single=True)
            listed = file.pixel_size
            header = header_pixel_size(image) if listed is None else listed_pixel_size(image, listed, LIST)[0]
        except GempickError:
            header = None  # nonsense, which the typed one replaces
        if header is not None and abs(settings.pixel_size - header) > FAR * header:
            found.append(f"You typed a pixel size of {settings.pixel_size:g} Å, but the file says {header:g} Å.")
    return found


@cache
def measured_rate() -> float:
    """Return the seconds of a plain transform for each pixel of the map on all cores, measured now."""
    side, cores = 1024, usable_cores()
    image = np.zeros((side, side), np.float32)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        scipy.fft.irfft2(scipy.fft.rfft2(image), image.shape)
        times.append((time.perf_counter() - started) / 2)
    return min(times) / side**2 / cores


def rate_of(row: Mapping[str, Any], work: float) -> float | None:
    """Return the seconds for the work of a transform and a pixel of the map that a line of run.json tells, or None."""
    seconds, shape = row.get("seconds"), row.get("shape")
    if not seconds or not shape or not work:
        return None
    ratio = float(row.get("map_pixel_size", 1.0)) / float(row.get("pixel_size", 1.0))
    return float(seconds) / work / (shape[0] * shape[1] / ratio**2)
