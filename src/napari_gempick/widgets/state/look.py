"""How things look: contrast, colours of views, colormaps, numbers in words. No Qt, no napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.fft

from napari_gempick.device.cores import usable_cores
from napari_gempick.engine.preprocess.fourier_filters import frequencies, transfer
from napari_gempick.model.values import counted as counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

VIEW_COLOURS = ("#2f9bff", "#ff9d2e", "#35c46a", "#e0529c", "#b58cff", "#c9c33a", "#3ac9c0", "#ff6b5a")
"""Blue and orange first: told apart by nearly everyone, and seen on grey."""
ADDED_COLOUR = "#ffffff"
_SAMPLED = 250_000


def written(name: str) -> str:
    """Return the name of a score or a choice as it stands on the screen."""
    return "NCC" if name == "ncc" else name


def contrast_limits(data: NDArray[Any]) -> tuple[float, float]:
    """Return the 0.5 and 99.5 % quantiles of an image's finite pixels, from a regular sample of them."""
    step = max(1, int(np.sqrt(data.shape[-1] * data.shape[-2] / _SAMPLED)))
    sample = np.asarray(data[..., ::step, ::step], np.float32)
    sample = sample[np.isfinite(sample)]
    if not sample.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(sample, (0.5, 99.5)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def extremes(data: NDArray[Any]) -> tuple[float, float]:
    """Return the lowest and the highest finite value of an image, apart."""
    low, high = float(np.nanmin(data)), float(np.nanmax(data))
    return (low, high) if high > low else (low, low + 1)


def rgba(colour: str, alpha: float = 1.0) -> NDArray[np.float32]:
    """Return `#rrggbb` as four numbers from 0 to 1."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return np.array([*parts, alpha], np.float32)


def score_colours(low: float = -1.0, high: float = 1.0) -> NDArray[np.float32]:
    """Return the colours, (n, 4), of the score map shown from `low` to `high`: blue below 0, black at 0, amber above.

    Equal sizes of opposite sign are equally bright. A window on one side of 0 begins with black.
    """
    below = ["#8fd0ff", "#2f7fd0", "#123a66"]
    above = ["#5a2d0c", "#e0842a", "#fff3c8"]
    colours = [rgba(colour) for colour in (*below, "#000000", *above)]
    score = np.linspace(low, high, 257)
    black = low if low >= 0 else min(0.0, high)
    size = (score - black) / max(black - low, high - black)
    places = (-1, -0.5, -0.16, 0, 0.16, 0.5, 1)
    made = [np.interp(size, places, band) for band in np.stack(colours).T]
    return np.stack(made, axis=1).astype(np.float32)


def shades_of_scores(score: NDArray[np.float32], limits: tuple[float, float] | None = None) -> NDArray[np.float32]:
    """Return a colour for each score, (n, 4): violet for the lowest, over green, to yellow for the highest.

    The lowest and the highest are `limits`, or those that there are.
    """
    if not len(score):
        return np.zeros((0, 4), np.float32)
    low, high = limits or (float(score.min()), float(score.max()))
    stops = np.stack([rgba(colour) for colour in ("#7b3fc4", "#3f7fd0", "#2fb08a", "#8fd14a", "#fde725")])
    place = (score - low) / max(high - low, 1e-6) * (len(stops) - 1)
    return np.stack([np.interp(place, np.arange(len(stops)), band) for band in stops.T], axis=1).astype(np.float32)


def smoothed(image: NDArray[Any], pixel_size: float, lowpass: float) -> NDArray[np.float32]:
    """Return a micrograph (ny, nx) with the low-pass of the search, for the eye; lengths in Å."""
    values = np.asarray(image, np.float32)
    finite = np.isfinite(values)
    middle = np.float32(values[finite].mean()) if finite.any() else np.float32(0)
    values = np.where(finite, values, middle) - middle
    workers = usable_cores()
    spectrum = scipy.fft.rfft2(values, workers=workers, overwrite_x=True)
    spectrum *= transfer(frequencies(values.shape, pixel_size), lowpass, None)
    made: NDArray[np.float32] = scipy.fft.irfft2(spectrum, values.shape, workers=workers, overwrite_x=True)
    made += middle
    return made


def shades(colours: Sequence[str], view: NDArray[np.int32], psi: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a colour for each rotated template: its view's, lighter or darker with psi (period 180 degrees)."""
    base = np.stack([rgba(colour) for colour in colours])[view]
    light = 0.72 + 0.28 * np.cos(np.radians(2 * psi))
    base[:, :3] *= light[:, None].astype(np.float32)
    return base
